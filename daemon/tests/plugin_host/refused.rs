//! What does not load, and that each refusal names the file, the cause and the way out.

use std::fs;
use std::path::Path;
use std::time::Instant;

use supamanager::plugin_host::LoadError;

use crate::guests::{Plugins, component, component_describing, renderer};
use crate::load;

async fn refusal(plugins: &Plugins) -> LoadError {
    match load(plugins.folder()).await {
        Err(error) => error,
        Ok(_) => panic!("it loaded"),
    }
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join("plugin.toml");
    let text = fs::read_to_string(&file).expect("plugin.toml");
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(file, text.replace(from, to)).expect("plugin.toml");
}

#[track_caller]
fn says(error: &LoadError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[tokio::test]
async fn a_well_behaved_guest_loads() {
    let plugins = Plugins::of("render", "", &renderer("(call $ok)"));
    let host = load(plugins.folder()).await.expect("it loads");
    assert_eq!(host.list()[0].name, "guest");
}

#[tokio::test]
async fn an_import_that_was_not_requested_is_refused_by_name() {
    let plugins = Plugins::new();
    let folder = plugins.add("guest", "render", "", &renderer("(call $log (i32.const 5)) (call $ok)"));
    edit(&folder, "imports = [\"log\", \"templates\"]", "imports = [\"templates\"]");
    let error = refusal(&plugins).await;
    assert!(matches!(&error, LoadError::Import { import, .. } if import == "supamanager:plugin/log@0.1.0"));
    says(&error, &["plugin.wasm", "not granted", "add \"log\" to `imports`"]);
}

#[tokio::test]
async fn an_import_that_the_hook_is_never_granted_is_refused_by_name() {
    let plugins = Plugins::new();
    let folder = plugins.add("guest", "render", "", &renderer("(call $ok)"));
    edit(&folder, "\"templates\"", "\"templates\", \"service-http\"");
    says(&refusal(&plugins).await, &["plugin.toml", "`service-http`", "render", "log, templates"]);
}

#[tokio::test]
async fn wasi_is_refused_with_the_flag_that_removes_it() {
    let text =
        "(component (import \"wasi:cli/environment@0.2.3\" (instance (export \"get-arguments\" (func (result (list string)))))))";
    let plugins = Plugins::of("render", "", &wat::parse_str(text).expect("a component"));
    let error = refusal(&plugins).await;
    assert!(matches!(&error, LoadError::Import { import, .. } if import == "wasi:cli/environment@0.2.3"));
    says(&error, &["wasm32-unknown-unknown", "--stub-wasi", "disableFeatures"]);
}

#[tokio::test]
async fn bytes_that_are_no_component_are_refused() {
    let good = renderer("(call $ok)");
    for (bytes, word) in [
        (&b"not wasm at all"[..], "no WebAssembly component"),
        (&b""[..], "no WebAssembly component"),
        (&good[..good.len() - 1], "does not compile"),
        (&good[..300], "does not compile"),
        (&b"\0asm\x01\0\0\0"[..], "core module"),
        (&b"\0asm\x0d\0\x01\0"[..], "contract 0.1.0"),
    ] {
        let error = refusal(&Plugins::of("render", "", bytes)).await;
        assert!(matches!(error, LoadError::Component { .. }), "{error}");
        says(&error, &["plugin.wasm", word, "supamanager plugin build"]);
    }
}

#[tokio::test]
async fn a_guest_of_another_hook_is_refused() {
    let plugins = Plugins::of("probe", "", &renderer("(call $ok)"));
    says(&refusal(&plugins).await, &["plugin.wasm", "check"]);
}

#[tokio::test]
async fn another_contract_is_refused_with_those_the_host_speaks() {
    let plugins = Plugins::new();
    let folder = plugins.add("guest", "render", "", &renderer("(call $ok)"));
    edit(&folder, "contract = \"0.1.0\"", "contract = \"0.9.0\"");
    says(&refusal(&plugins).await, &["plugin.toml", "0.9.0", "this host speaks 0.1.0"]);

    let text = "(component (import \"supamanager:plugin/log@0.9.0\" (instance)))";
    let plugins = Plugins::of("render", "", &wat::parse_str(text).expect("a component"));
    says(&refusal(&plugins).await, &["supamanager:plugin/log@0.9.0", "this host speaks 0.1.0"]);
}

#[tokio::test]
async fn a_changed_component_is_refused() {
    let plugins = Plugins::new();
    let folder = plugins.add("guest", "render", "", &renderer("(call $ok)"));
    fs::write(folder.join("plugin.wasm"), renderer("(call $log (i32.const 5)) (call $ok)")).expect("plugin.wasm");
    let error = refusal(&plugins).await;
    assert!(matches!(error, LoadError::Digest { .. }), "{error}");
    says(&error, &["plugin.wasm", "sha256", "build the plugin again"]);
}

#[tokio::test]
async fn missing_files_and_wrong_names_are_refused() {
    let plugins = Plugins::new();
    let folder = plugins.add("guest", "render", "", &renderer("(call $ok)"));
    fs::rename(&folder, plugins.folder().join("other")).expect("a rename");
    says(&refusal(&plugins).await, &["other/plugin.toml", "the folder must be called `guest`"]);
    fs::rename(plugins.folder().join("other"), &folder).expect("a rename");
    fs::remove_file(folder.join("plugin.wasm")).expect("plugin.wasm");
    says(&refusal(&plugins).await, &["guest/plugin.wasm", "build the plugin"]);
    fs::remove_file(folder.join("plugin.toml")).expect("plugin.toml");
    says(&refusal(&plugins).await, &["guest/plugin.toml", "remove its folder"]);
    let error = load(Path::new("/nowhere/plugins")).await.err().expect("no such folder");
    says(&error, &["/nowhere/plugins", "SUPAMANAGER_PLUGINS_DIR"]);
}

#[tokio::test]
async fn a_component_that_calls_itself_something_else_is_refused() {
    let plugins = Plugins::new();
    plugins.add("someone-else", "render", "", &renderer("(call $ok)"));
    says(&refusal(&plugins).await, &["the component says it is `guest` 1.0.0", "`someone-else` 1.0.0"]);
}

#[tokio::test]
async fn an_endless_describe_ends_within_its_limit() {
    let describe = "(func (export \"describe\") (result i32) (loop $again (br $again)) (unreachable))";
    let exports = "(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (call $ok))";
    let plugins = Plugins::of("render", "", &component_describing("render", "", exports, describe));
    let started = Instant::now();
    let error = refusal(&plugins).await;
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert!(matches!(error, LoadError::Describe { .. }), "{error}");
    // Two seconds of processor time, unless this machine took more than five to give it that.
    let text = error.to_string();
    assert!(text.contains("CPU: used 2") || text.contains("wall clock: used 5"), "{text}");
}

#[tokio::test]
async fn an_endless_start_function_ends_within_its_limit() {
    let exports = "(func $forever (loop $again (br $again))) (start $forever)
        (func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (call $ok))";
    let plugins = Plugins::of("render", "[hook.limits]\ncpu_ms = 100", &component("render", "", exports));
    says(&refusal(&plugins).await, &["CPU", "allowed 100 ms"]);
}

#[tokio::test]
async fn a_manifest_cannot_raise_a_limit() {
    let plugins = Plugins::of("render", "[hook.limits]\nmemory_mib = 1024", &renderer("(call $ok)"));
    says(&refusal(&plugins).await, &["plugin.toml", "memory_mib", "render", "only lower"]);
}

#[tokio::test]
async fn more_memory_at_the_start_than_a_call_may_have_is_refused() {
    let large = component("render", "", "(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (call $ok))");
    let plugins = Plugins::of("render", "[hook.limits]\nmemory_mib = 1", &large);
    assert!(load(plugins.folder()).await.is_ok(), "two pages are less than a mebibyte");
    let greedy = crate::guests::with_pages("(call $ok)", 1_600);
    let error = refusal(&Plugins::of("render", "", &greedy)).await;
    says(&error, &["plugin.wasm", "memory"]);
}

//! The contract 0.1.0 is frozen. Each file in `frozen/` was compiled once against it, as it was then: it imports every
//! function and exports every hook. As long as they load and answer, plugins of 0.1.0 do, those from before an interface was
//! added too. What was changed instead of added is refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::ProbeInput;
use supamanager::plugin_host::{Hook, LoadError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::access::{Answer, Fake};
use crate::guests::Plugins;
use crate::{load, project, render_input, work_input};

/// Every import and every export of the contract.
const WORLD: &str = "package test:frozen; world all {
    use supamanager:plugin/types@0.1.0.{error, description};
    import supamanager:plugin/log@0.1.0;
    import supamanager:plugin/templates@0.1.0;
    import supamanager:plugin/clock@0.1.0;
    import supamanager:plugin/service-http@0.1.0;
    import supamanager:plugin/service-tcp@0.1.0;
    import supamanager:plugin/engine-health@0.1.0;
    import supamanager:plugin/db-login@0.1.0;
    import supamanager:plugin/sql@0.1.0;
    import supamanager:plugin/progress@0.1.0;
    import supamanager:plugin/options@0.1.0;
    import supamanager:plugin/sign@0.1.0;
    import supamanager:plugin/memory@0.1.0;
    import supamanager:plugin/egress@0.1.0;
    record wanted { template: string, path: string, mode: u32 }
    record file { path: string, mode: u32, content: string }
    enum state { healthy, starting, unhealthy }
    record report { state: state, reason: string, endpoint: string }
    record outcome { changed: bool, summary: string }
    variant decision { admit, amend(string), refuse(string) }
    export describe: func() -> description;
    export render: func(context: string, wanted: list<wanted>, so-far: list<file>) -> result<list<file>, error>;
    export check: func(project: string, service: string, spec: string) -> result<option<report>, error>;
    export run: func(context: string) -> result<outcome, error>;
    export undo: func(context: string, outcome: outcome) -> result<_, error>;
    export admit: func(request: string) -> result<decision, error>;
    export before-delete: func(context: string) -> result<string, error>;
    export after-resume: func(context: string) -> result<string, error>;
    export notify: func(message: string) -> result<_, error>;
}";

/// Interface, function, parameters of the core module (all i32), result.
type Import = (&'static str, &'static str, usize, &'static str);

const IMPORTS: [Import; 17] = [
    ("log", "write", 3, ""),
    ("templates", "read", 3, ""),
    ("clock", "now-ms", 0, "(result i64)"),
    ("clock", "elapsed-ms", 0, "(result i64)"),
    ("service-http", "send", 13, ""),
    ("service-tcp", "connect", 5, ""),
    ("engine-health", "get", 3, ""),
    ("db-login", "login", 7, ""),
    ("sql", "execute", 8, ""),
    ("progress", "report", 2, ""),
    ("options", "get", 1, ""),
    ("sign", "hmac-sha256", 5, ""),
    ("memory", "get", 3, ""),
    ("memory", "set", 5, ""),
    ("memory", "delete", 3, ""),
    ("memory", "keys", 1, ""),
    ("egress", "send", 10, ""),
];

/// The kept guests, the oldest first, and how many interfaces each imports. A contract that gets more is frozen anew, into a
/// file of its own: `SUPAMANAGER_TEST_FREEZE=1` writes the last one.
const KEPT: [(&str, usize); 2] = [("v0.1.0.wasm", 12), ("v0.1.0-egress.wasm", 13)];

/// What each hook answers: nothing made, healthy, nothing changed, admitted, `guest`, heard.
const EXPORTS: &str = r#"
    (memory (export "memory") 2)
    (data (i32.const 16) "guest") (data (i32.const 32) "1.0.0")
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $top)
        (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
    (func $nothing (result i32)
        (i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0))
        (i64.store (i32.const 2064) (i64.const 0)) (i64.store (i32.const 2072) (i64.const 0)) (i32.const 2048))
    (func $guest (param $at i32) (result i32)
        (drop (call $nothing))
        (i32.store (local.get $at) (i32.const 16)) (i32.store (i32.add (local.get $at) (i32.const 4)) (i32.const 5)) (i32.const 2048))
    (func (export "describe") (result i32)
        (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const 5))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5)) (i32.const 1024))
    (func (export "render") (param i32 i32 i32 i32 i32 i32) (result i32) (call $nothing))
    (func (export "check") (param i32 i32 i32 i32 i32 i32) (result i32)
        (drop (call $guest (i32.const 2064))) (i32.store8 (i32.const 2056) (i32.const 1)) (i32.const 2048))
    (func (export "run") (param i32 i32) (result i32) (call $guest (i32.const 2060)))
    (func (export "undo") (param i32 i32 i32 i32 i32) (result i32) (call $nothing))
    (func (export "admit") (param i32 i32) (result i32) (call $nothing))
    (func (export "before-delete") (param i32 i32) (result i32) (call $guest (i32.const 2056)))
    (func (export "after-resume") (param i32 i32) (result i32) (call $guest (i32.const 2056)))
    (func (export "notify") (param i32 i32) (result i32) (call $nothing))"#;

/// The guest, against the contract in this folder.
fn compile(wit: &Path, imports: &[Import]) -> Vec<u8> {
    let import = |(interface, function, parameters, result): &Import| {
        let parameters = "i32 ".repeat(*parameters);
        format!("(import \"supamanager:plugin/{interface}@0.1.0\" \"{function}\" (func (param {parameters}) {result}))\n")
    };
    let text = format!("(module {} {EXPORTS})", imports.iter().map(import).collect::<String>());
    let mut module = wat::parse_str(text).expect("WebAssembly text");
    let mut resolve = Resolve::default();
    resolve.push_path(wit).expect("the contract");
    let package = resolve.push_str("frozen.wit", WORLD).expect("a world");
    let world = resolve.select_world(&[package], Some("all")).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("metadata");
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.encode()).expect("a component")
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn kept(name: &str) -> Vec<u8> {
    let file = here("tests/plugin_host/frozen").join(name);
    if std::env::var_os("SUPAMANAGER_TEST_FREEZE").is_some() && KEPT.last().is_some_and(|(last, _)| *last == name) {
        fs::write(&file, compile(&here("../plugin-sdk/wit/v0.1"), &IMPORTS)).expect("written");
    }
    fs::read(file).expect("a guest of the frozen contract")
}

/// A plugin of one hook that requests everything its component imports, as far as the hook may have it; for the others the
/// component is bound to a hook that may.
fn plugins_of(bytes: &[u8]) -> Plugins {
    let plugins = Plugins::of("render", "", bytes);
    let file = plugins.folder().join("guest/plugin.toml");
    let text = fs::read_to_string(&file).expect("a manifest");
    let line = text.lines().find(|line| line.starts_with("imports")).expect("imports").to_owned();
    let mut names: Vec<&str> = IMPORTS.iter().map(|import| import.0).collect();
    names.dedup();
    let hooks = ["probe", "post-create", "admit", "before-delete", "after-resume", "notify"];
    let hooks: String = hooks.iter().map(|hook| format!("[[hook]]\nhook = \"{hook}\"\n")).collect();
    fs::write(&file, text.replace(&line, &format!("imports = {names:?}")) + &hooks).expect("written");
    plugins
}

#[tokio::test]
async fn every_guest_of_the_frozen_contract_loads_and_every_hook_of_it_answers() {
    for (name, imports) in KEPT {
        answers(name, imports).await;
    }
    let all: std::collections::BTreeSet<&str> = IMPORTS.iter().map(|import| import.0).collect();
    assert_eq!(all.len(), KEPT.last().expect("one").1, "the newest guest imports every interface there is");
    let text = fs::read_to_string(here("../plugin-sdk/wit/v0.1/imports.wit")).expect("the contract");
    let there = text.lines().filter(|line| line.starts_with("interface ")).count();
    assert_eq!(all.len(), there, "an interface was added: freeze it (SUPAMANAGER_TEST_FREEZE=1, and a line in KEPT)");
}

async fn answers(name: &str, imports: usize) {
    let plugins = plugins_of(&kept(name));
    let host = load(plugins.folder()).await.expect("it loads");
    assert_eq!(host.list()[0].imports.len(), imports, "{name}: {:?}", host.list()[0].imports);
    let pins = host.pins(&PluginChoices::default());
    assert!(host.render(&pins, render_input()).await.expect("nothing to make").is_empty());
    let service = ServiceName::parse("auth").expect("a service");
    let input = ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() };
    let silent = || Fake::answering(Answer::Silence);
    assert_eq!(host.probe(input, silent()).await.expect("a verdict").state, ServiceState::Healthy);
    for hook in [Hook::PostCreate, Hook::BeforeDelete, Hook::AfterResume] {
        let workers = host.workers(hook, &pins).await.expect("pinned");
        let outcome = host.work(&workers[0], work_input(json!({})), silent()).await.expect("it answers");
        assert_eq!(outcome.summary, "guest", "{}", hook.as_str());
        if hook == Hook::PostCreate {
            let code = (workers[0].name(), workers[0].digest());
            assert!(host.undo(code, &outcome, work_input(json!({})), silent()).await.expect("it takes back"));
        }
    }
    assert_eq!(host.admit(json!({"wanted": {"name": "a"}})).await.expect("admitted")["name"], "a");
    host.notify("guest", None, "{}".to_owned()).await.expect("heard");
}

/// The contract of today with one change, and what a guest that was built against that is told.
async fn refusal(file: &str, from: &str, to: &str, import: Option<Import>) -> LoadError {
    let folder = Plugins::new();
    for name in ["imports.wit", "types.wit", "worlds.wit"] {
        let text = fs::read_to_string(here("../plugin-sdk/wit/v0.1").join(name)).expect("the contract");
        assert!(name != file || text.contains(from), "{from} is not in {file}");
        let text = if name == file { text.replacen(from, to, 1) } else { text };
        fs::write(folder.folder().join(name), text).expect("written");
    }
    // What the change does to the core module: another function, or the same one with more parameters.
    let same = |one: &&Import| import.is_none_or(|import| (one.0, one.1) != (import.0, import.1));
    let imports: Vec<Import> = IMPORTS.iter().filter(same).copied().chain(import).collect();
    let plugins = plugins_of(&compile(folder.folder(), &imports));
    load(plugins.folder()).await.err().unwrap_or_else(|| panic!("a guest with {to} loads"))
}

#[tokio::test]
async fn what_was_changed_under_the_same_version_is_refused_with_its_interface_and_item() {
    let denied = ("    denied(string),\n    /// Call", "    denied(u32),\n    /// Call");
    let longer = "    headers: list<tuple<string, string>>,\n    body: list<u8>,\n    deadline-ms: u32,\n  }";
    let longer = (longer, longer.replace("    deadline-ms: u32,\n", "    deadline-ms: u32,\n    tries: u32,\n"));
    for (file, from, to, import, words) in [
        ("imports.wit", "now-ms: func() -> u64", "now-ms: func() -> s64", None, ["supamanager:plugin/clock@0.1.0", "now-ms"]),
        ("imports.wit", "    status: u16,", "    status: u32,", None, ["supamanager:plugin/service-http@0.1.0", "send"]),
        ("types.wit", denied.0, denied.1, None, ["supamanager:plugin/templates@0.1.0", "read"]),
        // A record with one more field, and a function that this host does not have.
        (
            "imports.wit",
            longer.0,
            &longer.1,
            Some(("service-http", "send", 14, "")),
            ["supamanager:plugin/service-http@0.1.0", "send"],
        ),
        (
            "imports.wit",
            "  now-ms: func() -> u64;",
            "  now-ms: func() -> u64;\n  zone: func() -> u64;",
            Some(("clock", "zone", 0, "(result i64)")),
            ["supamanager:plugin/clock@0.1.0", "zone"],
        ),
    ] {
        let error = refusal(file, from, to, import).await;
        assert!(matches!(error, LoadError::Component { .. }), "{error}");
        let said = error.to_string();
        for word in words.iter().chain(&["contract 0.1.0", "supamanager plugin build", "plugin.wasm"]) {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    }
}

//! An author's trials: a call in the real host against a project that is a list of answers. The fixtures of the shipped
//! plugins lie beside them; here is what a fixture can be wrong in.

use std::fs;

use serde_json::{Value, json};
use supamanager::plugin_host::{Bench, Hook, Trial};

use crate::example::plugins_dir;
use crate::guests::{Plugins, renderer};

async fn bench(plugin: &str) -> Bench {
    Bench::load(&plugins_dir().join(plugin)).await.expect("it loads")
}

fn trial(given: Value) -> Trial {
    serde_json::from_value(given).expect("a fixture")
}

#[tokio::test]
async fn what_is_asked_is_answered_once_and_written_down_and_what_was_used_is_measured() {
    let spec = json!({"kind": "tcp", "port": 5432});
    let given = json!({"input": {"service": "db", "spec": spec}, "host": [{"ask": {"tcp": "db:5432"}, "answer": {"ms": 2}}]});
    let bench = bench("probe-service").await;
    let tried = bench.call(&trial(given.clone())).await.expect("a fixture");
    assert_eq!(tried.outcome()["output"]["state"], "healthy", "{}", tried.outcome());
    assert_eq!(tried.asked, [json!({"tcp": "db:5432"})]);
    assert!(tried.used.memory_bytes > 0 && tried.used.host_calls >= 1 && tried.used.took >= tried.used.cpu);
    let mut twice = given;
    twice["input"]["spec"] = json!({"kind": "tcp", "port": 5433});
    let tried = bench.call(&trial(twice)).await.expect("a fixture");
    let (code, message) = (tried.outcome()["error"]["code"].clone(), tried.outcome()["error"]["message"].to_string());
    assert!(code == "plugin_denied" && message.contains("no (more) answer"), "{}", tried.outcome());
}

#[tokio::test]
async fn an_error_of_the_plugin_is_an_outcome_and_one_of_the_fixture_names_the_field() {
    let bench = bench("post-create-sql").await;
    let away = json!({"input": {"sql": [{"service": "db", "role": "postgres", "statement": "select 1"}]},
        "host": [{"ask": {"sql": "select 1", "as": "postgres@db"}, "answer": {"refused": "nothing listens"}}]});
    let tried = bench.call(&trial(away)).await.expect("a fixture");
    assert_eq!(tried.outcome()["error"]["code"], "plugin_retry_after");
    assert_eq!(tried.progress, ["statement 1 of 1"]);
    for (given, word) in [
        (json!({"hook": "probe", "input": {}}), "`hook`"),
        (json!({"input": {}, "options": {"size": 3}}), "`options`"),
        (json!({"input": {"undo": {}, "context": {}}}), "`input` of the hook `post-create`"),
    ] {
        let wrong = bench.call(&trial(given)).await.err().expect("refused");
        assert!(wrong.contains(word), "{wrong}");
    }
    assert!(serde_json::from_value::<Trial>(json!({"inptu": {}})).is_err());
    assert_eq!(bench.hooks(), [Hook::PostCreate]);
}

#[tokio::test]
async fn what_it_wrote_to_its_log_is_shown() {
    let plugins = Plugins::of("render", "", &renderer("(call $log (i32.const 5)) (call $ok)"));
    let bench = Bench::load(&plugins.folder().join("guest")).await.expect("it loads");
    let tried = bench.call(&trial(json!({"input": {"context": {}, "files": [], "templates": {}}}))).await.expect("a fixture");
    assert_eq!((tried.lines.as_slice(), tried.outcome()["error"].is_null()), (["info guest".to_owned()].as_slice(), true));
}

#[tokio::test]
async fn a_header_refers_to_secrets_that_the_manifest_lists_and_to_no_other() {
    let plugins = Plugins::new();
    let folder = plugins.folder().join("post-create-buckets");
    fs::create_dir_all(&folder).expect("a folder");
    let shipped = plugins_dir().join("post-create-buckets");
    fs::copy(shipped.join("plugin.wasm"), folder.join("plugin.wasm")).expect("the code");
    let manifest = fs::read_to_string(shipped.join("plugin.toml")).expect("the manifest");
    let line = manifest.lines().find(|line| line.starts_with("secrets = ")).expect("it lists secrets").to_owned();
    let given = json!({"input": {}, "options": {"buckets": [{"name": "a"}]}, "host": [{
        "ask": {"http": "GET kong:8000/storage/v1/bucket/a",
            "headers": {"apikey": "${SERVICE_ROLE_KEY}", "authorization": "Bearer ${SERVICE_ROLE_KEY}"}},
        "answer": {"status": 200}}]});
    for (list, came) in
        [(line.as_str(), ""), ("secrets = [\"*\"]", ""), ("secrets = [\"ANON_KEY\"]", "plugin_denied"), ("", "plugin_denied")]
    {
        fs::write(folder.join("plugin.toml"), manifest.replace(&line, list)).expect("the manifest");
        let bench = Bench::load(&folder).await.expect("it loads");
        let outcome = bench.call(&trial(given.clone())).await.expect("a fixture").outcome();
        assert_eq!(outcome["error"]["code"].as_str().unwrap_or_default(), came, "{list}: {outcome}");
        let named = outcome["error"]["message"].as_str().is_none_or(|words| words.contains("`SERVICE_ROLE_KEY` is not among"));
        assert!(named, "{list}: {outcome}");
    }
}

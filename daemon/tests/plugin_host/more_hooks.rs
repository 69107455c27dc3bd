//! The hooks beside render, probe and post-create, and the imports that reach beyond one call: what was chosen, secrets to
//! sign with, and memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use supamanager::domain::PluginChoices;
use supamanager::plugin_host::hooks::{AccessError, HookError, Memory, MemoryOf, WorkOutcome};
use supamanager::plugin_host::{Hook, HostConfig, LoadError, PluginHost};

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, component};
use crate::{load, project, work_input};

/// Memory as a map, with room for one key.
#[derive(Default)]
struct OneKey(Mutex<BTreeMap<(String, String), Vec<u8>>>);

impl OneKey {
    fn place(of: &MemoryOf, key: &str) -> (String, String) {
        (format!("{} of {}", of.plugin, of.project), key.to_owned())
    }
}

#[async_trait]
impl Memory for OneKey {
    async fn get(&self, of: &MemoryOf, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        Ok(self.0.lock().expect("one at a time").get(&Self::place(of, key)).cloned())
    }

    async fn set(&self, of: &MemoryOf, key: &str, value: Vec<u8>) -> Result<(), AccessError> {
        let mut all = self.0.lock().expect("one at a time");
        if !all.is_empty() && !all.contains_key(&Self::place(of, key)) {
            return Err(AccessError::Denied("one key".to_owned()));
        }
        all.insert(Self::place(of, key), value);
        Ok(())
    }

    async fn delete(&self, of: &MemoryOf, key: &str) -> Result<(), AccessError> {
        self.0.lock().expect("one at a time").remove(&Self::place(of, key));
        Ok(())
    }

    async fn keys(&self, _: &MemoryOf) -> Result<Vec<String>, AccessError> {
        Ok(self.0.lock().expect("one at a time").keys().map(|(_, key)| key.clone()).collect())
    }
}

/// An admit plugin that decides this (0 admit, 1 amend, 2 refuse) with these words.
fn decides(decision: u8, words: &str) -> Vec<u8> {
    let data = words.replace('"', "\\22");
    let export = format!(
        "(data (i32.const 3000) \"{data}\")
         (func (export \"admit\") (param i32 i32) (result i32)
            (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const {decision}))
            (i32.store (i32.const 2060) (i32.const 3000)) (i32.store (i32.const 2064) (i32.const {})) (i32.const 2048))",
        words.len()
    );
    component("admit", "", &export)
}

async fn admission(plugins: &Plugins) -> Result<Value, HookError> {
    let host = load(plugins.folder()).await.expect("it loads");
    let request = json!({"kind": "create", "organization": "default", "project": null, "wanted": {"name": "a", "services": {}}});
    host.admit(request).await.map(Value::Object)
}

#[tokio::test]
async fn whoever_asks_is_admitted_amended_or_refused() {
    let asked = json!({"name": "a", "services": {}});
    assert_eq!(admission(&Plugins::new()).await.expect("nobody minds"), asked);
    assert_eq!(admission(&Plugins::of("admit", "", &decides(0, ""))).await.expect("admitted"), asked);
    let amended = admission(&Plugins::of("admit", "", &decides(1, r#"{"name":"b"}"#))).await;
    assert_eq!(amended.expect("amended"), json!({"name": "b", "services": {}}));
    let refused = admission(&Plugins::of("admit", "", &decides(2, "use another name"))).await.expect_err("refused");
    assert!(matches!(&refused, HookError::Refused { message, .. } if message == "use another name"), "{refused}");
    let broken = admission(&Plugins::of("admit", "", &decides(1, "no object"))).await.expect_err("it is no object");
    assert!(matches!(&broken, HookError::Failed { message, .. } if message.contains("JSON")), "{broken}");
    let ignored = admission(&Plugins::of("admit", "on_failure = \"ignore\"", &decides(1, "no object"))).await;
    assert_eq!(ignored.expect("its failure is ignored"), asked);
    let refused = admission(&Plugins::of("admit", "on_failure = \"ignore\"", &decides(2, "no"))).await;
    assert!(matches!(refused, Err(HookError::Refused { .. })), "a refusal is no failure");
}

/// The hooks of one string in and one out.
fn says(world: &str, function: &str) -> Vec<u8> {
    let export = format!(
        "(func (export \"{function}\") (param i32 i32) (result i32)
            (i64.store (i32.const 2048) (i64.const 0)) (i32.store (i32.const 2056) (i32.const 16))
            (i32.store (i32.const 2060) (i32.const 5)) (i32.const 2048))"
    );
    component(world, "", &export)
}

#[tokio::test]
async fn before_a_delete_and_after_a_resume_a_plugin_says_what_it_did() {
    for (hook, word) in [(Hook::BeforeDelete, "before-delete"), (Hook::AfterResume, "after-resume")] {
        let plugins = Plugins::of(word, "", &says(word, word));
        let host = load(plugins.folder()).await.expect("it loads");
        let pins = host.pins(&PluginChoices::default());
        assert_eq!(pins.len(), 1, "its code belongs to the operation");
        let workers = host.workers(hook, &pins).await.expect("it is there");
        let outcome = host.work(&workers[0], work_input(json!({})), Fake::answering(Answer::Silence)).await;
        assert_eq!(outcome.expect("it answers"), WorkOutcome { changed: true, summary: "guest".to_owned() });
        assert!(host.workers(Hook::PostCreate, &pins).await.expect("no error").is_empty());
    }
}

#[tokio::test]
async fn a_listener_hears_and_may_ask_to_be_told_again() {
    // error.retry-after(7)
    let later = "(func (export \"notify\") (param i32 i32) (result i32)
        (i64.store (i32.const 2048) (i64.const 1)) (i64.store (i32.const 2056) (i64.const 2))
        (i64.store (i32.const 2064) (i64.const 7)) (i32.const 2048))";
    let heard =
        "(func (export \"notify\") (param i32 i32) (result i32) (i64.store (i32.const 2048) (i64.const 0)) (i32.const 2048))";
    for (export, again) in [(heard, None), (later, Some(7))] {
        let plugins = Plugins::of("notify", "", &component("notify", "", export));
        let host = load(plugins.folder()).await.expect("it loads");
        assert_eq!(host.listeners(), ["guest"]);
        let told = host.notify("guest", Some(&project()), "{}".to_owned()).await;
        let asked = told.err().map(|error| match error {
            HookError::RetryAfter { after_ms, .. } => after_ms,
            other => panic!("{other}"),
        });
        assert_eq!(asked, again);
        host.notify("nobody", None, "{}".to_owned()).await.expect("one that runs no more has heard everything");
    }
}

/// A post-create plugin that calls `(call $ask ret)`, and says as its summary the text that then lies at `ret`; at 3064 it
/// finds the number of the answer's case.
fn asks(import: &str, params: &str, call: &str) -> Vec<u8> {
    let import = format!("(import {import} (func $ask (param {params})))");
    let exports = format!(
        "(data (i32.const 3900) \"denied\")
         (func (export \"run\") (param i32 i32) (result i32)
            {call}
            (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
            (i32.store (i32.const 2060) (i32.load (i32.const 3000))) (i32.store (i32.const 2064) (i32.load (i32.const 3004)))
            (i32.const 2048))
         (func (export \"undo\") (param i32 i32 i32 i32 i32) (result i32) (i64.store (i32.const 2048) (i64.const 0)) (i32.const 2048))"
    );
    component("post-create", &import, &exports)
}

async fn run(host: &PluginHost, choices: &PluginChoices, access: Arc<Fake>) -> Result<WorkOutcome, HookError> {
    let workers = host.workers(Hook::PostCreate, &host.pins(choices)).await.expect("pinned");
    let mut input = work_input(json!({}));
    input.choices = choices.clone();
    host.work(&workers[0], input, access).await
}

const OPTIONS: &str = "\"supamanager:plugin/options@0.1.0\" \"get\"";
const SETTINGS: &str = "[settings]\ntype = \"object\"\nadditionalProperties = false\n\
    [settings.properties.size]\ntype = \"integer\"\n[settings.properties.colour]\ntype = \"string\"\n";

fn with_options(more: &str) -> Plugins {
    let plugins = Plugins::of("post-create", "", &asks(OPTIONS, "i32", "(call $ask (i32.const 3000))"));
    let file = plugins.folder().join("guest/plugin.toml");
    let text = std::fs::read_to_string(&file).expect("a manifest");
    let text = text.replace("imports = [", "imports = [\"options\", ").replacen("name =", &format!("{more}\nname ="), 1);
    std::fs::write(&file, text + SETTINGS).expect("written");
    plugins
}

#[tokio::test]
async fn what_was_chosen_reaches_the_plugin_once_it_fits_its_settings() {
    let plugins = with_options("");
    let told = |text: &str| serde_json::from_str(text).expect("options");
    let operators =
        |text: &str| HostConfig { options: [("guest".to_owned(), told(text))].into(), ..crate::config(plugins.folder()) };
    let host = PluginHost::load(operators(r#"{"size": 1, "colour": "red"}"#)).await.expect("they fit");
    let silent = || Fake::answering(Answer::Silence);
    let chosen: PluginChoices = serde_json::from_value(json!({"guest": {"size": 3}})).expect("choices");
    host.check_choices(&chosen).expect("they fit");
    let said = run(&host, &chosen, silent()).await.expect("it answers").summary;
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), json!({"size": 3, "colour": "red"}));
    let said = run(&host, &PluginChoices::default(), silent()).await.expect("it answers").summary;
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON"), json!({"size": 1, "colour": "red"}));
    for (wrong, words) in [
        (json!({"guest": {"size": "3"}}), "/size"),
        (json!({"guest": {"sise": 3}}), "sise"),
        (json!({"nobody": {"size": 3}}), "no plugin `nobody`"),
    ] {
        let wrong: PluginChoices = serde_json::from_value(wrong).expect("choices");
        let (_, problem) = host.check_choices(&wrong).expect_err("refused");
        assert!(problem.contains(words), "{problem}");
    }
    let refused = PluginHost::load(operators(r#"{"size": "large"}"#)).await.err().expect("the operator is told too");
    assert!(matches!(&refused, LoadError::Options { problem, .. } if problem.contains("/size")), "{refused}");
}

#[tokio::test]
async fn a_project_switches_plugins_and_one_that_is_opt_in_waits_to_be_chosen() {
    let pinned = async |more: &str, choices: Value| {
        let plugins = with_options(more);
        let host = load(plugins.folder()).await.expect("it loads");
        let choices: PluginChoices = serde_json::from_value(choices).expect("choices");
        host.pins(&choices).len()
    };
    assert_eq!(pinned("", json!({})).await, 1);
    assert_eq!(pinned("", json!({"guest": false})).await, 0);
    assert_eq!(pinned("opt_in = true", json!({})).await, 0);
    assert_eq!(pinned("opt_in = true", json!({"guest": true})).await, 1);
    assert_eq!(pinned("opt_in = true", json!({"guest": {"size": 1}})).await, 1);
    let plugins = Plugins::of("admit", "", &decides(0, ""));
    let host = load(plugins.folder()).await.expect("it loads");
    let off: PluginChoices = serde_json::from_value(json!({"guest": false})).expect("choices");
    let (_, problem) = host.check_choices(&off).expect_err("it is the operator's");
    assert!(problem.contains("operator"), "{problem}");
}

#[tokio::test]
async fn a_secret_signs_only_where_the_manifest_lists_it() {
    let call = "(call $ask (i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5) (i32.const 3056))
        (i32.store (i32.const 3000) (select (i32.load (i32.const 3060)) (i32.const 3900) (i32.eqz (i32.load8_u (i32.const 3056)))))
        (i32.store (i32.const 3004) (i32.const 6))";
    let guest = asks("\"supamanager:plugin/sign@0.1.0\" \"hmac-sha256\"", "i32 i32 i32 i32 i32", call);
    for (sign, asked, summary) in [("", 0, "denied"), ("sign = [\"guest\"]\n", 1, "\u{7}\u{7}\u{7}\u{7}\u{7}\u{7}")] {
        let plugins = Plugins::of("post-create", "", &guest);
        let file = plugins.folder().join("guest/plugin.toml");
        let text = std::fs::read_to_string(&file).expect("a manifest").replace("imports = [", "imports = [\"sign\", ");
        std::fs::write(&file, format!("{sign}{text}")).expect("written");
        let host = load(plugins.folder()).await.expect("it loads");
        let fake = Fake::answering(Answer::Http(200, ""));
        let outcome = run(&host, &PluginChoices::default(), fake.clone()).await.expect("it answers");
        assert_eq!((outcome.summary.as_str(), fake.asked().len()), (summary, asked));
    }
}

#[tokio::test]
async fn a_plugin_remembers_by_project_and_only_where_the_host_lets_it() {
    let call = "(call $ask (i32.const 16) (i32.const 5) (i32.const 32) (i32.const 5) (i32.const 3056))
        (i32.store (i32.const 3000) (select (i32.const 16) (i32.const 3900) (i32.eqz (i32.load8_u (i32.const 3056)))))
        (i32.store (i32.const 3004) (i32.const 5))";
    let guest = asks("\"supamanager:plugin/memory@0.1.0\" \"set\"", "i32 i32 i32 i32 i32", call);
    let plugins = Plugins::of("post-create", "", &guest);
    let file = plugins.folder().join("guest/plugin.toml");
    let text = std::fs::read_to_string(&file).expect("a manifest").replace("imports = [", "imports = [\"memory\", ");
    std::fs::write(&file, text).expect("written");
    let memory = Arc::new(OneKey::default());
    let given: Arc<dyn Memory> = memory.clone();
    for (memory, summary) in [(None, "denie"), (Some(given), "guest")] {
        let host = PluginHost::load(HostConfig { memory, ..crate::config(plugins.folder()) }).await.expect("it loads");
        let outcome = run(&host, &PluginChoices::default(), Fake::answering(Answer::Silence)).await;
        assert_eq!(outcome.expect("it answers").summary, summary);
    }
    let of = MemoryOf { plugin: "guest".to_owned(), project: project() };
    assert_eq!(memory.get(&of, "guest").await.expect("no error"), Some(b"1.0.0".to_vec()));
}

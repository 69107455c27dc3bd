//! The hooks that work on a project, in a real daemon: each is called when it should be, and what a post-create plugin did
//! is done once and taken back, whatever is killed when. The plugin is a few lines of WebAssembly text that say in the
//! log what they do.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::sha256;
use crate::world::{Daemon, Options, copy_plugins, root, scratch};

/// All its hooks in one component: a plugin may have several.
const WORLD: &str = "package test:guest; world all {
    use supamanager:plugin/types@0.1.0.{error, description};
    import supamanager:plugin/log@0.1.0;
    record outcome { changed: bool, summary: string }
    export describe: func() -> description;
    export run: func(context: string) -> result<outcome, error>;
    export undo: func(context: string, outcome: outcome) -> result<_, error>;
    export before-delete: func(context: string) -> result<string, error>;
    export after-resume: func(context: string) -> result<string, error>;
    export notify: func(message: string) -> result<_, error>;
}";

const GUEST: &str = r#"(module
    (import "supamanager:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
    (memory (export "memory") 4)
    (data (i32.const 16) "guest") (data (i32.const 32) "1.0.0")
    (data (i32.const 64) "guest: ran         ") (data (i32.const 96) "guest: took it back")
    (data (i32.const 128) "guest: before gone ") (data (i32.const 160) "guest: is back     ")
    (data (i32.const 192) "guest: heard       ")
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $top)
        (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
    ;; Says the 19 bytes at this address and answers with them.
    (func $says (param $words i32) (result i32)
        (call $write (i32.const 1) (local.get $words) (i32.const 19))
        (i64.store (i32.const 2048) (i64.const 0)) (i32.store (i32.const 2056) (local.get $words))
        (i32.store (i32.const 2060) (i32.const 19)) (i32.const 2048))
    (func (export "describe") (result i32)
        (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const 5))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5)) (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
        (drop (call $says (i32.const 64))) (i32.store (i32.const 2056) (i32.const 1))
        (i32.store (i32.const 2060) (i32.const 64)) (i32.store (i32.const 2064) (i32.const 19)) (i32.const 2048))
    (func (export "undo") (param i32 i32 i32 i32 i32) (result i32) (call $says (i32.const 96)))
    (func (export "before-delete") (param i32 i32) (result i32) (call $says (i32.const 128)))
    (func (export "after-resume") (param i32 i32) (result i32) (call $says (i32.const 160)))
    (func (export "notify") (param i32 i32) (result i32) (call $says (i32.const 192))))"#;

fn guest() -> Vec<u8> {
    let mut module = wat::parse_str(GUEST).expect("WebAssembly text");
    let mut resolve = Resolve::default();
    resolve.push_path(root().join("plugin-sdk/wit/v0.1")).expect("the contract");
    let package = resolve.push_str("guest.wit", WORLD).expect("a world");
    let world = resolve.select_world(&[package], Some("all")).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("metadata");
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.encode()).expect("a component")
}

fn add_guest(plugins: &Path) {
    let (folder, bytes) = (plugins.join("guest"), guest());
    let hooks = ["post-create", "before-delete", "after-resume", "notify"].map(|hook| format!("[[hook]]\nhook = \"{hook}\"\n"));
    let head = "name = \"guest\"\nversion = \"1.0.0\"\ncontract = \"0.1.0\"\nimports = [\"log\"]\n";
    let manifest = format!("{head}sha256 = \"{}\"\n{}", sha256(&bytes), hooks.concat());
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("plugin.wasm"), bytes).expect("written");
    std::fs::write(folder.join("plugin.toml"), manifest).expect("written");
}

async fn with_guest(name: &str) -> (Daemon, std::path::PathBuf) {
    let plugins = scratch(name);
    copy_plugins(&plugins);
    add_guest(&plugins);
    let options = Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", plugins.display().to_string());
    let options = options.set("SUPAMANAGER_PLUGINS_UNSIGNED", "guest");
    (Daemon::ready(name, options).await, plugins)
}

/// How often the log has these words of this project.
fn said(daemon: &Daemon, project: &str, words: &str) -> usize {
    let says = format!("guest: {words}");
    let is_it = |line: &&str| line.contains("guest=true") && line.contains(&says) && line.contains(project);
    daemon.log().lines().filter(is_it).count()
}

async fn create(daemon: &Daemon, name: &str) -> String {
    daemon.api.create(json!({ "name": name })).await["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn what_a_post_create_plugin_did_is_completed_or_taken_back_and_never_done_twice() {
    let (mut daemon, plugins) = with_guest("hooks-killed").await;
    let minute = Duration::from_secs(60);
    // Killed between the plugin's run and its record: nobody knows how far it came, so it is called again, to its end.
    // Killed between its record and the step's: it is not.
    for (place, runs) in [("post-create.called.after_effect", 2), ("create.post-create.after_effect", 1)] {
        daemon.arm(place).await;
        let id = create(&daemon, "killed").await;
        daemon.killed_at(place).await;
        daemon.revive().await;
        daemon.api.settled(&id, &["ACTIVE_HEALTHY"], minute).await;
        assert_eq!((said(&daemon, &id, "ran"), said(&daemon, &id, "took")), (runs, 0), "{place}");
        daemon.api.gone(&id).await;
        assert_eq!((said(&daemon, &id, "before gone"), said(&daemon, &id, "took")), (1, 1), "{place}: a delete takes it back");
    }
    // Cancelled there, and killed: it is taken back on the way back, also by a daemon that never saw it run.
    for place in ["post-create.called.after_effect", "create.post-create.after_effect"] {
        daemon.arm(place).await;
        let wanted = json!({"name": "cancelled", "plugins": {"guest": true}});
        let id = daemon.api.create(wanted).await["id"].as_str().expect("an id").to_owned();
        let begun = Instant::now();
        while !daemon.data.join("failpoint").exists() {
            assert!(begun.elapsed() < minute, "{place} was not hit\n{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let cancelled = daemon.api.post(&format!("/platform/projects/{id}/cancel"), json!({})).await;
        assert_eq!(cancelled.status, 202, "{}", cancelled.body);
        daemon.killed_at(place).await;
        daemon.revive().await;
        daemon.api.settled(&id, &["FAILED"], minute).await;
        assert_eq!((said(&daemon, &id, "ran"), said(&daemon, &id, "took")), (1, 1), "{place}");
        without_its_plugin_nobody_tries_again(&daemon, &plugins, &id).await;
        daemon.api.gone(&id).await;
        let after = (said(&daemon, &id, "took"), said(&daemon, &id, "before gone"));
        assert_eq!(after, (1, 0), "{place}: there is nothing left to take back, and it was never healthy");
    }
    daemon.finish();
    std::fs::remove_dir_all(plugins).expect("the copy goes");
}

/// A project whose chosen plugin is gone is not made without it.
async fn without_its_plugin_nobody_tries_again(daemon: &Daemon, plugins: &Path, id: &str) {
    let away = plugins.with_extension("away");
    std::fs::rename(plugins.join("guest"), &away).expect("moved away");
    assert_eq!(daemon.api.post("/platform/plugins/reload", json!({})).await.status, 200);
    let refused = daemon.api.post(&format!("/platform/projects/{id}/retry"), json!({})).await;
    let words = refused.body["message"].as_str().unwrap_or_default();
    assert!((400..500).contains(&refused.status) && words.contains("plugins.guest"), "{} {}", refused.status, refused.body);
    assert_eq!(daemon.api.project(id).await["status"], "FAILED");
    std::fs::rename(&away, plugins.join("guest")).expect("put back");
    assert_eq!(daemon.api.post("/platform/plugins/reload", json!({})).await.status, 200);
}

#[tokio::test]
async fn every_hook_is_called_in_the_life_of_a_project_and_a_switched_off_plugin_is_not() {
    let (daemon, plugins) = with_guest("hooks-life").await;
    let minute = Duration::from_secs(60);
    let id = create(&daemon, "lives").await;
    let off = daemon.api.create(json!({"name": "without", "plugins": {"guest": false}})).await;
    let off = off["id"].as_str().expect("an id").to_owned();
    for project in [&id, &off] {
        daemon.api.settled(project, &["ACTIVE_HEALTHY"], minute).await;
        daemon.api.post(&format!("/platform/projects/{project}/pause"), json!({})).await;
        daemon.api.settled(project, &["PAUSED"], minute).await;
        daemon.api.post(&format!("/platform/projects/{project}/resume"), json!({})).await;
        daemon.api.settled(project, &["ACTIVE_HEALTHY"], minute).await;
    }
    let shown = daemon.api.project(&off).await;
    assert_eq!(shown["plugins"], json!({"guest": false}), "{shown:#}");
    let begun = Instant::now();
    while said(&daemon, &id, "heard") == 0 {
        assert!(begun.elapsed() < minute, "the plugin heard nothing\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for project in [&id, &off] {
        daemon.api.gone(project).await;
    }
    let words = ["ran", "is back", "before gone", "took it back"];
    assert_eq!(words.map(|words| said(&daemon, &id, words)), [1; 4]);
    assert_eq!(words.map(|words| said(&daemon, &off, words)), [0; 4]);
    for (wrong, words) in [(json!({"nobody": true}), "no plugin `nobody`"), (json!({"guest": {"size": 3}}), "no options")] {
        let answer = daemon.api.post("/platform/projects", json!({"name": "wrong", "plugins": wrong})).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.status == 422 && message.contains(words), "{} {}", answer.status, answer.body);
    }
    daemon.finish();
    std::fs::remove_dir_all(plugins).expect("the copy goes");
}

#[tokio::test]
async fn names_are_admitted_amended_or_refused_with_the_operators_hint() {
    let options = r#"{"admit-naming": {"prefix": "acme-", "pattern": "[a-z-]+", "hint": "small letters"}}"#;
    let set = Options::tiny().set("SUPAMANAGER_PLUGIN_OPTIONS", options);
    let daemon = Daemon::ready("hooks-naming", set).await;
    let refused = daemon.api.post("/platform/projects", json!({"name": "Shop 7"})).await;
    let (code, message) = (refused.body["code"].as_str(), refused.body["message"].as_str().unwrap_or_default());
    assert_eq!((refused.status, code), (422, Some("plugin_refused")), "{}", refused.body);
    assert!(message.contains("admit-naming") && message.contains("small letters"), "{message}");
    let project = daemon.api.healthy(json!({"name": "shop"})).await;
    assert_eq!(project["name"], "acme-shop");
    let id = project["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}");
    let patch = async |body| daemon.api.call(reqwest::Method::PATCH, &path, Some(body), &[]).await;
    assert_eq!(patch(json!({"name": "No 1"})).await.status, 422);
    let renamed = patch(json!({"name": "other"})).await;
    assert_eq!((renamed.status, renamed.body["name"].as_str()), (200, Some("acme-other")), "{}", renamed.body);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_plugin_that_came_later_is_applied_to_a_project_that_was_there_once_for_each_version() {
    let plugins = scratch("hooks-later");
    copy_plugins(&plugins);
    let options = Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", plugins.display().to_string());
    let daemon = Daemon::ready("hooks-later", options.set("SUPAMANAGER_PLUGINS_UNSIGNED", "guest")).await;
    let id = daemon.api.healthy(json!({"name": "first"})).await["id"].as_str().expect("an id").to_owned();
    let apply = async |body: serde_json::Value| daemon.api.post(&format!("/platform/projects/{id}/apply"), body).await;
    let answer = apply(json!({"plugin": "guest"})).await;
    assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some("plugin")), "{}", answer.body);
    add_guest(&plugins);
    assert_eq!(daemon.api.post("/platform/plugins/reload", json!({})).await.status, 200);
    for _ in 0..2 {
        let output = daemon.command(&["plugin", "apply", "guest", "--project", &id]);
        assert!(output.contains("applied to 1 projects"), "{output}");
        assert_eq!(said(&daemon, &id, "ran"), 1, "once, however often it is asked for");
    }
    super::another_version(&plugins.join("guest"), 1);
    assert_eq!(daemon.api.post("/platform/plugins/reload", json!({})).await.status, 200);
    let output = daemon.command(&["plugin", "apply", "guest", "--all"]);
    assert!(output.contains("[1/1]") && output.contains("guest: ran"), "{output}");
    assert_eq!((said(&daemon, &id, "ran"), said(&daemon, &id, "took")), (2, 0), "another version works again");
    let probes_only = apply(json!({"plugin": "probe-service"})).await;
    assert_eq!(probes_only.status, 422, "{}", probes_only.body);
    daemon.api.gone(&id).await;
    assert_eq!(said(&daemon, &id, "took"), 1);
    daemon.finish();
    std::fs::remove_dir_all(plugins).expect("the copy goes");
}

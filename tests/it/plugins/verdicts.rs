//! What a running project is said to be, with the health plugin that says it: another one in its place, and one that the
//! project chooses. Both are the sceptic, a few lines of WebAssembly text that believe no service.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{running, sha256};
use crate::world::{Answer, Daemon, Options, copy_plugins, root, scratch};

/// Answers `check` with: unhealthy, "I do not believe it", and no endpoint.
fn sceptic(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 2)
            (data (i32.const 16) "{name}") (data (i32.const 64) "0.1.0") (data (i32.const 96) "I do not believe it")
            (global $top (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.get $top)
                (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
            (func (export "describe") (result i32)
                (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const {length}))
                (i32.store (i32.const 1032) (i32.const 64)) (i32.store (i32.const 1036) (i32.const 5))
                (i32.store (i32.const 1040) (i32.const 96)) (i32.store (i32.const 1044) (i32.const 19)) (i32.const 1024))
            (func (export "check") (param i32 i32 i32 i32 i32 i32) (result i32)
                (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
                (i32.store8 (i32.const 2060) (i32.const 2))
                (i32.store (i32.const 2064) (i32.const 96)) (i32.store (i32.const 2068) (i32.const 19))
                (i32.store (i32.const 2072) (i32.const 96)) (i32.store (i32.const 2076) (i32.const 0)) (i32.const 2048)))"#,
        length = name.len()
    );
    let mut module = wat::parse_str(text).expect("WebAssembly text");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("plugin-sdk/wit/v0.1")).expect("the contract");
    let world = resolve.select_world(&[package], Some("probe")).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("metadata");
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.encode()).expect("a component")
}

fn put(plugins: &Path, name: &str, more: &str) {
    let (folder, bytes) = (plugins.join(name), sceptic(name));
    let manifest = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\ncontract = \"0.1.0\"\nimports = []\nsha256 = \"{}\"\n{more}",
        sha256(&bytes)
    );
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("plugin.wasm"), bytes).expect("written");
    std::fs::write(folder.join("plugin.toml"), manifest).expect("written");
}

/// A daemon that looks every second, believes at once, and lets be what it finds.
async fn looking(name: &str, plugins: &Path, unsigned: &str) -> Daemon {
    let options = Options::tiny()
        .set("SUPAMANAGER_PLUGINS_DIR", plugins.display().to_string())
        .set("SUPAMANAGER_PLUGINS_UNSIGNED", unsigned)
        .set("SUPAMANAGER_LIMITS_PROBE_INTERVAL_S", "1")
        .set("SUPAMANAGER_LIMITS_UNHEALTHY_AFTER", "1")
        .set("SUPAMANAGER_LIMITS_HEALTHY_AFTER", "1")
        .set("SUPAMANAGER_LIMITS_HEAL_AFTER_S", "0");
    Daemon::ready(name, options).await
}

async fn believed(daemon: &Daemon, id: &str) {
    let project = daemon.api.settled(id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    assert_eq!(project["health_checks"]["back"]["healthy"], true, "{project:#}");
}

async fn doubted(daemon: &Daemon, id: &str) {
    let project = daemon.api.settled(id, &["ACTIVE_UNHEALTHY"], Duration::from_secs(60)).await;
    let back: &Value = &project["health_checks"]["back"];
    assert_eq!((&back["healthy"], &back["error"]), (&json!(false), &json!("I do not believe it")), "{project:#}");
}

#[tokio::test]
async fn another_health_plugin_says_something_else_of_a_running_project_until_it_is_rolled_back() {
    let plugins = scratch("verdicts");
    copy_plugins(&plugins);
    let daemon = looking("verdicts", &plugins, "probe-service").await;
    let id = daemon.api.healthy(json!({"name": "doubted"})).await["id"].as_str().expect("an id").to_owned();
    let first = running(&daemon).await;
    put(&plugins, "probe-service", "[[hook]]\nhook = \"probe\"\n");
    let changed = daemon.command(&["plugin", "reload"]);
    assert!(changed.contains("probe-service") && changed.contains("replaced"), "{changed}");
    doubted(&daemon, &id).await;
    daemon.command(&["plugin", "rollback", "probe-service"]);
    assert_eq!(running(&daemon).await, first);
    believed(&daemon, &id).await;
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(plugins).expect("the copy goes");
}

#[tokio::test]
async fn a_project_chooses_its_plugins_and_their_options_at_an_update() {
    let plugins = scratch("choices");
    copy_plugins(&plugins);
    let settings =
        "[settings]\ntype = \"object\"\nadditionalProperties = false\n\n[settings.properties.tone]\nenum = [\"dry\", \"sad\"]\n";
    put(&plugins, "sceptic", &format!("opt_in = true\n\n[[hook]]\nhook = \"probe\"\norder = 50\n\n{settings}"));
    let daemon = looking("choices", &plugins, "sceptic").await;
    let id = daemon.api.healthy(json!({"name": "chooses"})).await["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}");
    let patch = async |body: Value| -> Answer {
        let plan = daemon.api.call(Method::PATCH, &format!("{path}?plan=true"), Some(body.clone()), &[]).await;
        if plan.status != 200 {
            return plan;
        }
        let hash = plan.body["hash"].as_str().unwrap_or_default().to_owned();
        daemon.api.call(Method::PATCH, &path, Some(body), &[("if-match", &hash)]).await
    };
    for (plugins, word) in [
        (json!({"nobody": true}), "nobody"),
        (json!({"sceptic": {"tone": "loud"}}), "tone"),
        (json!({"sceptic": {"colour": "blue"}}), "colour"),
    ] {
        let refused = patch(json!({ "plugins": plugins })).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert!(refused.body["message"].as_str().is_some_and(|message| message.contains(word)), "{}", refused.body);
    }
    believed(&daemon, &id).await;
    let chosen = patch(json!({"plugins": {"sceptic": {"tone": "dry"}}})).await;
    assert!([200, 202].contains(&chosen.status), "{}", chosen.body);
    doubted(&daemon, &id).await;
    assert_eq!(daemon.api.project(&id).await["plugins"], json!({"sceptic": {"tone": "dry"}}));
    // What the command line says of the same.
    let shown = daemon.command(&["project", "update", &id, "--no-plugin", "sceptic"]);
    believed(&daemon, &id).await;
    assert_eq!(daemon.api.project(&id).await["plugins"]["sceptic"], false, "{shown}");
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(plugins).expect("the copy goes");
}

//! What a stack is made of is decided by plugins on disk: with none there is no stack, with another there is another.

mod hooks;
mod tools;
mod trials;
mod verdicts;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::{Daemon, Engine, Options, binary_path, copy_folder, copy_plugins, plugins_dir, root, run, scratch};

#[tokio::test]
async fn an_empty_plugin_folder_answers_no_render_plugin() {
    let empty = scratch("no-plugins");
    let daemon = Daemon::ready("no-plugins", Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", empty.display().to_string())).await;
    let answer = daemon.api.post("/platform/projects", json!({"name": "x"})).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (503, Some("no_render_plugin")), "{}", answer.body);
    daemon.finish();
    std::fs::remove_dir_all(empty).expect("the folder goes");
}

#[tokio::test]
async fn a_one_label_change_in_a_render_plugin_shows_in_docker_inspect() {
    let work = scratch("labelled");
    let folder = plugins_with_a_changed_renderer(&work);
    let daemon = Daemon::ready(
        "labelled",
        Options::tiny()
            .set("SUPAMANAGER_PLUGINS_DIR", folder.display().to_string())
            .set("SUPAMANAGER_PLUGINS_UNSIGNED", "render-supabase"),
    )
    .await;
    let project = daemon.api.healthy(json!({"name": "labelled"})).await;
    let id = project["id"].as_str().expect("an id");
    for service in ["back", "front"] {
        let labels = &Engine.inspect(&format!("supamanager-{id}-{service}"))["Config"]["Labels"];
        assert_eq!(labels["io.supamanager.colour"], "blue", "{labels:#}");
    }
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(work).expect("the copy goes");
}

/// The repository's plugins, the renderer built from sources that add a label to what the template says.
fn plugins_with_a_changed_renderer(work: &Path) -> PathBuf {
    let (sources, out) = (work.join("sources"), work.join("plugins"));
    for folder in ["daemon", "plugin-sdk", "plugins", "tests"] {
        copy_folder(&root().join(folder), &sources.join(folder));
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        std::fs::copy(root().join(file), sources.join(file)).expect("copied");
    }
    copy_plugins(&out);
    let renderer = sources.join("plugins/render-supabase/src/lib.rs");
    let text = std::fs::read_to_string(&renderer).expect("the renderer");
    let (end, label) = ("    Ok(File { path", "      io.supamanager.service:");
    assert_eq!(text.matches(end).count(), 1, "the renderer has changed: change this test with it");
    let change = format!("    let content = content.replace({label:?}, \"      io.supamanager.colour: blue\\n{label}\");\n{end}");
    std::fs::write(&renderer, text.replace(end, &change)).expect("written");
    let mut build = Command::new(binary_path());
    build.args(["plugin", "build", "--out"]).arg(&out).arg("--build-dir").arg(plugins_dir().join(".build"));
    run(build.arg(sources.join("plugins/render-supabase")));
    out
}

#[tokio::test]
async fn what_plugins_cost_is_answered_by_plugin_and_hook() {
    let daemon = Daemon::ready("plugin-costs", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "counted"})).await;
    let all = daemon.api.get("/platform/plugins").await.body;
    let names: Vec<&str> =
        all["plugins"].as_array().expect("a list").iter().filter_map(|plugin| plugin["name"].as_str()).collect();
    let shipped = [
        "admit-naming",
        "notify-webhook",
        "post-create-buckets",
        "post-create-sql",
        "probe-service",
        "probe-strict",
        "render-supabase",
    ];
    assert_eq!(names, shipped);
    let one = daemon.api.get("/platform/plugins/probe-service").await.body;
    assert_eq!((one["provenance"].as_str(), one["granted"].as_array().map(Vec::len)), (Some("shipped"), Some(4)), "{one:#}");
    let (hook, usage) = (&one["hooks"][0], &one["hooks"][0]["usage"]);
    assert_eq!((hook["hook"].as_str(), hook["limits"]["wall_ms"].as_u64()), (Some("probe"), Some(5_000)), "{one:#}");
    assert!(usage["calls"]["ok"].as_u64() > Some(0) && usage["cpu_seconds"].as_f64() > Some(0.0), "{usage:#}");
    assert_eq!(daemon.api.get("/platform/plugins/nobody").await.status, 404);
    daemon.api.gone(project["id"].as_str().expect("an id")).await;
    daemon.finish();
}

/// The same code under another digest: a custom section, which says nothing, at its end.
fn another_version(plugin: &Path, mark: u8) -> String {
    let (file, manifest) = (plugin.join("plugin.wasm"), plugin.join("plugin.toml"));
    let mut bytes = std::fs::read(&file).expect("the component");
    let before = sha256(&bytes);
    bytes.extend([0, 3, 1, b'v', mark]);
    let text = std::fs::read_to_string(&manifest).expect("the manifest").replace(&before, &sha256(&bytes));
    std::fs::write(&file, &bytes).expect("written");
    std::fs::write(&manifest, text).expect("written");
    format!("sha256:{}", sha256(&bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn running(daemon: &Daemon) -> String {
    daemon.api.get("/platform/plugins/probe-service").await.body["digest"].as_str().expect("a digest").to_owned()
}

#[tokio::test]
async fn the_health_plugin_of_a_running_project_is_swapped_and_put_back() {
    let work = scratch("swapped");
    copy_plugins(&work);
    let options = Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", work.display().to_string());
    let options = options.set("SUPAMANAGER_PLUGINS_UNSIGNED", "probe-service").expecting("was refused");
    let mut daemon = Daemon::ready("swapped", options).await;
    let project = daemon.api.healthy(json!({"name": "swapped"})).await;
    let id = project["id"].as_str().expect("an id").to_owned();
    let first = running(&daemon).await;

    let second = another_version(&work.join("probe-service"), 1);
    let shown = daemon.command(&["plugin", "grant", "probe-service"]);
    assert!(shown.contains("db-login") && shown.contains(&second) && !shown.contains("granted"), "{shown}");
    let asks = shown.trim_end().rsplit(' ').next().expect("the last word").to_owned();
    let listed = daemon.command(&["plugin", "list"]);
    assert!(listed.contains("NOT LOADED") && listed.contains("shipped"), "{listed}");
    let granted = daemon.command(&["plugin", "grant", "probe-service", "--digest", &second, "--asks", &asks]);
    assert!(granted.contains("granted"), "{granted}");
    let begun = Instant::now();
    while running(&daemon).await == first {
        assert!(begun.elapsed() < Duration::from_secs(40), "the folder is looked at every 2 s\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(running(&daemon).await, second);
    let said = daemon.command(&["plugin", "rollback", "probe-service"]);
    assert!(said.contains("replaced") && said.contains(&first) && said.contains(&second), "{said}");
    daemon.stop();
    daemon.revive().await;
    assert_eq!(running(&daemon).await, first, "a step back lasts");
    let listed = daemon.command(&["plugin", "list"]);
    assert!(listed.contains(&format!("rolled back: {first} runs in its place")), "{listed}");

    std::fs::write(work.join("probe-service/plugin.wasm"), b"half a cop").expect("written");
    another_manifest(&work.join("probe-service"));
    let listed = daemon.command(&["plugin", "list"]);
    assert!(listed.contains("BROKEN: ") && listed.contains("render-supabase"), "one that is broken hides no other: {listed}");
    let answer = daemon.api.post("/platform/plugins/reload", json!({})).await;
    let change = answer.body["changes"].as_array().expect("changes").iter().find(|change| change["plugin"] == "probe-service");
    let change = change.expect("of the probe plugin");
    assert_eq!((change["outcome"].as_str(), change["to"].as_str()), (Some("refused"), Some(first.as_str())), "{change:#}");
    let refused = daemon.binary().args(["plugin", "reload"]).output().expect("the binary");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("1 of 3"), "{refused:?}");
    let restart = daemon.api.post(&format!("/platform/projects/{id}/restart"), json!({})).await;
    assert_eq!(restart.status, 202, "{}", restart.body);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;

    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(work).expect("the copy goes");
}

/// Of a version that is not there yet, as in the midst of a copy.
fn another_manifest(plugin: &Path) {
    let manifest = plugin.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let line = text.lines().find(|line| line.starts_with("sha256")).expect("a digest").to_owned();
    std::fs::write(&manifest, text.replace(&line, &format!("sha256 = \"{}\"", "0".repeat(64)))).expect("written");
}

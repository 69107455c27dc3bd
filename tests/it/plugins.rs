//! What a stack is made of is decided by plugins on disk: with none there is no stack, with another there is another.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

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
    let daemon = Daemon::ready("labelled", Options::tiny().set("SUPAMANAGER_PLUGINS_DIR", folder.display().to_string())).await;
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
    assert_eq!(names, ["post-create-sql", "probe-service", "render-supabase"]);
    let one = daemon.api.get("/platform/plugins/probe-service").await.body;
    let (hook, usage) = (&one["hooks"][0], &one["hooks"][0]["usage"]);
    assert_eq!((hook["hook"].as_str(), hook["limits"]["wall_ms"].as_u64()), (Some("probe"), Some(5_000)), "{one:#}");
    assert!(usage["calls"]["ok"].as_u64() > Some(0) && usage["cpu_seconds"].as_f64() > Some(0.0), "{usage:#}");
    assert_eq!(daemon.api.get("/platform/plugins/nobody").await.status, 404);
    daemon.api.gone(project["id"].as_str().expect("an id")).await;
    daemon.finish();
}

//! Images: what the engine lacks is pulled once, and what no registry has is said.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::world::{Daemon, Engine, Options, Registry, broken_images, copy_folder, root, run, scratch};

#[tokio::test]
async fn an_image_that_is_missing_is_pulled_once_for_all_who_need_it() {
    let work = scratch("pull");
    let registry = Registry::start(&work, Daemon::next_port()).await;
    let reference = registry.take(&unique_image(&work), "supamanager-it/pulled:1");
    let options = Options::tiny();
    copy_folder(&root().join("tests/fixtures/tiny"), &work.join("templates"));
    let images = format!("name = \"pulled\"\ndescription = \"From a registry\"\n\n[images]\ntiny = {reference:?}\n");
    std::fs::write(work.join("templates/images/pulled.toml"), images).expect("written");
    let options = options
        .set("SUPAMANAGER_TEMPLATES_DIR", work.join("templates").display().to_string())
        .set("SUPAMANAGER_IMAGE_SET", "pulled");
    let daemon = Daemon::ready("pulled", options).await;
    let mut told = Vec::new();
    let created = [daemon.api.create(json!({"name": "one"})).await, daemon.api.create(json!({"name": "two"})).await];
    for project in &created {
        let id = project["id"].as_str().expect("an id");
        daemon.api.settled(id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
        let operations = daemon.api.get(&format!("/platform/projects/{id}/operations")).await.body;
        let steps = operations["operations"][0]["steps"].as_array().expect("steps").clone();
        let images = steps.iter().find(|step| step["name"] == "images").expect("the step");
        told.push(images["detail"].as_str().expect("a detail").to_owned());
        assert_eq!(Engine.inspect(&format!("supamanager-{id}-front"))["Config"]["Image"], reference);
    }
    assert!(told.contains(&"1 images, 1 pulled".to_owned()), "{told:?}");
    for project in &created {
        daemon.api.gone(project["id"].as_str().expect("an id")).await;
    }
    daemon.finish();
    Engine.docker(&["rmi", &reference]);
    std::fs::remove_dir_all(work).expect("the folder goes");
}

#[tokio::test]
async fn an_image_that_does_not_exist_fails_clearly() {
    let tiny_folder = root().join("tests/fixtures/tiny");
    let templates = broken_images(&tiny_folder, "tiny", "supamanager-sandbox/tiny:1", "127.0.0.1:9/none:1");
    let options =
        Options::tiny().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string()).set("SUPAMANAGER_IMAGE_SET", "broken");
    let daemon = Daemon::ready("no-image", options).await;
    let created = daemon.api.create(json!({"name": "no image"})).await;
    let id = created["id"].as_str().expect("an id");
    let project = daemon.api.settled(id, &["FAILED", "ACTIVE_HEALTHY"], Duration::from_secs(150)).await;
    let error = &project["error"];
    assert_eq!((error["step"].as_str(), error["code"].as_str()), (Some("images"), Some("image_unavailable")), "{error:#}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("127.0.0.1:9/none:1")), "{error:#}");
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

/// The small image with a layer that the engine has never seen: what is left of it after the push is nothing.
fn unique_image(work: &std::path::Path) -> String {
    const NAME: &str = "supamanager-it/unique:1";
    let mark = work.file_name().expect("a name").to_string_lossy().into_owned();
    let script = "mkdir -p \"$1/image/bin\" \"$1/image/tmp\" && cp \"$(command -v busybox)\" \"$1/image/bin/busybox\" && \
        echo \"$3\" >\"$1/image/mark\" && \
        tar -C \"$1/image\" -c . | docker import -c 'ENTRYPOINT [\"/bin/busybox\"]' - \"$2\"";
    run(Command::new("sh").args(["-c", script, "sh"]).arg(work).args([NAME, &mark]));
    NAME.to_owned()
}

//! Updates on a real engine: what a plan says is what happens, data stays, and an update that does not work out comes back
//! to the old containers, files and rows.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Api, Daemon, Engine, Options, copy_folder, root, scratch};

const SOON: Duration = Duration::from_secs(90);
const BACK: &str = "/var/lib/kept/row";

fn id_of(project: &Value) -> String {
    project["id"].as_str().expect("an id").to_owned()
}

fn name(id: &str, service: &str) -> String {
    format!("supamanager-{id}-{service}")
}

fn container(id: &str, service: &str) -> (String, String) {
    let found = Engine.inspect(&name(id, service));
    (found["Id"].to_string(), found["Image"].to_string())
}

async fn plan(api: &Api, id: &str, body: &Value) -> Answer {
    api.call(Method::PATCH, &format!("/platform/projects/{id}?plan=true"), Some(body.clone()), &[]).await
}

async fn patch(api: &Api, id: &str, body: &Value, hash: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = hash.map(|hash| ("if-match", hash)).into_iter().collect();
    api.call(Method::PATCH, &format!("/platform/projects/{id}"), Some(body.clone()), &headers).await
}

/// Plans and has the plan done; the answer to that.
pub async fn begin(api: &Api, id: &str, body: &Value) -> Answer {
    let planned = plan(api, id, body).await;
    let hash = planned.body["hash"].as_str().unwrap_or_else(|| panic!("no plan: {}", planned.body)).to_owned();
    let accepted = patch(api, id, body, Some(&hash)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    accepted
}

/// The tiny templates with two more image sets: `next`, which is another image that works, and `spoiler`, whose program
/// overwrites the data and ends.
pub fn templates() -> PathBuf {
    Engine.tiny_image();
    let made = Engine.docker(&["create", "supamanager-sandbox/tiny:1", "true"]);
    let spoil = "CMD [\"sh\", \"-c\", \"echo spoiled > /var/lib/kept/row; exit 1\"]";
    Engine.docker(&["commit", "--change", "LABEL another=1", &made, "supamanager-sandbox/tiny:2"]);
    Engine.docker(&["commit", "--change", spoil, &made, "supamanager-sandbox/tiny:spoiler"]);
    Engine.docker(&["rm", &made]);
    let folder = scratch("update-templates");
    copy_folder(&root().join("tests/fixtures/tiny"), &folder);
    for (set, tag) in [("next", "2"), ("spoiler", "spoiler"), ("absent", "nobody-made-this")] {
        let text = format!("name = \"{set}\"\n[images]\ntiny = \"supamanager-sandbox/tiny:{tag}\"\n");
        std::fs::write(folder.join(format!("images/{set}.toml")), text).expect("written");
    }
    let major = "name = \"major\"\npostgres_major = 99\n[images]\ntiny = \"supamanager-sandbox/tiny:2\"\n";
    std::fs::write(folder.join("images/major.toml"), major).expect("written");
    let set = folder.join("sets/tiny/set.toml");
    let text = std::fs::read_to_string(&set).expect("set.toml");
    std::fs::write(&set, text.replace("helper = \"front\"", "helper = \"back\"\npostgres_major = 15")).expect("written");
    // The spoiler runs its own command; and a stack can do without the front.
    let compose = folder.join("sets/tiny/compose.tmpl.yml");
    let text = std::fs::read_to_string(&compose).expect("the compose template");
    let text = text
        .replace("    command: [", "{% if \"spoiler\" not in services[name].image %}\n    command: [")
        .replace("\"/tmp\"]\n", "\"/tmp\"]\n{% endif %}\n")
        .replace(
            "{% for name in [\"back\", \"front\"] %}",
            "{% for name in [\"back\", \"front\"] if services[name] is defined %}",
        );
    std::fs::write(&compose, text).expect("written");
    folder
}

async fn daemon(mark: &str, templates: &std::path::Path) -> Daemon {
    Daemon::ready(mark, Options::tiny().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string())).await
}

pub fn write_row(id: &str) {
    Engine.docker(&["exec", &name(id, "back"), "/bin/busybox", "sh", "-c", &format!("echo precious > {BACK}")]);
}

pub fn row(id: &str) -> String {
    Engine.docker(&["exec", &name(id, "back"), "/bin/busybox", "cat", BACK])
}

#[tokio::test]
async fn a_plan_changes_nothing_and_exactly_it_is_done_or_refused() {
    let templates = templates();
    let daemon = daemon("update-plan", &templates).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "planned"})).await);
    let before = (container(&id, "back"), container(&id, "front"));
    let renamed = patch(&daemon.api, &id, &json!({"name": "renamed"}), None).await;
    assert_eq!((renamed.status, renamed.body["name"].as_str()), (200, Some("renamed")), "{}", renamed.body);
    assert!(renamed.body["operation_id"].is_null() && before == (container(&id, "back"), container(&id, "front")));
    let wanted = json!({"image_set": "next"});
    let planned = plan(&daemon.api, &id, &wanted).await;
    assert_eq!(planned.status, 200, "{}", planned.body);
    let changes = planned.body["changes"].as_array().expect("changes");
    let told: Vec<_> = changes.iter().map(|change| (change["service"].as_str(), change["action"].as_str())).collect();
    assert_eq!(told, [(Some("back"), Some("recreate")), (Some("front"), Some("recreate"))]);
    assert!(changes[0]["reasons"][0].as_str().is_some_and(|why| why.ends_with("tiny:1 -> supamanager-sandbox/tiny:2")));
    let room = &planned.body["snapshot"];
    assert!(room["free_bytes"].as_u64() > room["needed_bytes"].as_u64(), "{room}");
    let same = plan(&daemon.api, &id, &wanted).await.body["hash"].clone();
    assert_eq!(same, planned.body["hash"], "the same plan has the same hash");
    let hash = same.as_str().expect("a hash").to_owned();
    let unseen = patch(&daemon.api, &id, &wanted, None).await;
    assert_eq!((unseen.status, unseen.body["code"].as_str()), (428, Some("plan_missing")), "{}", unseen.body);
    let other = patch(&daemon.api, &id, &json!({"image_set": "next", "name": "again"}), Some(&hash)).await;
    assert_eq!((other.status, other.body["code"].as_str()), (412, Some("plan_outdated")), "{}", other.body);
    for (body, field, code) in [
        (json!({"image_set": "nowhere"}), "image_set", "unknown_value"),
        (json!({"template_set": "nowhere"}), "template_set", "unknown_value"),
        (json!({"services": {"nobody": false}}), "services", "unknown_value"),
        (json!({"services": {"back": false}}), "services", "unknown_value"),
        (json!({"image_set": "major"}), "image_set", "postgres_major"),
    ] {
        let refused = plan(&daemon.api, &id, &body).await;
        let told = (refused.status, refused.body["field"].as_str(), refused.body["code"].as_str());
        assert_eq!(told, (422, Some(field), Some(code)), "{body}: {}", refused.body);
    }
    assert_eq!(before, (container(&id, "back"), container(&id, "front")), "nobody has touched a container");
    write_row(&id);
    let accepted = patch(&daemon.api, &id, &wanted, Some(&format!("\"{hash}\""))).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let updated = daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert_eq!((updated["image_set"].as_str(), updated["error"].is_null()), (Some("next"), true), "{updated:#}");
    assert!(container(&id, "back").1 != before.0.1 && row(&id) == "precious");
    let again = patch(&daemon.api, &id, &wanted, Some(&hash)).await;
    assert_eq!(again.status, 412, "the world has moved: {}", again.body);
    let folder = daemon.data.join("projects").join(&id);
    assert!([".next", ".previous", ".snapshot", ".snapshot.complete"].iter().all(|name| !folder.join(name).exists()));
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn an_update_that_spoils_the_data_comes_back_with_it() {
    let templates = templates();
    let daemon = daemon("update-back", &templates).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "spoiled"})).await);
    write_row(&id);
    let before = container(&id, "back").1;
    for (set, code) in [("absent", "image_unavailable"), ("spoiler", "service_crashes")] {
        let accepted = begin(&daemon.api, &id, &json!({ "image_set": set })).await;
        let operation = format!("/platform/operations/{}", accepted.body["operation_id"].as_str().expect("an id"));
        let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY"], SOON).await;
        let ended = daemon.api.get(&operation).await.body;
        assert_eq!(ended["state"], "failed", "{ended:#}");
        assert_eq!((project["image_set"].as_str(), project["error"]["code"].as_str()), (Some("tiny"), Some(code)), "{project:#}");
        daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
        assert_eq!((container(&id, "back").1, row(&id).as_str()), (before.clone(), "precious"), "{set}");
    }
    let folder = daemon.data.join("projects").join(&id);
    assert!([".next", ".previous", ".snapshot", ".snapshot.complete"].iter().all(|name| !folder.join(name).exists()));
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_service_is_switched_off_and_on_again_by_the_command_line() {
    let templates = templates();
    let daemon = daemon("update-switch", &templates).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "switched"})).await);
    let back = container(&id, "back");
    let shown = daemon.command(&["project", "update", &id, "--off", "front", "--plan"]);
    assert!(shown.contains("remove     front") && !shown.contains("copy"), "{shown}");
    assert_eq!(daemon.api.project(&id).await["services"].as_object().expect("services").len(), 2, "only a plan");
    let done = daemon.command(&["project", "update", &id, "--off", "front", "--name", "half"]);
    assert!(done.contains("ACTIVE_HEALTHY"), "{done}");
    let project = daemon.api.project(&id).await;
    assert_eq!((project["name"].as_str(), project["services"].clone()), (Some("half"), json!({"back": "healthy"})));
    assert!(Engine.try_docker(&["inspect", &name(&id, "front")]).is_err(), "its container is gone");
    assert_eq!(container(&id, "back"), back, "the other one was not touched");
    daemon.command(&["project", "pause", &id]);
    daemon.command(&["project", "resume", &id]);
    assert!(Engine.try_docker(&["inspect", &name(&id, "front")]).is_err(), "it stays off");
    daemon.command(&["project", "update", &id, "--on", "front"]);
    let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert_eq!(
        supamanager_tests::get(project["endpoint"].as_str().expect("an endpoint")).await.expect("an answer").status(),
        404
    );
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

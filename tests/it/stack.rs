//! The whole line on a real engine: ten services from one POST, used from outside, gone without a trace.

mod checks;
mod generation;
mod secrets;
mod ten;
mod updates;
mod verbs;

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Daemon, Decoys, Engine, Options, User, image_set, root, run, scratch};
use checks::Project;

/// Quotes of both kinds, a dollar sign, braces, a hash, a colon, a leading dash, two scripts and an emoji.
const NAME: &str = r#"- O'Brien's "App" $HOME ${JWT_SECRET} {{ x }} # 1: 日本語 🐘"#;
/// The same idea for the owner's password: any characters (api.md, Passwords).
const PASSWORD: &str = r#"p'a"s\s w/ü:@#%$ß{}`&;"#;

const SERVICES: [&str; 10] = ["analytics", "auth", "db", "imgproxy", "kong", "meta", "realtime", "rest", "storage", "vector"];

#[tokio::test]
async fn a_project_becomes_healthy_and_is_gone_without_a_trace() {
    let decoys = Decoys::make(Engine, "-stack", 1);
    let templates = secrets::templates_that_show_the_plugins_input();
    let options = Options::default()
        .set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string())
        .set("SUPAMANAGER_LOG_FILTER", "supamanager=trace,info");
    let mut daemon = Daemon::ready("stack", options).await;
    let body = json!({"name": NAME, "region": "us-east", "organization_id": "default", "db_pass": PASSWORD});
    let created = daemon.api.call(Method::POST, "/platform/projects", Some(body), &[]).await;
    the_answer_to_a_create_has_the_designs_fields(&created.body, created.status, created.location.as_deref());
    let id = created.body["id"].as_str().expect("an id").to_owned();
    let settled = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(300)).await;
    assert_eq!(settled["status"], "ACTIVE_HEALTHY", "{:#}", settled["error"]);
    the_project_has_the_designs_fields(&settled);
    let project = Project::of(&daemon, &id).await;
    project.the_gateway_answers_its_smoke_table();
    project.the_database_answers_over_the_published_port(PASSWORD);
    project.a_row_written_through_sql_is_read_through_the_gateway().await;
    project.names_survive_yaml_env_sql_and_labels(NAME);
    project.the_containers_are_labelled_and_limited(&daemon);
    project.the_folder_is_private();
    project.the_rendered_stack_meets_its_contract();
    project.logs_are_served(&daemon).await;
    secrets::no_secret_leaves_its_place(&daemon, &project).await;
    project.usage_is_sampled(&daemon).await;
    project.comes_back_from_a_pause_and_a_restart_with_its_rows(&daemon).await;
    daemon.stop();
    project.the_rendered_folder_stands_on_its_own();
    daemon.revive().await;
    let known = secrets::all(&daemon, &project);
    daemon.api.gone(&id).await;
    secrets::none_came_with_the_delete(&daemon, &known);
    project.nothing_is_left(&daemon);
    decoys.untouched(Engine);
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_lean_project_is_whole_with_seven_services() {
    let daemon = Daemon::ready("lean", Options::default()).await;
    let buckets = json!({"buckets": [{"name": "avatars", "public": true}, {"name": "files"}]});
    let wanted =
        json!({"name": "lean", "template_set": "lean", "db_pass": PASSWORD, "plugins": {"post-create-buckets": buckets}});
    let lean = daemon.api.healthy(wanted).await;
    let id = lean["id"].as_str().expect("an id").to_owned();
    let services: Vec<&str> = lean["services"].as_object().expect("services").keys().map(String::as_str).collect();
    assert_eq!(services, ["auth", "db", "kong", "meta", "realtime", "rest", "storage"]);
    let project = Project::of(&daemon, &id).await;
    project.the_database_answers_over_the_published_port(PASSWORD);
    project.a_row_written_through_sql_is_read_through_the_gateway().await;
    for service in services {
        let driver = Engine.inspect(&format!("supamanager-{id}-{service}"))["HostConfig"]["LogConfig"]["Type"].clone();
        assert_eq!(driver, "local", "{service} has no collector to send to");
    }
    for (bucket, public) in [("avatars", true), ("files", false)] {
        let (status, body) = project.request_as("service_role", &format!("/storage/v1/bucket/{bucket}")).await;
        let made: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
        assert_eq!(
            (status, made["public"].as_bool()),
            (200, Some(public)),
            "post-create-buckets made it through the gateway: {body}"
        );
    }
    let folder = daemon.data.join("projects").join(&id);
    assert!(folder.join("kong.yml").exists() && !folder.join("vector.yml").exists());
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_project_with_studio_lets_nobody_in_without_the_password() {
    let slot = Daemon::next_port();
    let options = Options::default().set("SUPAMANAGER_PORTS_STUDIO", format!("{slot}-{}", slot + 9));
    let daemon = Daemon::ready("studio", options).await;
    let body = json!({"name": NAME, "template_set": "studio", "db_pass": PASSWORD});
    let created = daemon.api.create(body).await;
    let id = created["id"].as_str().expect("an id").to_owned();
    let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(300)).await;
    assert_eq!(project["status"], "ACTIVE_HEALTHY", "{:#}", project["error"]);
    assert_eq!(
        (project["services"].as_object().map(serde_json::Map::len), &project["services"]["studio"]),
        (Some(11), &json!("healthy"))
    );
    let url = project["studio_url"].as_str().expect("a studio_url").to_owned();
    assert_eq!((url.as_str(), &created["studio_url"]), (format!("http://127.0.0.1:{slot}/").as_str(), &project["studio_url"]));

    let client = supamanager::web::plain().build().expect("a client");
    let root_of_api = format!("{}/", project["endpoint"].as_str().expect("an endpoint"));
    for place in [&url, &root_of_api, &format!("{url}project/default")] {
        let closed = client.get(place).send().await.expect("an answer");
        assert_eq!(closed.status(), 401, "{place}");
        assert!(closed.headers().contains_key("www-authenticate"), "a browser asks for the password");
        let wrong = client.get(place).basic_auth("supabase", Some("wrong")).send().await.expect("an answer");
        assert_eq!(wrong.status(), 401, "{place}");
    }
    let credentials = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    let login = &credentials["logins"]["studio_url"];
    let text = |key: &str| login[key].as_str().unwrap_or_else(|| panic!("{key} in {login}"));
    assert_eq!(text("url"), url);
    let inside = |path: &str| client.get(format!("{url}{path}")).basic_auth(text("user"), Some(text("password"))).send();
    let page = inside("").await.expect("an answer");
    assert_eq!(page.status(), 200);
    if image_set() == "sandbox" {
        let page = page.text().await.expect("text");
        assert!(page.contains("\"login\": false"), "the password stays at the gateway: {page}");
        let reached: Value = inside("sandbox/reaches").await.expect("an answer").json().await.expect("JSON");
        assert_eq!(reached, json!({"meta": 200, "gateway": 200}));
    }

    let anon = credentials["api_keys"]["anon"].as_str().expect("a key");
    let rest = client.get(format!("{root_of_api}rest/v1/")).header("apikey", anon).send().await.expect("an answer");
    assert_eq!(rest.status(), 200, "the routes of the services go before it");
    let ports = &Engine.inspect(&format!("supamanager-{id}-studio"))["HostConfig"]["PortBindings"];
    assert!(ports.as_object().is_none_or(serde_json::Map::is_empty), "{ports}");
    daemon.api.gone(&id).await;
    daemon.finish();
}

fn the_answer_to_a_create_has_the_designs_fields(body: &Value, status: u16, location: Option<&str>) {
    assert_eq!(status, 201, "{body}");
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let id = text("id");
    assert!(id.len() == 20 && id.bytes().all(|b| b.is_ascii_lowercase()), "{id}");
    assert_eq!(location, Some(format!("/platform/projects/{id}").as_str()));
    assert_eq!((text("name").as_str(), text("status").as_str()), (NAME, "CREATING"));
    assert!(text("endpoint").starts_with("http://127.0.0.1:"), "{body}");
    assert!(text("database_url").starts_with("postgres://postgres:***@127.0.0.1:"), "{body}");
    assert!(text("operation_id").starts_with("op_"));
    for key in ["anon", "service_role"] {
        let token = body["api_keys"][key].as_str().expect("a key");
        let claims = checks::claims(token);
        assert_eq!((claims["role"].as_str(), claims["iss"].as_str()), (Some(key), Some("supabase")));
        let years = (claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat")) / (365 * 86_400);
        assert_eq!(years, 10, "API keys last ten years");
    }
}

fn the_project_has_the_designs_fields(project: &Value) {
    let services: Vec<&str> = project["services"].as_object().expect("services").keys().map(String::as_str).collect();
    assert_eq!(services, SERVICES);
    for service in SERVICES {
        assert_eq!(project["services"][service], "healthy", "{service}");
        let check = &project["health_checks"][service];
        assert_eq!(check["healthy"], true, "{service}");
        assert!(
            check["last_check"].is_string() && check["latency_ms"].is_i64() && check["error"].is_null(),
            "{service}: {check}"
        );
        assert_eq!(project["containers"][service].as_str().map(str::len), Some(64), "{service} has a container id");
    }
    for key in ["name", "endpoint", "organization_id", "region", "created_at", "updated_at"] {
        assert!(project[key].is_string(), "{key}");
    }
    assert!(project["error"].is_null());
}

#[tokio::test]
async fn three_projects_at_once_share_nothing() {
    let daemon = Daemon::ready("three", Options::default()).await;
    let created =
        futures_util::future::join_all((0..3).map(|n| daemon.api.create(json!({"name": format!("twin {}", n % 2)})))).await;
    let ids: Vec<String> = created.iter().map(|body| body["id"].as_str().expect("an id").to_owned()).collect();
    for id in &ids {
        let project = daemon.api.settled(id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(400)).await;
        assert_eq!(project["status"], "ACTIVE_HEALTHY", "{:#}", project["error"]);
    }
    let mut projects = Vec::new();
    for id in &ids {
        projects.push(Project::of(&daemon, id).await);
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let shared: Vec<_> = projects[one].identity().intersection(&projects[other].identity()).cloned().collect();
        assert_eq!(shared, Vec::<String>::new(), "names, ports, subnets and secrets are a project's own");
    }
    each_vector_sees_its_own_logs_only(&projects).await;
    for id in &ids {
        assert_eq!(daemon.api.delete(id).await.status, 202);
    }
    for (id, project) in ids.iter().zip(&projects) {
        daemon.api.settled(id, &["DELETED"], Duration::from_secs(180)).await;
        project.nothing_is_left(&daemon);
    }
    daemon.finish();
}

/// A request through each gateway leaves a line with the project's mark in its own vector, and in no other.
async fn each_vector_sees_its_own_logs_only(projects: &[Project]) {
    for project in projects {
        project.logs_go_to_its_own_vector();
        project.request(&format!("/rest/v1/mark-{}", project.id)).await;
    }
    // The real vector keeps no list of what it has seen.
    if image_set() != "sandbox" {
        return;
    }
    for project in projects {
        let own = format!("mark-{}", project.id);
        let seen = project.vector_events_with(&own).await;
        assert!(seen.contains(&own), "{} is not in its own vector", own);
        for other in projects.iter().filter(|other| other.id != project.id) {
            assert!(!seen.contains(&other.id), "the vector of {} saw {}", project.id, other.id);
        }
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_root_creates_and_deletes_what_containers_own() {
    let user = User::nobody("nobody");
    let options = Options { user: Some(user.clone()), ..Options::default() };
    let daemon = Daemon::ready("nobody", options).await;
    let project = daemon.api.healthy(json!({"name": "of nobody"})).await;
    let id = project["id"].as_str().expect("an id");
    let owner = |path: &str| std::fs::metadata(daemon.data.join(path)).expect(path).uid();
    assert_eq!(owner("installation"), user.uid, "the daemon is somebody else");
    assert_ne!(owner(&format!("projects/{id}/volumes/db")), user.uid, "the database's files are its container's own");
    daemon.api.gone(id).await;
    assert!(!daemon.data.join("projects").join(id).exists(), "the folder went with everything in it");
    daemon.finish();
    std::fs::remove_dir_all(user.home).expect("the copies go");
}

#[tokio::test]
async fn an_eleventh_service_needs_no_line_of_the_daemon() {
    let work = scratch("eleven");
    let folder = work.join("templates");
    let script = root().join("tests/fixtures/sets/make-eleven.py");
    run(Command::new("python3").arg(script).arg(&folder).args(["--image-set", &image_set()]));
    let options = Options::default()
        .set("SUPAMANAGER_TEMPLATES_DIR", folder.display().to_string())
        .set("SUPAMANAGER_TEMPLATE_SET", "eleven")
        .set("SUPAMANAGER_IMAGE_SET", "eleven");
    let slot = Daemon::next_port();
    let options = options.set("SUPAMANAGER_PORTS_STUDIO", format!("{slot}-{}", slot + 9));
    let daemon = Daemon::ready("eleven", options).await;
    let project = daemon.api.healthy(json!({"name": "eleven"})).await;
    let id = project["id"].as_str().expect("an id");
    assert_eq!(project["services"].as_object().map(serde_json::Map::len), Some(11));
    assert_eq!(project["services"]["hello"], "healthy");
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(work).expect("the templates go");
}

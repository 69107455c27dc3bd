//! Updates of the whole stack on a real PostgreSQL.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::checks::Project;
use crate::world::{Daemon, Options, broken_images, root};

const SOON: Duration = Duration::from_secs(200);

/// From seven services to ten with every row; and a crash of what migrates the database takes back even what was
/// written while it was tried.
#[tokio::test]
async fn a_stack_grows_with_its_rows_and_a_bad_image_leaves_no_trace_in_them() {
    let templates =
        broken_images(&root().join("templates"), "sandbox", "supamanager-sandbox/auth:1", "supamanager-sandbox/auth-crash:1");
    let options = Options::default().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string());
    let daemon = Daemon::ready("stack-update", options).await;
    let lean = daemon.api.healthy(json!({"name": "growing", "template_set": "lean"})).await;
    let id = lean["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}");
    let project = Project::of(&daemon, &id).await;
    project.sql("create table public.notes (id int primary key); insert into public.notes select generate_series(1, 1000)");
    let body = json!({"image_set": "broken"});
    let plan = daemon.api.call(Method::PATCH, &format!("{path}?plan=true"), Some(body.clone()), &[]).await.body;
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(1), "auth and nothing else: {plan:#}");
    let hash = plan["hash"].as_str().expect("a hash");
    let accepted = daemon.api.call(Method::PATCH, &path, Some(body), &[("if-match", hash)]).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    daemon.api.step_is(&id, "healthy", "started", SOON).await;
    project.sql("insert into public.notes values (1001)");
    let failed = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY"], SOON).await;
    assert_eq!(failed["error"]["code"], "service_crashes", "{:#}", failed["error"]);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert_eq!(project.sql("select count(*), max(id) from public.notes"), "1000|1000", "the data of before the update");
    let shown = daemon.command(&["project", "update", &id, "--template-set", "supabase"]);
    assert!(shown.contains("create     vector") && shown.contains("ACTIVE_HEALTHY") && !shown.contains("copy "), "{shown}");
    let whole = daemon.api.project(&id).await;
    assert_eq!(whole["services"].as_object().map(serde_json::Map::len), Some(10));
    assert_eq!((&whole["endpoint"], &whole["database_url"]), (&lean["endpoint"], &lean["database_url"]));
    assert_eq!(project.sql("select count(*) from public.notes"), "1000");
    Project::of(&daemon, &id).await.the_gateway_answers_its_smoke_table();
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

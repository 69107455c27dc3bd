//! Ten whole projects at once on one engine, five of them lean: nothing is held twice, and each answers for itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::PASSWORD;
use super::checks::Project;
use crate::world::{Daemon, Engine, Options};

const PROJECTS: usize = 10;
/// 85 containers start at once on whatever this machine has; alone a project takes ten seconds.
const LIMIT: Duration = Duration::from_secs(600);

#[tokio::test]
async fn ten_projects_at_once_five_of_them_lean() {
    let options = Options::default()
        .set("SUPAMANAGER_LIMITS_OPERATIONS", PROJECTS.to_string())
        .set("SUPAMANAGER_DEADLINES_HEALTHY_S", LIMIT.as_secs().to_string())
        .set("SUPAMANAGER_DEADLINES_STEP_S", LIMIT.as_secs().to_string())
        .set("SUPAMANAGER_SUBNETS_POOL", "10.213.96.0/20");
    let first = Daemon::next_port();
    let options = options
        .set("SUPAMANAGER_PORTS_API", format!("{first}-{}", first + 9))
        .set("SUPAMANAGER_PORTS_DB", format!("{}-{}", first + 10, first + 19));
    let daemon = Daemon::ready("ten", options).await;
    let begun = Instant::now();
    let mut ids = Vec::new();
    for number in 0..PROJECTS {
        let set = if number % 2 == 0 { "supabase" } else { "lean" };
        let body = json!({"name": format!("one of ten {number}"), "template_set": set, "db_pass": PASSWORD});
        ids.push(daemon.api.create(body).await["id"].as_str().expect("an id").to_owned());
    }
    let settled = join_all(ids.iter().map(|id| daemon.api.settled(id, &["ACTIVE_HEALTHY", "FAILED"], LIMIT))).await;
    for project in &settled {
        assert_eq!(project["status"], "ACTIVE_HEALTHY", "{:#}", project["error"]);
    }
    let containers: usize = settled.iter().map(|project| project["services"].as_object().map_or(0, |of| of.len())).sum();
    println!(
        "\n{PROJECTS} projects at once, {containers} containers: all ACTIVE_HEALTHY after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert_eq!(containers, 5 * 10 + 5 * 7);
    let once = |what: &str, of: Vec<String>| {
        let different: BTreeSet<&String> = of.iter().collect();
        assert_eq!((of.len(), different.len()), (PROJECTS, PROJECTS), "{what}: {of:?}");
    };
    once("API ports", settled.iter().map(|project| project["endpoint"].to_string()).collect());
    once("database ports", settled.iter().map(|project| project["database_url"].to_string()).collect());
    let subnet = |id: &String| Engine.inspect(&format!("supamanager-{id}"))["IPAM"]["Config"][0]["Subnet"].to_string();
    once("subnets", ids.iter().map(subnet).collect());
    for id in &ids {
        let project = Project::of(&daemon, id).await;
        project.a_row_written_through_sql_is_read_through_the_gateway().await;
    }
    let begun = Instant::now();
    join_all(ids.iter().map(|id| daemon.api.gone(id))).await;
    println!("all DELETED after {:.1} s", begun.elapsed().as_secs_f64());
    daemon.finish();
}

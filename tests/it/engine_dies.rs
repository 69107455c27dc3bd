//! The engine is killed (`kill -9`) in the middle of an operation and started again: the operation waits and finishes.
//! Only with an engine that `tests/setup/engine.sh` started, and with nobody else on it.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Daemon, Engine, Options, root, run};

/// How long the engine is away.
const AWAY: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(240);
/// After the containers are made; their first start takes the engine some 300 ms.
const INTO_A_START_MS: [u64; 6] = [0, 100, 200, 300, 400, 500];

fn engine(word: &str) {
    run(Command::new("sh").arg(root().join("tests/setup/engine.sh")).arg(word));
}

/// What the daemon says of an engine that is away, and of what it could not do meanwhile.
fn options() -> Options {
    Options::tiny().expecting("engine").expecting("is not done yet, trying again")
}

/// Kills the engine, sees the operation wait, starts the engine again and sees the operation end.
async fn dies(daemon: &Daemon, id: &str, (meanwhile, end): (&str, &str)) {
    engine("crash");
    tokio::time::sleep(AWAY).await;
    let project = daemon.api.project(id).await;
    assert_eq!(project["status"], meanwhile, "the engine is away: {project:#}");
    engine("start");
    let back = Instant::now();
    let project = daemon.api.settled(id, &[end, "FAILED"], LIMIT).await;
    assert_eq!(project["status"], end, "{:#}", project["error"]);
    println!("{meanwhile}, the engine {} s away: {end} {:.1} s after it was back", AWAY.as_secs(), back.elapsed().as_secs_f64());
}

fn containers(id: &str) -> Vec<String> {
    let label = format!("label=io.supamanager.project={id}");
    let listed = Engine.docker(&["ps", "-a", "--no-trunc", "--format", "{{.ID}}", "--filter", &label]);
    listed.lines().map(str::to_owned).collect()
}

async fn created(daemon: &Daemon) -> String {
    let created = daemon.api.create(json!({"name": "outlives its engine"})).await;
    let id = created["id"].as_str().expect("an id").to_owned();
    daemon.api.step_is(&id, "containers", "succeeded", Duration::from_secs(60)).await;
    id
}

#[tokio::test]
async fn an_engine_that_is_killed_delays_a_create_a_pause_a_resume_and_a_delete_and_no_more() {
    println!();
    let daemon = Daemon::ready("engine-dies", options()).await;
    let id = created(&daemon).await;
    dies(&daemon, &id, ("CREATING", "ACTIVE_HEALTHY")).await;
    for (verb, meanwhile, end) in [("pause", "PAUSING", "PAUSED"), ("resume", "RESUMING", "ACTIVE_HEALTHY")] {
        let answer = daemon.api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        dies(&daemon, &id, (meanwhile, end)).await;
    }
    assert_eq!(daemon.api.delete(&id).await.status, 202);
    dies(&daemon, &id, ("DELETING", "DELETED")).await;
    daemon.finish();
}

/// What a killed engine leaves of a start is kept by containerd: such a container never starts again
/// (`daemon/src/backend/docker/killed.rs`), and is made again.
#[tokio::test]
async fn a_container_whose_start_the_engine_did_not_survive_is_made_again() {
    println!();
    let daemon = Daemon::ready("half-started", options()).await;
    let mut again = 0;
    for pause in INTO_A_START_MS {
        let id = created(&daemon).await;
        let before = containers(&id);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        dies(&daemon, &id, ("CREATING", "ACTIVE_HEALTHY")).await;
        let now = containers(&id);
        again += before.iter().filter(|id| !now.contains(id)).count();
        daemon.api.gone(&id).await;
    }
    println!("{again} containers were made again");
    // Newer engines replace what they find; this one leaves it.
    let leaves_it = Engine.docker(&["version", "--format", "{{.Server.Version}}"]).starts_with("20.");
    assert!(again > 0 || !leaves_it, "no start was met in {} tries", INTO_A_START_MS.len());
    daemon.finish();
}

//! Random verbs on a few small projects, and kill -9 at random moments: what was promised is compared with what there
//! is after every kill. `make test` takes a dozen; `make soak KILLS=n` as many as are wanted, and keeps the figures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::world::{Daemon, Options};

/// Kills of `make test`; `SUPAMANAGER_TEST_KILLS` makes it more.
const KILLS: u64 = 12;
/// Live projects at once, at most.
const PROJECTS: usize = 3;
/// After a restart everything must be at rest within this.
const CONVERGES: Duration = Duration::from_secs(120);

#[tokio::test]
async fn random_kills_under_random_verbs_lose_and_leak_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("SUPAMANAGER_TEST_KILLS").unwrap_or(KILLS);
    let seed = number("SUPAMANAGER_TEST_SEED").unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    // A kill cuts whatever is written at that moment; the next start says so.
    let mut daemon = Daemon::ready("soak", Options::tiny()).await;
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    let mut converged_ms = Vec::new();
    for number in 1..=kills {
        for _ in 0..rng.random_range(1..4) {
            act(&mut rng, &daemon, &mut keys).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1500))).await;
        daemon.kill();
        let begun = Instant::now();
        daemon.revive().await;
        let projects = at_rest(&daemon).await;
        converged_ms.push(begun.elapsed().as_millis());
        let wrong = differences(&daemon, &projects, &keys).await;
        assert!(wrong.is_empty(), "after kill {number} of seed {seed}:\n{}\n{}", wrong.join("\n"), daemon.log());
        keys.retain(|id, _| projects.iter().any(|project| project["id"] == id.as_str()));
    }
    for project in at_rest(&daemon).await {
        daemon.api.gone(project["id"].as_str().expect("an id")).await;
    }
    converged_ms.sort_unstable();
    supamanager_tests::keep_times(&converged_ms);
    let at = |share: usize| converged_ms[(converged_ms.len() * share / 100).min(converged_ms.len() - 1)];
    println!(
        "\nkills: {kills} at random, seed {seed}, leaked 0, lost 0; ms from the restart to rest: p50 {}, p95 {}, max {}",
        at(50),
        at(95),
        at(100)
    );
    daemon.finish();
}

/// One verb that the state of some project allows, or a create.
async fn act(rng: &mut StdRng, daemon: &Daemon, keys: &mut BTreeMap<String, Value>) {
    let projects = listed(daemon).await;
    if projects.len() < PROJECTS && (projects.is_empty() || rng.random_bool(0.4)) {
        let created = daemon.api.create(json!({"name": "of the soak"})).await;
        keys.insert(created["id"].as_str().expect("an id").to_owned(), created["api_keys"].clone());
        return;
    }
    let project = projects.choose(rng).expect("a project");
    let id = project["id"].as_str().expect("an id");
    let verbs: &[&str] = match project["status"].as_str().unwrap_or_default() {
        "ACTIVE_HEALTHY" | "ACTIVE_UNHEALTHY" => &["pause", "restart", "delete"],
        "PAUSED" => &["resume", "resume", "delete"],
        "FAILED" => &["retry", "delete"],
        "DELETING" => return,
        _ => &["cancel"],
    };
    // It may have moved on since it was listed: a refusal is an answer, too.
    let answer = match *verbs.choose(rng).expect("verbs") {
        "delete" => daemon.api.delete(id).await,
        verb => daemon.api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await,
    };
    assert!(matches!(answer.status, 202 | 409), "{}: {}", answer.status, answer.body);
}

async fn listed(daemon: &Daemon) -> Vec<Value> {
    daemon.api.get("/platform/projects").await.body["projects"].as_array().cloned().unwrap_or_default()
}

/// The projects, once none is on its way and none waits to be repaired.
async fn at_rest(daemon: &Daemon) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let projects = listed(daemon).await;
        let rests = |project: &Value| matches!(project["status"].as_str(), Some("ACTIVE_HEALTHY" | "PAUSED" | "FAILED"));
        if projects.iter().all(rests) {
            return projects;
        }
        assert!(begun.elapsed() < CONVERGES, "not at rest after {CONVERGES:?}: {projects:#?}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the engine and the daemon say against what they should: objects by status, keys as they were handed out, no
/// operation without an end.
async fn differences(daemon: &Daemon, projects: &[Value], keys: &BTreeMap<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut wanted = 0;
    for project in projects {
        let id = project["id"].as_str().expect("an id");
        let kept = project["status"] != "FAILED";
        // Two containers, a network and a volume.
        wanted += if kept { 4 } else { 0 };
        let running =
            daemon.engine.docker(&["ps", "-q", "--filter", &format!("label=io.supamanager.project={id}")]).lines().count();
        let should = if project["status"] == "ACTIVE_HEALTHY" { 2 } else { 0 };
        if running != should {
            wrong.push(format!("{id} is {} and {running} of its containers run", project["status"]));
        }
        let now = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
        if keys.get(id).is_some_and(|keys| *keys != now["api_keys"]) {
            wrong.push(format!("a key of {id} changed"));
        }
        let operations = daemon.api.get(&format!("/platform/projects/{id}/operations")).await.body;
        for operation in operations["operations"].as_array().into_iter().flatten() {
            if operation["ended_at"].is_null() {
                wrong.push(format!("{} of {id} has no end", operation["id"]));
            }
        }
    }
    let objects = daemon.objects();
    if objects.len() != wanted {
        wrong.push(format!("{wanted} objects are wanted, there are {}: {objects:?}", objects.len()));
    }
    wrong
}

//! kill -9 at every step of create, of its unwinding and of delete, before and after each record, on the real
//! engine with a stack of two small containers. After the restart every project ends ACTIVE_HEALTHY, FAILED or
//! DELETED, nothing is leaked, and no secret that was handed out has changed.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use supamanager::domain::OperationKind;
use supamanager::lifecycle::{Position, Waves, plan, update_steps};

use crate::world::{Daemon, Decoys, Engine, Options, root};

/// The tiny set has two waves.
const WAVES: [usize; 2] = [0, 1];
/// Daemons that share the places of create and delete: each waits for its containers most of the time.
const SHARES: usize = 3;

fn tiny() -> Options {
    Options::tiny().set("SUPAMANAGER_DEADLINES_HEALTHY_S", "30")
}

fn places(kind: OperationKind, undo: bool) -> Vec<String> {
    let mut places = Vec::new();
    for step in plan(kind, &WAVES) {
        // The positions around a record: before and after the intent, before and after the outcome.
        for position in Position::ALL.into_iter().filter(|_| !undo || step.undo.is_some()) {
            let middle = if undo { "undo." } else { "" };
            if undo && position == Position::AfterIntent {
                continue;
            }
            places.push(format!("{}.{middle}{}.{}", kind.as_str(), step.name, position.as_str()));
        }
    }
    places
}

/// Those of its steps, and of its end.
fn all(kind: OperationKind) -> Vec<String> {
    let ends = ["before_intent", "after_record"].map(|position| format!("{}.end.{position}", kind.as_str()));
    [places(kind, false), ends.to_vec()].concat()
}

#[tokio::test]
async fn every_step_of_create_and_delete_survives_a_kill_before_and_after_its_record() {
    let decoys = Decoys::make(Engine, "-kills", 0);
    let (creates, deletes) = (all(OperationKind::Create), all(OperationKind::Delete));
    assert!(deletes.len() <= creates.len(), "places without a kill");
    let share = |places: &[String], number: usize| places.iter().skip(number).step_by(SHARES).cloned().collect::<Vec<_>>();
    let shares = (0..SHARES).map(|number| create_and_delete(share(&creates, number), share(&deletes, number)));
    print_table("create and delete", &join_all(shares).await.concat());
    decoys.untouched(Engine);
}

/// One project per create place; each is deleted with a kill of its own while there are delete places left.
async fn create_and_delete(creates: Vec<String>, mut deletes: Vec<String>) -> Vec<(String, String)> {
    let mut daemon = Daemon::ready("kills", tiny()).await;
    let mut table = Vec::new();
    for (number, place) in creates.iter().enumerate() {
        daemon.arm(place).await;
        let created = daemon.api.create(json!({"name": format!("killed at {place}")})).await;
        let id = created["id"].as_str().expect("an id").to_owned();
        daemon.killed_at(place).await;
        daemon.revive().await;
        let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
        assert_eq!(project["status"], "ACTIVE_HEALTHY", "{place}: {:#}", project["error"]);
        let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
        assert_eq!(keys["api_keys"], created["api_keys"], "{place}: a resumed create changed a key (I8)");
        ends_are_told(&daemon, &id, 1).await;
        table.push((place.clone(), project["status"].to_string()));
        if let Some(place) = deletes.pop() {
            daemon.arm(&place).await;
            assert_eq!(daemon.api.delete(&id).await.status, 202);
            daemon.killed_at(&place).await;
            daemon.revive().await;
            daemon.api.settled(&id, &["DELETED"], Duration::from_secs(60)).await;
            ends_are_told(&daemon, &id, 2).await;
            table.push((place, "DELETED".to_owned()));
        } else {
            daemon.api.gone(&id).await;
        }
        assert_eq!(daemon.objects(), Vec::<String>::new(), "{place} leaked (I1), project {number}");
    }
    daemon.finish();
    table
}

#[tokio::test]
async fn every_step_of_pause_resume_and_restart_survives_a_kill() {
    let mut daemon = Daemon::ready("kills-verbs", tiny()).await;
    let id = daemon.api.healthy(json!({"name": "killed on the way"})).await["id"].as_str().expect("an id").to_owned();
    let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    let mut resumes = all(OperationKind::Resume);
    let mut table = Vec::new();
    let mut killed = Vec::new();
    for place in all(OperationKind::Pause) {
        killed.push(("pause", place, "PAUSED"));
        killed.extend(resumes.pop().map(|place| ("resume", place, "ACTIVE_HEALTHY")));
    }
    for place in resumes {
        killed.push(("pause", String::new(), "PAUSED"));
        killed.push(("resume", place, "ACTIVE_HEALTHY"));
    }
    killed.extend(all(OperationKind::Restart).into_iter().map(|place| ("restart", place, "ACTIVE_HEALTHY")));
    for (verb, place, ends) in killed {
        if !place.is_empty() {
            daemon.arm(&place).await;
        }
        let answer = daemon.api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await;
        assert_eq!(answer.status, 202, "{verb} at {place}: {}", answer.body);
        if !place.is_empty() {
            daemon.killed_at(&place).await;
            daemon.revive().await;
            table.push((place.clone(), ends.to_owned()));
        }
        daemon.api.settled(&id, &[ends], Duration::from_secs(60)).await;
    }
    let now = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    assert_eq!(now, keys, "a verb changed a key (I8)");
    print_table("pause, resume and restart", &table);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn every_step_of_an_update_survives_a_kill_around_its_effect() {
    let templates = crate::update::templates();
    let options = tiny().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string());
    let mut daemon = Daemon::ready("kills-update", options).await;
    let id = daemon.api.healthy(json!({"name": "updated and killed"})).await["id"].as_str().expect("an id").to_owned();
    crate::update::write_row(&id);
    let mut places = Vec::new();
    for step in update_steps(&Waves { present: &WAVES, wanted: &WAVES, snapshot: true }) {
        places.extend([Position::AfterIntent, Position::AfterEffect].map(|at| format!("update.{}.{}", step.name, at.as_str())));
    }
    places.push("update.end.before_intent".to_owned());
    let mut table = Vec::new();
    for (number, place) in places.into_iter().enumerate() {
        let set = if number % 2 == 0 { "next" } else { "tiny" };
        daemon.arm(&place).await;
        crate::update::begin(&daemon.api, &id, &json!({ "image_set": set })).await;
        daemon.killed_at(&place).await;
        daemon.revive().await;
        let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
        assert_eq!((project["image_set"].as_str(), project["error"].is_null()), (Some(set), true), "{place}: {project:#}");
        assert_eq!(crate::update::row(&id), "precious", "{place}");
        table.push((place, "ACTIVE_HEALTHY".to_owned()));
    }
    print_table("update", &table);
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn every_undone_step_survives_a_kill_and_the_project_ends_failed() {
    // A probe that never succeeds makes the step `healthy` of `front` fail, so everything before it is undone.
    let fixtures = crate::world::scratch("undo-templates");
    crate::world::copy_folder(&root().join("tests/fixtures/tiny"), &fixtures);
    let set = fixtures.join("sets/tiny/set.toml");
    let text = std::fs::read_to_string(&set).expect("set.toml");
    let (head, tail) = text.split_at(text.find("name = \"front\"\nimage").expect("the service"));
    std::fs::write(&set, format!("{head}{}", tail.replace("[404]", "[200]"))).expect("written");
    let options =
        tiny().set("SUPAMANAGER_TEMPLATES_DIR", fixtures.display().to_string()).set("SUPAMANAGER_DEADLINES_HEALTHY_S", "2");
    let mut daemon = Daemon::ready("undo", options).await;
    let mut table = Vec::new();
    let reached = ["start.2", "start.1", "containers", "volumes", "network", "images", "render", "folder"];
    let places = places(OperationKind::Create, true);
    for place in places.iter().filter(|place| reached.iter().any(|step| place.contains(&format!(".{step}.")))) {
        daemon.arm(place).await;
        let created = daemon.api.create(json!({"name": place})).await;
        let id = created["id"].as_str().expect("an id").to_owned();
        daemon.killed_at(place).await;
        daemon.revive().await;
        let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
        assert_eq!(project["status"], "FAILED", "{place}");
        assert_eq!(
            (project["error"]["step"].as_str(), project["error"]["code"].as_str()),
            (Some("healthy"), Some("not_healthy")),
            "{place}"
        );
        assert_eq!(daemon.objects(), Vec::<String>::new(), "{place} leaked (I1)");
        assert!(!daemon.data.join("projects").join(&id).exists(), "{place} left the folder");
        table.push((place.clone(), "FAILED".to_owned()));
        daemon.api.gone(&id).await;
    }
    assert_eq!(table.len(), reached.len() * 3, "an undone step without a kill");
    print_table("unwinding", &table);
    daemon.finish();
    std::fs::remove_dir_all(fixtures).expect("the fixtures go");
}

/// Every watcher hears of each operation's end, also of one that the daemon did not survive.
async fn ends_are_told(daemon: &Daemon, id: &str, operations: usize) {
    let mut last = 0;
    for number in 1..=operations {
        let events = daemon.api.events_until_end(id, &last.to_string()).await;
        last = events.last().map(|(id, ..)| *id).unwrap_or_else(|| panic!("no end of operation {number}"));
    }
}

fn print_table(title: &str, table: &[(String, String)]) {
    println!("\n{title}: {} kills\n{:<44} ended", table.len(), "killed at");
    for (place, ended) in table {
        println!("{place:<44} {ended}");
    }
}

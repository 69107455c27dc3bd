//! The store has lost a project, as one does that was put back from an older copy: the project is listed and left alone
//! until somebody has it adopted or purged. And what Compose made in a project's folder gives way to ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::AnyPool;
use supamanager::domain::{OperationState, ProjectRef, ProjectStatus, ServiceName};
use supamanager::lifecycle::{LifecycleError, LostProject};
use supamanager_tests::fake::{Container, State};

use crate::listener::Trouble;
use crate::stand::{Ended, Life, Stand, installation};

/// Every table that knows of a project, those that others refer to last.
const TABLES: [&str; 15] = [
    "hook_outcomes",
    "plugin_memory",
    "observations",
    "usage_samples",
    "usage_series",
    "budgets",
    "purges",
    "notices",
    "events",
    "idempotency_keys",
    "secrets",
    "ports",
    "subnets",
    "operations",
    "projects",
];
const HOUR: Duration = Duration::from_secs(3600);

/// What a project is to whoever uses it, and what it is made of.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    name: String,
    ports: Vec<(String, u16)>,
    subnet: String,
    secrets: Vec<(String, String)>,
    containers: BTreeMap<String, String>,
    data: String,
}

/// The store forgets the project, as if it had been copied before the project was made.
fn forget(stand: &Stand, project: &ProjectRef) {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = AnyPool::connect(&stand.url()).await.unwrap();
        for table in ["steps", "operation_images"] {
            let sql = format!("DELETE FROM {table} WHERE operation_id IN (SELECT id FROM operations WHERE project_id = $1)");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project.as_str()).execute(&pool).await.unwrap();
        }
        for table in TABLES {
            let column = if table == "projects" { "id" } else { "project_id" };
            let sql = format!("DELETE FROM {table} WHERE {column} = $1");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project.as_str()).execute(&pool).await.unwrap();
        }
        pool.close().await;
    });
}

async fn healthy(life: &Life, name: &str) -> ProjectRef {
    let created = life.create(name).await.expect("a create");
    life.ended(created.operation.as_ref().expect("new")).await;
    let project = life.project(&created.project).await;
    assert_eq!(project.status, ProjectStatus::ActiveHealthy, "{:?}", project.last_error);
    // The folder is told of it a moment later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    created.project
}

async fn identity(stand: (&supamanager_tests::fake::FakeEngine, &Path), life: &Life, id: &ProjectRef) -> Identity {
    let (project, secrets) = (life.project(id).await, life.lifecycle.secrets(id).await.unwrap());
    Identity {
        name: project.name,
        ports: project.ports,
        subnet: project.subnet,
        secrets: secrets.iter().map(|(name, value)| (name.to_owned(), value.expose().clone())).collect(),
        containers: containers(stand.0, id).into_iter().map(|container| (container.name, container.id)).collect(),
        data: std::fs::read_to_string(stand.1.join("projects").join(id.as_str()).join("volumes/db/written-by-the-first-start"))
            .unwrap(),
    }
}

fn containers(engine: &supamanager_tests::fake::FakeEngine, id: &ProjectRef) -> Vec<Container> {
    let world = engine.look();
    let of = |container: &&Container| {
        container.is_of(&installation()) && container.labels.as_ref().is_some_and(|labels| labels.project == *id)
    };
    world.containers.values().filter(of).cloned().collect()
}

async fn the_lost_one(life: &Life) -> LostProject {
    let mut lost = life.lifecycle.lost_projects().await.expect("a listing");
    assert_eq!(lost.len(), 1, "{lost:?}");
    lost.remove(0)
}

#[test]
fn a_lost_project_is_left_alone_and_adopted_as_it_was() {
    // With limits and groups, which come back, too.
    let mut stand = Stand::new(1);
    let mut witness = stand.witness();
    let (engine, data) = (stand.engine.clone(), stand.data.clone());
    let (kept, lost, before) = stand.lived(async |life| {
        life.ready().await;
        let (kept, lost) = (healthy(&life, "kept").await, healthy(&life, "lost").await);
        assert!(life.lifecycle.lost_projects().await.unwrap().is_empty());
        assert!(life.lifecycle.lost_project(&lost).await.unwrap().is_none());
        let before = identity((&engine, &data), &life, &lost).await;
        (kept, lost, before)
    });
    forget(&stand, &lost);

    stand.lived(async |life| {
        life.ready().await;
        life.quiet(HOUR).await;
        let found = the_lost_one(&life).await;
        assert_eq!((&found.id, found.name.as_deref(), found.folder), (&lost, Some("lost"), true));
        assert_eq!((found.containers.len(), found.networks.len(), found.obstacles.as_slice()), (3, 1, &[][..]), "{found:?}");
        assert!(found.containers.iter().all(|container| container.state == "running" && container.service.is_some()));
        let adopted = life.lifecycle.adopt(&lost, "test").await.expect("adopted");
        assert_eq!(adopted.status, ProjectStatus::ActiveUnhealthy);
        life.settled(&lost, ProjectStatus::ActiveHealthy).await;
        assert_eq!(identity((&engine, &data), &life, &lost).await, before);
        assert!(life.lifecycle.lost_projects().await.unwrap().is_empty());
        let again = life.lifecycle.adopt(&lost, "test").await.expect_err("known");
        assert!(matches!(again, LifecycleError::State { status: "ACTIVE_HEALTHY", .. }), "{again}");
        // It is as whole as any other: its images are pinned, what goes missing is made again.
        let paused = life.lifecycle.pause(&life.project(&lost).await, "test").await.expect("accepted");
        life.ended(&paused).await;
        let resumed = life.lifecycle.resume(&life.project(&lost).await, "test").await.expect("accepted");
        life.ended(&resumed).await;
        assert_eq!(identity((&engine, &data), &life, &lost).await, before, "not one container was made anew");
        let gone = containers(&engine, &lost)[0].id.clone();
        engine.look().containers.remove(&gone);
        engine.tell();
        life.quiet(HOUR).await;
        assert_eq!((containers(&engine, &lost).len(), life.project(&lost).await.status), (3, ProjectStatus::ActiveHealthy));
        assert_eq!(life.project(&kept).await.status, ProjectStatus::ActiveHealthy);
        let wrong = crate::invariants::all_deleted(&engine, &data, &life, &mut witness).await;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn a_lost_project_that_does_not_run_is_paused_and_what_is_in_the_way_is_named() {
    let mut stand = Stand::new(2);
    let engine = stand.engine.clone();
    let lost = stand.lived(async |life| {
        life.ready().await;
        let lost = healthy(&life, "lost").await;
        let paused = life.lifecycle.pause(&life.project(&lost).await, "test").await.expect("accepted");
        life.ended(&paused).await;
        life.quiet(HOUR).await;
        lost
    });
    let folder = stand.data.join("projects").join(lost.as_str());
    forget(&stand, &lost);

    stand.lived(async |life| {
        life.ready().await;
        // Its ports look free while it does not run.
        let other = healthy(&life, "other").await;
        let named = the_lost_one(&life).await.obstacles;
        assert_eq!(named.len(), 2, "both ports: {named:?}");
        assert!(named.iter().all(|words| words.contains(other.as_str()) && words.contains("(other)")), "{named:?}");
        let refused = life.lifecycle.adopt(&lost, "test").await.expect_err("refused");
        assert!(matches!(&refused, LifecycleError::NotAdoptable(words) if *words == named), "{refused}");
        assert!(life.parts.store.project(&lost).await.unwrap().is_none());
        let deleted = life.lifecycle.delete(&life.project(&other).await, "test").await.expect("accepted");
        life.ended(&deleted).await;

        // What a person may have done to its folder.
        let with = async |file: &str, change: &dyn Fn(String) -> String, words: &str| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            std::fs::write(folder.join(file), change(text.clone())).unwrap();
            let named = the_lost_one(&life).await.obstacles.join("; ");
            assert!(named.contains(words), "{named}");
            std::fs::write(folder.join(file), text).unwrap();
        };
        let swap = |from: &'static str, to: &'static str| move |text: String| text.replace(from, to);
        with(".project.json", &|_| "{}".to_owned(), "cannot be read").await;
        with(".project.json", &swap("\"sim\"", "\"gone\""), "template set").await;
        with(".project.json", &swap("us-east", "nowhere"), "region `nowhere`").await;
        with(".project.json", &swap("sha256:sim/", "sha256:sum/"), "").await;
        with(".project.json", &swap("\"sim/db:1\"", "\"sim/db:9\""), "image").await;
        let owner_only = |text: String| {
            let mut told: serde_json::Value = serde_json::from_str(&text).unwrap();
            for (_, sealed) in told["secrets"].as_object_mut().unwrap() {
                sealed["key_id"] = "another".into();
            }
            told.to_string()
        };
        // The owner's is in no file in clear.
        with(".project.json", &owner_only, "OWNER_PASSWORD").await;
        with(".project.json", &owner_only, "sealed under key another").await;
        with("docker-compose.yml", &swap("sim/api:1", "sim/elsewhere:1"), "asks for what it may not have").await;
        with(".env", &|text: String| text.replace('=', "=x"), "in .env is not the value").await;
        std::fs::rename(folder.join(".project.json"), folder.join("kept")).unwrap();
        assert!(the_lost_one(&life).await.obstacles.join("; ").contains("has no .project.json"));
        std::fs::rename(folder.join("kept"), folder.join(".project.json")).unwrap();

        let descriptor = std::fs::read_to_string(folder.join(".project.json")).unwrap();
        std::fs::write(folder.join(".project.json"), descriptor.replace(installation().as_str(), &"7".repeat(32))).unwrap();
        let theirs = the_lost_one(&life).await;
        assert!(theirs.obstacles.join("; ").contains("another installation"), "{theirs:?}");
        let refused = life.lifecycle.purge(&theirs, "default", "test").await.expect_err("not ours");
        assert!(matches!(refused, LifecycleError::NotOurs(_)), "{refused}");
        std::fs::write(folder.join(".project.json"), descriptor).unwrap();
        std::fs::create_dir(folder.join(".previous")).unwrap();
        assert!(the_lost_one(&life).await.obstacles.join("; ").contains("an update was under way"));
        std::fs::remove_dir(folder.join(".previous")).unwrap();

        let adopted = life.lifecycle.adopt(&lost, "test").await.expect("adopted, with the ports that rest");
        assert_eq!(adopted.status, ProjectStatus::Paused);
        life.quiet(HOUR).await;
        assert_eq!(life.project(&lost).await.status, ProjectStatus::Paused, "nothing starts by itself");
        let resumed = life.lifecycle.resume(&life.project(&lost).await, "test").await.expect("accepted");
        life.ended(&resumed).await;
        assert_eq!(life.project(&lost).await.status, ProjectStatus::ActiveHealthy);
        assert!(containers(&engine, &lost).iter().all(|container| matches!(container.state, State::Running { .. })));
    });
}

#[test]
fn a_purge_removes_everything_though_killed_and_nothing_else() {
    for place in ["delete.containers.after_intent", "delete.volumes.after_effect", "delete.folder.before_intent"] {
        let mut stand = Stand::new(1);
        let witness = stand.witness();
        let (engine, data) = (stand.engine.clone(), stand.data.clone());
        let (kept, lost, before) = stand.lived(async |life| {
            life.ready().await;
            let (kept, lost) = (healthy(&life, "kept").await, healthy(&life, "lost").await);
            let before = identity((&engine, &data), &life, &kept).await;
            (kept, lost, before)
        });
        forget(&stand, &lost);
        // Nothing but labels and files tells of it.
        std::fs::remove_file(data.join("projects").join(lost.as_str()).join(".project.json")).unwrap();
        stand.script.plan(place, Trouble::Die, &engine);
        let ended = stand.live(async |life| {
            life.ready().await;
            let found = the_lost_one(&life).await;
            assert!(found.name.is_none() && !found.obstacles.is_empty(), "{found:?}");
            let operation = life.lifecycle.purge(&found, "default", "test").await.expect("accepted");
            let again = life.lifecycle.purge(&found, "default", "test").await.expect_err("known by now");
            assert!(matches!(again, LifecycleError::State { status: "DELETING", .. }), "{again}");
            life.ended(&operation).await;
        });
        assert_eq!(ended, Ended::Crashed, "{place}");
        stand.lived(async |life| {
            life.ready().await;
            life.settled(&lost, ProjectStatus::Deleted).await;
            let operations = life.parts.store.operations_of(&lost, 10).await.unwrap();
            assert_eq!((operations.len(), operations[0].state), (1, OperationState::Succeeded));
            assert!(life.lifecycle.lost_projects().await.unwrap().is_empty());
            let left = engine.look().labelled(&installation());
            assert!(!left.iter().any(|object| object.contains(lost.as_str())), "{left:?}");
            assert!(!data.join("projects").join(lost.as_str()).exists());
            assert_eq!(identity((&engine, &data), &life, &kept).await, before);
            let wrong = witness.look(&engine, &data, &life).await;
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        });
    }
}

#[test]
fn what_compose_made_in_the_folder_of_a_project_is_made_again_as_ours() {
    let mut stand = Stand::new(2);
    let (engine, data) = (stand.engine.clone(), stand.data.clone());
    stand.lived(async |life| {
        life.ready().await;
        let id = healthy(&life, "composed").await;
        let before = identity((&engine, &data), &life, &id).await;
        {
            // `docker compose up` recreates what has another config hash: all of them, under the same names.
            let mut world = engine.look();
            let names: Vec<String> = before.containers.values().cloned().collect();
            for (number, name) in names.iter().enumerate() {
                let ours = world.containers.remove(name).expect("ours");
                let service = ours.labels.as_ref().and_then(|labels| labels.service.clone()).expect("a service");
                let composed = Some((id.clone(), ServiceName::parse(service.as_str()).unwrap()));
                let made = Container { id: format!("compose {number}"), labels: None, composed, ..ours };
                world.containers.insert(made.id.clone(), made);
            }
        }
        engine.tell();
        life.quiet(HOUR).await;
        assert_eq!(life.project(&id).await.status, ProjectStatus::ActiveHealthy);
        let after = identity((&engine, &data), &life, &id).await;
        assert_eq!(after.containers.keys().collect::<Vec<_>>(), before.containers.keys().collect::<Vec<_>>());
        assert_eq!((after.data, after.secrets, after.ports), (before.data, before.secrets, before.ports));
        assert!(!engine.look().containers.values().any(|container| container.composed.is_some()));
    });
}

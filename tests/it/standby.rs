//! Two daemons on one store: one works, the other waits and takes over. On the folder's lock, and, with
//! `SUPAMANAGER_TEST_DATABASE_URL`, on the lease in PostgreSQL too.

use std::time::Duration;

use serde_json::json;

use crate::world::{Daemon, Options};

/// In the middle of a create: after an effect that was not recorded, and after a record.
const PLACES: [&str; 4] = [
    "create.network.after_effect",
    "create.containers.after_intent",
    "create.containers.after_effect",
    "create.start.1.after_record",
];

#[tokio::test]
async fn the_second_daemon_ends_what_the_first_was_killed_in_once() {
    let mut daemon = Daemon::ready("standby", Options::tiny()).await;
    for place in PLACES {
        daemon.arm(place).await;
        daemon.stand_by().await;
        let created = daemon.api.create(json!({"name": place})).await;
        let id = created["id"].as_str().expect("an id").to_owned();
        daemon.killed_at(place).await;
        daemon.taken_over().await;
        let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
        assert_eq!(project["status"], "ACTIVE_HEALTHY", "{place}: {:#}", project["error"]);
        let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
        assert_eq!(keys["api_keys"], created["api_keys"], "{place}: the second daemon changed a key");
        once(&daemon, &id, place).await;
        daemon.api.gone(&id).await;
        assert_eq!(daemon.objects(), Vec::<String>::new(), "{place} leaked");
    }
    daemon.finish();
}

/// One operation, each of its steps once and succeeded, one end; one container per service.
async fn once(daemon: &Daemon, id: &str, place: &str) {
    let operations = daemon.api.get(&format!("/platform/projects/{id}/operations")).await.body;
    let operations = operations["operations"].as_array().expect("a list");
    assert_eq!(operations.len(), 1, "{place}: {operations:#?}");
    let steps = operations[0]["steps"].as_array().expect("steps");
    let mut names: Vec<_> = steps.iter().map(|step| step["name"].as_str().expect("a name")).collect();
    assert!(steps.iter().all(|step| step["state"] == "succeeded"), "{place}: {steps:#?}");
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "{place}: a step is recorded twice");
    daemon.api.events_until_end(id, "0").await;
    let containers = daemon.objects().into_iter().filter(|object| object.starts_with("container ")).count();
    assert_eq!(containers, 2, "{place}: {:?}", daemon.objects());
}

#[tokio::test]
async fn a_standby_takes_over_from_a_daemon_that_was_stopped() {
    let mut daemon = Daemon::ready("standby-stop", Options::tiny()).await;
    daemon.stand_by().await;
    let id = daemon.api.healthy(json!({"name": "handed on"})).await["id"].as_str().expect("an id").to_owned();
    daemon.stop();
    daemon.taken_over().await;
    assert_eq!(daemon.api.project(&id).await["status"], "ACTIVE_HEALTHY");
    daemon.api.gone(&id).await;
    daemon.finish();
}

/// The lease goes with its connection, whatever the folder's lock says.
mod postgres {
    use std::process::Stdio;

    use serde_json::json;
    use sqlx::{AnyPool, Row};

    use crate::world::{Daemon, Options, scratch};

    #[tokio::test]
    async fn a_daemon_whose_lease_is_cut_ends_and_the_standby_goes_on() {
        let mut daemon = Daemon::ready("lease-cut", Options::tiny().expecting("the store")).await;
        daemon.stand_by().await;
        let id = daemon.api.healthy(json!({"name": "cut off"})).await["id"].as_str().expect("an id").to_owned();
        refused_from_another_folder(&daemon);
        let url = daemon.database_url().expect("SUPAMANAGER_TEST_DATABASE_URL is not set").to_owned();
        let raw = AnyPool::connect(&url).await.expect("connected");
        let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database \
                   WHERE locktype = 'advisory' AND granted AND datname = current_database()";
        let cut: i64 = sqlx::query(cut).fetch_one(&raw).await.expect("cut").get(0);
        assert_eq!(cut, 1, "one connection holds the lease");
        raw.close().await;
        assert!(!daemon.ended().await, "it must say that it was cut off");
        assert!(daemon.log().contains("lease broke"), "{}", daemon.log());
        daemon.taken_over().await;
        assert_eq!(daemon.api.project(&id).await["status"], "ACTIVE_HEALTHY");
        daemon.api.gone(&id).await;
        daemon.finish();
    }

    /// Another folder has another lock: there the store itself says no.
    fn refused_from_another_folder(daemon: &Daemon) {
        let folder = scratch("standby-other");
        let mut command = daemon.binary();
        command.env("SUPAMANAGER_DATA_DIR", &folder).arg("serve").stdin(Stdio::null());
        let output = command.output().expect("the binary");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("another daemon works on this store"), "{said}");
        std::fs::remove_dir_all(folder).expect("the folder goes");
    }
}

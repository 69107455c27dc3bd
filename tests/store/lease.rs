//! One daemon acts on a store (I13): the epoch, on either database.

use std::time::Duration;

use supamanager::domain::{OperationKind, OperationState, ProjectStatus};
use supamanager::store::{EventKind, Lease, Occupied, Store, StoreError};
use supamanager_tests::databases::TestDatabase;

use crate::world::{found, operation, operation_id, project, project_ref, standing};

/// On SQLite the folder's lock keeps a second one out before it comes here; without it, as here, nothing does.
async fn daemon(url: &str) -> (Store, Lease) {
    Store::open_leased(url, Occupied::Fail, 1).await.expect("the lease")
}

#[tokio::test]
async fn each_daemon_raises_the_epoch_and_a_command_does_not() {
    let database = TestDatabase::chosen();
    for expected in 1..4 {
        let (store, lease) = daemon(&database.url).await;
        assert_eq!(lease.epoch(), expected);
        let command = Store::open(&database.url).await.expect("beside it");
        if expected == 1 {
            found(&command).await;
        }
        store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect_err("no such project");
        store.set_operation_state(&operation_id(0), OperationState::Running).await.expect_err("no such operation");
        drop(lease);
        store.close().await;
        freed(&database.url).await;
    }
}

/// PostgreSQL frees the lock when it has seen the end of the connection: soon, not at once.
async fn freed(url: &str) {
    if !url.starts_with("postgres") {
        return;
    }
    let raw = sqlx::AnyPool::connect(url).await.expect("connected");
    let held = "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database \
                WHERE locktype = 'advisory' AND datname = current_database()";
    while sqlx::query(held).fetch_optional(&raw).await.expect("asked").is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    raw.close().await;
}

#[tokio::test]
async fn a_daemon_that_was_replaced_writes_nothing_and_is_told() {
    let database = TestDatabase::chosen();
    let (stale, mut lease) = daemon(&database.url).await;
    found(&stale).await;
    stale.accept_create(&project(0), &operation(0, 0, OperationKind::Create), 2).await.expect("it acts");
    let before = stale.operation(&operation_id(0)).await.expect("read").expect("an operation");
    // What the next one does when it takes the lease; the lock of this one's connection is not what is tried here.
    let raw = sqlx::AnyPool::connect(&database.url).await.expect("connected");
    sqlx::query("UPDATE lease SET epoch = epoch + 1").execute(&raw).await.expect("raised");
    let id = project_ref(0);
    let late = [
        stale.append_event(&id, EventKind::Step, "{}", 3).await.map(drop),
        stale.step_started(&operation_id(0), "folder", 3).await,
        stale.step_ended(&operation_id(0), "folder", supamanager::domain::StepState::Succeeded, None, 3).await,
        stale.operation_begins(&operation_id(0), 3).await,
        stale.accept_create(&project(1), &operation(1, 1, OperationKind::Create), 3).await.map(drop),
        stale.end_operation(&before, OperationState::Succeeded, ProjectStatus::ActiveHealthy, None, &[], 3).await,
        stale.set_active_status(&id, &standing(ProjectStatus::ActiveUnhealthy), 3).await.map(drop),
    ];
    for (number, late) in late.into_iter().enumerate() {
        assert!(matches!(late, Err(StoreError::LeaseLost)), "write {number} of a replaced daemon: {late:?}");
    }
    let reason = tokio::time::timeout(Duration::from_secs(5), lease.lost()).await.expect("it is told");
    assert!(reason.contains("taken"), "{reason}");
    let now = stale.project(&id).await.expect("it may read").expect("a project");
    assert_eq!(now.status, ProjectStatus::Creating);
    assert!(stale.events_after(&id, 0).await.expect("read").is_empty());
    let unchanged = stale.operation(&operation_id(0)).await.expect("read").expect("an operation");
    assert_eq!((unchanged.state, unchanged.steps.len()), (before.state, 0));
    raw.close().await;
}

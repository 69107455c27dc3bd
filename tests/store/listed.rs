//! What a daemon lists is what is there: it keeps the list in memory, and each write must make that stale.

use std::time::Duration;

use supamanager::domain::{Bytes, OperationKind, OperationState, Project, ProjectStatus, Resources};
use supamanager::store::{Again, EventKind, Lease, ListFilter, Occupied, Store};
use supamanager_tests::databases::TestDatabase;

use crate::world::{found, operation, operation_id, project, project_ref, standing};

/// A store of a daemon at work, with projects 0 and 1 in creation.
async fn at_work() -> (Store, Lease, TestDatabase) {
    let database = TestDatabase::chosen();
    let (store, lease) = Store::open_leased(&database.url, Occupied::Fail, 1).await.expect("the lease");
    found(&store).await;
    for number in 0..2 {
        let new = operation(u64::from(number), number, OperationKind::Create);
        store.accept_create(&project(number), &new, 2).await.expect("accepted");
    }
    (store, lease, database)
}

async fn all(store: &Store) -> Vec<Project> {
    store.all_projects(ListFilter::default()).await.expect("listed")
}

/// The list says of every project what the project's own row says; asked often enough to be kept.
async fn listed_as_it_is(store: &Store, after: &str) {
    for _ in 0..3 {
        let listed = all(store).await;
        for number in 0..2 {
            let id = project_ref(number);
            let there = store.project(&id).await.expect("read").filter(|project| project.status != ProjectStatus::Deleted);
            let said = listed.iter().find(|project| project.id == id);
            assert_eq!(format!("{said:?}"), format!("{:?}", there.as_ref()), "after {after}");
        }
        let filter = ListFilter { limit: 1, ..ListFilter::default() };
        let page = store.projects(&filter).await.expect("a page");
        assert_eq!(format!("{:?}", page.projects), format!("{:?}", &listed[..1]), "after {after}");
        assert_eq!(page.next_cursor.is_some(), listed.len() > 1);
    }
}

async fn end(store: &Store, number: u64, status: ProjectStatus) {
    let ending = store.operation(&operation_id(number)).await.expect("read").expect("an operation");
    store.end_operation(&ending, OperationState::Succeeded, status, None, &[], 5).await.expect("ended");
}

#[tokio::test]
async fn each_write_shows_in_the_next_list() {
    let (store, _lease, _database) = at_work().await;
    let id = project_ref(0);
    listed_as_it_is(&store, "two creates").await;
    let (operation_0, steps) = (operation_id(0), ["folder".to_owned()]);
    let again = Again { operation: &operation_0, steps: &steps };
    store.operation_begins(&operation_0, 99).await.expect("it begins");
    store.step_started(&operation_0, "folder", 10).await.expect("started");
    store.replace_port(&id, "api", 20_100, &again, 13).await.expect("replaced");
    listed_as_it_is(&store, "another port").await;
    store.replace_subnet(&id, "10.0.9.0/27", &again, 14).await.expect("replaced");
    listed_as_it_is(&store, "another subnet").await;
    end(&store, 0, ProjectStatus::ActiveHealthy).await;
    listed_as_it_is(&store, "its end").await;
    store.set_active_status(&id, &standing(ProjectStatus::ActiveUnhealthy), 61).await.expect("written");
    listed_as_it_is(&store, "another status").await;
    let resources = Resources { storage: Some(Bytes::new(1)), ..Resources::default() };
    store.set_resources(&id, &resources, 62).await.expect("written");
    listed_as_it_is(&store, "other resources").await;
    let now = store.project(&id).await.expect("read").expect("a project");
    store.describe(&now, Some("another"), None, 63).await.expect("written");
    listed_as_it_is(&store, "another name").await;
    let restart = operation(9, 0, OperationKind::Restart);
    store.accept_operation(&restart, &[ProjectStatus::ActiveUnhealthy], 64).await.expect("accepted");
    listed_as_it_is(&store, "an operation").await;
    end(&store, 9, ProjectStatus::ActiveHealthy).await;
    store
        .accept_operation(&operation(10, 0, OperationKind::Delete), &[ProjectStatus::ActiveHealthy], 65)
        .await
        .expect("accepted");
    end(&store, 10, ProjectStatus::Deleted).await;
    listed_as_it_is(&store, "its deletion").await;
    assert_eq!(all(&store).await.len(), 1);
}

#[tokio::test]
async fn a_write_that_is_refused_or_given_up_leaves_the_list_true() {
    let (store, _lease, _database) = at_work().await;
    listed_as_it_is(&store, "two creates").await;
    store.accept_create(&project(1), &operation(3, 1, OperationKind::Create), 3).await.expect_err("it is there");
    listed_as_it_is(&store, "a refusal").await;
    // Given up a little later each time, so that it is left in every state that it has.
    for micros in (0..4_000).step_by(100) {
        let resources = Resources { storage: Some(Bytes::new(micros + 1)), ..Resources::default() };
        let id = project_ref(0);
        let write = store.set_resources(&id, &resources, 4);
        let _ended_or_not = tokio::time::timeout(Duration::from_micros(micros), write).await;
        // What is on its way to the database is done there whether somebody waits for it or not.
        while store.in_use() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        listed_as_it_is(&store, "a write that was given up").await;
    }
}

#[tokio::test]
async fn whoever_was_replaced_reads_what_the_other_wrote() {
    let (store, _lease, database) = at_work().await;
    listed_as_it_is(&store, "two creates").await;
    let raw = sqlx::AnyPool::connect(&database.url).await.expect("connected");
    for statement in ["UPDATE lease SET epoch = epoch + 1", "UPDATE projects SET name = 'another'"] {
        sqlx::query(statement).execute(&raw).await.expect("written");
    }
    store.append_event(&project_ref(0), EventKind::Step, "{}", 3).await.expect_err("it was replaced");
    assert!(all(&store).await.iter().all(|project| project.name == "another"));
    raw.close().await;
}

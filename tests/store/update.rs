//! What an update reserves, decides and leaves, on either database.

use std::collections::BTreeMap;

use supamanager::domain::{
    OperationKind, OperationState, POINT_OF_NO_RETURN, Project, ProjectStatus, ServiceName, Shape, StepState, Update,
};
use supamanager::store::{Additions, Clash, NewOperation, Store, StoreError};
use supamanager_tests::databases::TestDatabase;

use crate::world::{creating, operation, operation_id, project_ref};

fn update_to(images: &str) -> Update {
    let off = vec![ServiceName::parse("front").expect("a name")];
    let shape = Shape {
        template_set: "other".to_owned(),
        image_set: images.to_owned(),
        without: off.clone(),
        plugins: Default::default(),
    };
    Update { shape, replaced: off, snapshot: true, images: BTreeMap::from([("a:1".to_owned(), "sha256:a".to_owned())]) }
}

fn wanted(number: u64) -> NewOperation {
    NewOperation { generation: 2, update: Some(update_to("next")), ..operation(number, 0, OperationKind::Update) }
}

async fn active() -> (Store, TestDatabase) {
    let (store, database) = creating().await;
    end(&store, 0, OperationState::Succeeded, ProjectStatus::ActiveHealthy).await;
    (store, database)
}

async fn end(store: &Store, number: u64, state: OperationState, status: ProjectStatus) {
    let ending = store.operation(&operation_id(number)).await.expect("read").expect("an operation");
    store.end_operation(&ending, state, status, None, &[], 5).await.expect("ended");
}

async fn project(store: &Store) -> Project {
    store.project(&project_ref(0)).await.expect("read").expect("a project")
}

const ALLOWED: &[ProjectStatus] = &[ProjectStatus::ActiveHealthy];

#[tokio::test]
async fn an_update_reserves_with_its_acceptance_and_changes_what_it_is_made_from_only_when_it_succeeds() {
    let (store, _database) = active().await;
    let adds = Additions {
        ports: vec![("more".to_owned(), 30_000)],
        secrets: vec![("new".to_owned(), vec![0, 7])],
        key_id: "key".to_owned(),
        name: Some("renamed".to_owned()),
    };
    store.accept_update(&wanted(1), &adds, ALLOWED, 6).await.expect("accepted");
    let now = project(&store).await;
    assert_eq!((now.status, now.generation, now.name.as_str()), (ProjectStatus::Updating, 2, "renamed"));
    assert_eq!((now.port("more"), now.image_set.as_str(), now.without.len()), (Some(30_000), "images", 0));
    assert_eq!(store.sealed_secrets(&project_ref(0)).await.expect("read").len(), 3);
    let read = store.operation(&operation_id(1)).await.expect("read").expect("an operation");
    assert_eq!(read.update, Some(update_to("next")));
    end(&store, 1, OperationState::Failed, ProjectStatus::ActiveUnhealthy).await;
    assert_eq!(project(&store).await.shape().image_set, "images");
    let again = NewOperation { generation: 3, ..wanted(2) };
    store.accept_update(&again, &Additions::default(), &[ProjectStatus::ActiveUnhealthy], 7).await.expect("accepted");
    end(&store, 2, OperationState::Succeeded, ProjectStatus::ActiveHealthy).await;
    assert_eq!(project(&store).await.shape(), update_to("next").shape);
    store.close().await;
}

#[tokio::test]
async fn an_update_of_another_generation_or_with_a_port_that_is_taken_leaves_nothing() {
    let (store, _database) = active().await;
    let stale = NewOperation { generation: 5, ..wanted(1) };
    let refused = store.accept_update(&stale, &Additions::default(), ALLOWED, 6).await.expect_err("refused");
    assert!(matches!(refused, StoreError::Transition(_)), "{refused}");
    let taken = Additions { ports: vec![("more".to_owned(), 20_000)], ..Additions::default() };
    let refused = store.accept_update(&wanted(1), &taken, ALLOWED, 6).await.expect_err("refused");
    assert!(matches!(refused, StoreError::Clash(Clash::Port)), "{refused}");
    let now = project(&store).await;
    assert_eq!((now.status, now.generation, now.ports.len()), (ProjectStatus::ActiveHealthy, 1, 2));
    store.close().await;
}

#[tokio::test]
async fn past_its_last_step_an_update_is_not_cancelled_and_before_it_a_cancel_keeps_that_step_from_beginning() {
    let (store, _database) = active().await;
    store.accept_update(&wanted(1), &Additions::default(), ALLOWED, 6).await.expect("accepted");
    store.operation_begins(&operation_id(1), 1_000).await.expect("begun");
    store.step_started(&operation_id(1), "healthy", 7).await.expect("started");
    store.step_ended(&operation_id(1), "healthy", StepState::Succeeded, None, 8).await.expect("ended");
    store.cancel_operation(&project_ref(0), "why").await.expect("cancelled");
    let late = store.step_started(&operation_id(1), POINT_OF_NO_RETURN, 9).await.expect_err("it goes back");
    assert!(matches!(late, StoreError::Transition(_)), "{late}");
    end(&store, 1, OperationState::Failed, ProjectStatus::ActiveHealthy).await;
    store
        .accept_update(&NewOperation { generation: 3, ..wanted(2) }, &Additions::default(), ALLOWED, 10)
        .await
        .expect("accepted");
    store.operation_begins(&operation_id(2), 1_000).await.expect("begun");
    store.step_started(&operation_id(2), POINT_OF_NO_RETURN, 11).await.expect("started");
    let refused = store.cancel_operation(&project_ref(0), "why").await.expect_err("too late");
    assert!(matches!(refused, StoreError::Transition(_)), "{refused}");
    store.close().await;
}

#[tokio::test]
async fn what_needs_no_operation_is_written_down_unless_the_project_has_moved_on() {
    let (store, _database) = active().await;
    let before = project(&store).await;
    store.describe(&before, Some("another"), None, 6).await.expect("written");
    let shape = update_to("next").shape;
    store.describe(&before, None, Some(&shape), 7).await.expect("written");
    let now = project(&store).await;
    assert_eq!((now.name.as_str(), now.shape(), now.generation), ("another", shape.clone(), 1));
    store.accept_update(&wanted(1), &Additions::default(), ALLOWED, 8).await.expect("accepted");
    let refused = store.describe(&now, None, Some(&before.shape()), 9).await.expect_err("it is being updated");
    assert!(matches!(refused, StoreError::Transition(_)), "{refused}");
    store.describe(&now, Some("third"), None, 10).await.expect("a name may always change");
    assert_eq!(project(&store).await.shape(), shape);
    store.close().await;
}

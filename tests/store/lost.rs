//! A project that the store has lost: taken back as a whole or not at all, or written down as being deleted.

use supamanager::domain::{OperationKind, OperationState, Project, ProjectStatus};
use supamanager::store::{Adoption, Clash, Holder, ImagePin, Store, StoreError};

use crate::world::{creating, operation, operation_id, project, project_ref};

/// Project 0 of [`project`] as its folder would tell of it, under another number.
fn adoption(number: u16) -> Adoption {
    let told = project(number);
    let mut rendered_by = operation(u64::from(number) + 100, number, OperationKind::Create);
    rendered_by.generation = 3;
    Adoption {
        project: Project {
            id: told.id,
            name: told.name,
            organization_id: told.organization_id,
            region: told.region,
            status: ProjectStatus::ActiveUnhealthy,
            generation: 3,
            template_set: told.template_set,
            image_set: told.image_set,
            without: told.without,
            plugins: told.plugins,
            subnet: told.subnet,
            ports: told.ports,
            resources: told.resources,
            last_error: None,
            stack_operation: Some(rendered_by.id.clone()),
            created_at: 5,
            updated_at: 9,
            number: 0,
            activated_at: Some(6),
            deleted_at: None,
        },
        secrets: told.secrets,
        key_id: "key".to_owned(),
        operation: rendered_by,
        images: vec![ImagePin { service: "db".to_owned(), reference: "r".to_owned(), digest: "d".to_owned() }],
        event: "{}".to_owned(),
    }
}

async fn refused(store: &Store, adoption: &Adoption) -> Clash {
    match store.adopt(adoption, 9).await.expect_err("refused") {
        StoreError::Clash(clash) => clash,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_lost_project_is_taken_back_as_a_whole_or_not_at_all() {
    let (store, _database) = creating().await;
    let mut known = adoption(1);
    known.project.id = project_ref(0);
    let mut port = adoption(1);
    port.project.ports[1].1 = 20_001;
    let mut subnet = adoption(1);
    subnet.project.subnet = "10.0.0.0/27".to_owned();
    for (adoption, wanted) in [(known, Clash::ProjectId), (port, Clash::Port), (subnet, Clash::Subnet)] {
        assert_eq!(refused(&store, &adoption).await, wanted);
    }
    assert!(store.project(&project_ref(1)).await.expect("read").is_none(), "a refused adoption left a row");
    let held = store.holders("here", &[20_001, 20_003], "10.0.0.0/27").await.expect("read");
    let by = |what: &str| Holder { what: what.to_owned(), project: project_ref(0), name: "project 0".to_owned() };
    assert_eq!(held, [by("port 20001"), by("subnet 10.0.0.0/27")]);

    store.adopt(&adoption(1), 9).await.expect("adopted");
    let stored = store.project(&project_ref(1)).await.expect("read").expect("a project");
    assert_eq!((stored.status, stored.generation, stored.ports), (ProjectStatus::ActiveUnhealthy, 3, project(1).ports));
    assert_eq!((stored.created_at, stored.activated_at, stored.subnet), (5, Some(6), project(1).subnet));
    let rendered_by = stored.stack_operation.expect("an operation");
    assert_eq!(store.image_pins(&rendered_by).await.expect("read"), adoption(1).images);
    let ended = store.operation(&rendered_by).await.expect("read").expect("an operation");
    assert_eq!((ended.state, ended.ended_at, ended.generation), (OperationState::Succeeded, Some(9), 3));
    assert_eq!(store.sealed_secrets(&project_ref(1)).await.expect("read").len(), 2);
    assert_eq!(store.events_after(&project_ref(1), 0).await.expect("read").len(), 1);
    let (unfinished, taken) = (store.unfinished_operations().await, store.taken("here", 0).await);
    assert_eq!((unfinished.expect("read").len(), taken.expect("read").ports.len()), (1, 4), "only the create goes on");
    assert_eq!(refused(&store, &adoption(1)).await, Clash::ProjectId);
}

#[tokio::test]
async fn ports_that_rest_go_back_to_the_project_that_never_let_them_go() {
    let (store, _database) = creating().await;
    // Another project had them meanwhile, and was deleted.
    let mut between = project(2);
    (between.ports, between.subnet) = (project(1).ports, project(1).subnet);
    let created = operation(2, 2, OperationKind::Delete);
    store.accept_create(&between, &created, 3).await.expect("accepted");
    store.operation_begins(&operation_id(2), 1_000).await.expect("begun");
    let under_way = store.operation(&operation_id(2)).await.expect("read").expect("an operation");
    let (state, status) = (OperationState::Succeeded, ProjectStatus::Deleted);
    store.end_operation(&under_way, state, status, None, &[], 4).await.expect("ended");
    assert_eq!(store.taken("here", 0).await.expect("read").ports.len(), 4, "they rest");
    store.adopt(&adoption(1), 9).await.expect("adopted");
    assert_eq!(store.taken("here", i64::MAX).await.expect("read").ports.len(), 4, "they are held again");
}

#[tokio::test]
async fn a_purge_is_a_row_that_is_being_deleted_and_its_operation() {
    let (store, _database) = creating().await;
    let mut lost = adoption(1).project;
    (lost.status, lost.ports, lost.subnet) = (ProjectStatus::Deleting, Vec::new(), String::new());
    lost.stack_operation = None;
    let delete = operation(7, 1, OperationKind::Delete);
    store.accept_purge(&lost, &delete, 9).await.expect("accepted");
    let stored = store.project(&project_ref(1)).await.expect("read").expect("a project");
    assert_eq!((stored.status, stored.subnet.as_str(), stored.ports.len()), (ProjectStatus::Deleting, "", 0));
    let unfinished = store.unfinished_operations().await.expect("read");
    assert!(unfinished.contains(&(operation_id(7), project_ref(1))), "{unfinished:?}");
    let again = store.accept_purge(&lost, &operation(8, 1, OperationKind::Delete), 9).await.expect_err("refused");
    assert!(matches!(again, StoreError::Clash(Clash::ProjectId)), "{again}");
    lost.id = project_ref(0);
    let known = store.accept_purge(&lost, &operation(9, 0, OperationKind::Delete), 9).await.expect_err("refused");
    assert!(matches!(known, StoreError::Clash(Clash::ProjectId)), "{known}");
    assert!(store.operation(&operation_id(9)).await.expect("read").is_none(), "a refused purge left its operation");
}

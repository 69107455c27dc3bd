//! What the store promises, on either database.

use std::collections::BTreeSet;

use sqlx::AnyPool;
use supamanager::domain::{LastError, OperationKind, OperationState, ProjectStatus, ServiceName, ServiceState, StepState};
use supamanager::store::{Accepted, Again, Clash, EventKind, ImagePin, ListFilter, Observation, Store, StoreError};

use crate::world::{clash, creating, founded, operation, operation_id, project, project_ref, standing};

#[tokio::test]
async fn a_create_is_accepted_as_a_whole_or_not_at_all() {
    let (store, _database) = creating().await;
    let stored = store.project(&project_ref(0)).await.expect("read").expect("a project");
    assert_eq!((stored.name.as_str(), stored.status), ("project 0", ProjectStatus::Creating));
    assert_eq!(stored.ports, [("api".to_owned(), 20_000), ("db".to_owned(), 20_001)]);
    assert_eq!((stored.subnet.as_str(), stored.created_at, stored.activated_at), ("10.0.0.0/27", 2, None));
    let secrets = store.sealed_secrets(&project_ref(0)).await.expect("read");
    assert_eq!(secrets[1], ("jwt".to_owned(), "key".to_owned(), vec![0, 1, 0xff, 0]));
    assert_eq!(secrets[0].2, Vec::<u8>::new());

    let mut port = project(1);
    port.ports[1].1 = 20_000;
    let mut subnet = project(1);
    subnet.subnet = "10.0.0.0/27".to_owned();
    let mut id = project(1);
    id.id = project_ref(0);
    for (new, expected) in [(port, Clash::Port), (subnet, Clash::Subnet), (id, Clash::ProjectId)] {
        let mut asked = operation(1, 1, OperationKind::Create);
        asked.project = new.id.clone();
        let refused = store.accept_create(&new, &asked, 3).await.expect_err("refused");
        assert_eq!(clash(&refused), Some(expected));
    }
    assert!(store.project(&project_ref(1)).await.expect("read").is_none());
    assert_eq!(store.taken("here", 0).await.expect("read").ports.len(), 2, "a refused create left a port");
    assert!(store.operation(&operation_id(1)).await.expect("read").is_none());
}

/// The store itself never sends most of these: two that race would.
#[tokio::test]
async fn one_function_maps_the_constraints_as_they_come() {
    let (_store, database) = creating().await;
    let raw = AnyPool::connect(&database.url).await.expect("connected");
    let twice = [
        ("INSERT INTO ports (engine_id, port, name) VALUES ('local', 20000, 'x')", Clash::Port),
        ("INSERT INTO subnets (engine_id, subnet) VALUES ('local', '10.0.0.0/27')", Clash::Subnet),
        (
            "INSERT INTO operations (id, project_id, kind, state, generation, plugins, created_at, deadline_at) \
             SELECT 'op', project_id, kind, state, generation, plugins, created_at, deadline_at FROM operations",
            Clash::UnfinishedOperation,
        ),
        (
            "INSERT INTO projects (id, name, organization_id, region, status, generation, template_set, image_set, \
             next_event, created_at, updated_at) SELECT id, name, organization_id, region, status, generation, \
             template_set, image_set, next_event, created_at, updated_at FROM projects",
            Clash::ProjectId,
        ),
        (
            "INSERT INTO idempotency_keys (caller, key_hash, body_hash, project_id, created_at) \
             SELECT 'token', 'k', 'b', id, 1 FROM projects UNION ALL SELECT 'token', 'k', 'c', id, 1 FROM projects",
            Clash::IdempotencyKey,
        ),
        (
            "INSERT INTO tokens (id, name, hash, organization_id, created_at) VALUES ('other', 'x', 'hash', 'default', 1)",
            Clash::Other,
        ),
    ];
    for (statement, expected) in twice {
        let refused = sqlx::query(statement).execute(&raw).await.expect_err(statement);
        assert_eq!(clash(&StoreError::from(refused)), Some(expected), "{statement}");
    }
    let nobody = "INSERT INTO secrets (project_id, name, key_id, sealed) SELECT 'nobody', name, key_id, sealed FROM secrets";
    let refused = StoreError::from(sqlx::query(nobody).execute(&raw).await.expect_err("a foreign key"));
    assert!(matches!(refused, StoreError::Database(_)), "{refused}");
    raw.close().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_one_project() {
    let (store, database) = founded().await;
    let beside = Store::open(&database.url).await.expect("a second one");
    let creates = (0..8_u16).map(|number| {
        let store = if number % 2 == 0 { store.clone() } else { beside.clone() };
        tokio::spawn(async move {
            let mut new = project(number);
            new.idempotency = Some(("key".to_owned(), "body".to_owned()));
            let asked = operation(u64::from(number), number, OperationKind::Create);
            store.accept_create(&new, &asked, 1).await.expect("answered")
        })
    });
    let mut answers = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        answers.push(create.await.expect("no panic"));
    }
    let listed = store.projects(&ListFilter { limit: 100, ..ListFilter::default() }).await.expect("read").projects;
    assert_eq!(listed.len(), 1, "{answers:?}");
    let before = Accepted::Before(listed[0].id.clone());
    assert_eq!(answers.iter().filter(|answer| **answer == Accepted::New).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == before).count(), 7, "{answers:?}");
    let other = store.idempotent_create("token", "key", "other").await.expect("read");
    assert_eq!(other, Accepted::OtherBody);
}

#[tokio::test]
async fn of_many_operations_at_once_one_is_accepted() {
    let (store, database) = creating().await;
    end(&store, 0, ProjectStatus::ActiveHealthy).await;
    let beside = Store::open(&database.url).await.expect("a second one");
    let asked = (1..17_u64).map(|number| {
        let store = if number % 2 == 0 { store.clone() } else { beside.clone() };
        tokio::spawn(async move {
            let asked = operation(number, 0, OperationKind::Pause);
            store.accept_operation(&asked, &[ProjectStatus::ActiveHealthy], 5).await
        })
    });
    let mut accepted = 0;
    for answer in asked.collect::<Vec<_>>() {
        match answer.await.expect("no panic") {
            Ok(()) => accepted += 1,
            Err(StoreError::Transition(status)) => assert_eq!(status, "PAUSING", "it read what was changed under it"),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(accepted, 1);
    let again = store.accept_operation(&operation(20, 0, OperationKind::Pause), &[ProjectStatus::Pausing], 6).await;
    assert_eq!(clash(&again.expect_err("one runs")), Some(Clash::UnfinishedOperation));
    assert_eq!(store.unfinished_operations().await.expect("read").len(), 1);
}

#[tokio::test]
async fn event_ids_rise_without_a_gap_under_writers_side_by_side() {
    let (store, database) = creating().await;
    let beside = Store::open(&database.url).await.expect("a second one");
    let writers = [store.clone(), beside].map(|store| {
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..40 {
                ids.push(store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect("appended"));
            }
            ids
        })
    });
    let mut ids = BTreeSet::new();
    for writer in writers {
        ids.extend(writer.await.expect("no panic"));
    }
    assert_eq!(ids, (1..=80).collect());
    let after = store.events_after(&project_ref(0), 70).await.expect("read");
    assert_eq!(after.iter().map(|event| event.id).collect::<Vec<_>>(), (71..=80).collect::<Vec<_>>());
}

#[tokio::test]
async fn steps_are_recorded_in_order_and_never_overlap() {
    let (store, _database) = creating().await;
    let id = operation_id(0);
    store.operation_begins(&id, 99).await.expect("it begins");
    assert!(matches!(store.operation_begins(&id, 99).await, Err(StoreError::Transition(_))));
    store.step_started(&id, "folder", 10).await.expect("started");
    store.step_started(&id, "folder", 11).await.expect("the same again");
    assert!(matches!(store.step_started(&id, "images", 12).await, Err(StoreError::Transition(_))));
    // A service may write anything into its last words.
    store.step_waits(&id, "folder", "it said \0 and more").await.expect("kept");
    store.step_ended(&id, "folder", StepState::Succeeded, None, 13).await.expect("ended");
    assert!(matches!(store.step_ended(&id, "images", StepState::Failed, None, 14).await, Err(StoreError::Transition(_))));
    store.step_started(&id, "images", 15).await.expect("started");
    store.step_ended(&id, "images", StepState::Failed, Some("no \0 image"), 16).await.expect("ended");
    let pin = ImagePin { service: "db".to_owned(), reference: "db:1".to_owned(), digest: "sha256:2".to_owned() };
    store.pin_images(&id, std::slice::from_ref(&pin)).await.expect("pinned");
    store.pin_images(&id, &[ImagePin { digest: "sha256:3".to_owned(), ..pin.clone() }]).await.expect("what is there stays");
    assert_eq!(store.image_pins(&id).await.expect("read"), [pin]);
    let operation = store.operation(&id).await.expect("read").expect("an operation");
    let steps: Vec<_> = operation.steps.iter().map(|step| (step.name.as_str(), step.state, step.detail.as_deref())).collect();
    assert_eq!(
        steps,
        [
            ("folder", StepState::Succeeded, Some("it said \u{fffd} and more")),
            ("images", StepState::Failed, Some("no \u{fffd} image"))
        ]
    );
    assert_eq!((operation.state, operation.deadline_at, operation.ended_at), (OperationState::Running, 99, None));
    assert_eq!((operation.services, operation.plugins.len()), (vec!["db".to_owned()], 1));
    assert_eq!(store.cancel_operation(&project_ref(0), "enough").await.expect("turned round"), id);
    let newest = &store.operations_of(&project_ref(0), 10).await.expect("read")[0];
    assert_eq!((newest.state, newest.cancelled.as_deref()), (OperationState::Unwinding, Some("enough")));
}

#[tokio::test]
async fn ports_and_subnets_are_replaced_released_and_rest() {
    let (store, _database) = creating().await;
    let id = operation_id(0);
    store.operation_begins(&id, 99).await.expect("it begins");
    store.step_started(&id, "folder", 10).await.expect("started");
    let steps = ["folder".to_owned()];
    let again = Again { operation: &id, steps: &steps };
    store.accept_create(&project(1), &operation(1, 1, OperationKind::Create), 11).await.expect("a neighbour");
    let taken = store.replace_port(&project_ref(0), "api", 20_002, &again, 12).await.expect_err("the neighbour's");
    assert_eq!(clash(&taken), Some(Clash::Port));
    assert_eq!(store.project(&project_ref(0)).await.expect("read").expect("a project").port("api"), Some(20_000));
    store.replace_port(&project_ref(0), "api", 20_100, &again, 13).await.expect("replaced");
    store.replace_subnet(&project_ref(0), "10.0.9.0/27", &again, 14).await.expect("replaced");
    let now = store.project(&project_ref(0)).await.expect("read").expect("a project");
    assert_eq!((now.port("api"), now.port("db"), now.subnet.as_str()), (Some(20_100), Some(20_001), "10.0.9.0/27"));
    assert_eq!(store.operation(&id).await.expect("read").expect("it").steps[0].state, StepState::Failed);
    let resting = store.taken("here", 13).await.expect("read");
    assert!(resting.ports.contains(&20_000) && resting.subnets.contains(&"10.0.0.0/27".to_owned()), "{resting:?}");
    let rested = store.taken("here", 100).await.expect("read");
    assert!(!rested.ports.contains(&20_000) && !rested.subnets.contains(&"10.0.0.0/27".to_owned()), "{rested:?}");
    end(&store, 0, ProjectStatus::Deleted).await;
    let gone = store.project(&project_ref(0)).await.expect("read").expect("a tombstone");
    assert_eq!((gone.ports.len(), gone.subnet.as_str(), gone.deleted_at), (0, "", Some(50)));
    assert!(store.sealed_secrets(&project_ref(0)).await.expect("read").is_empty());
}

/// Ends operation 0 of project 0 as it stands.
async fn end(store: &Store, number: u64, status: ProjectStatus) {
    let operation = store.operation(&operation_id(number)).await.expect("read").expect("an operation");
    let events = [(EventKind::Status, "{}".to_owned()), (EventKind::End, "{}".to_owned())];
    let ended = store.end_operation(&operation, OperationState::Succeeded, status, None, &events, 50).await;
    ended.expect("ended");
    let twice = store.end_operation(&operation, OperationState::Succeeded, status, None, &events, 51).await;
    assert!(matches!(twice, Err(StoreError::Transition(_))));
}

#[tokio::test]
async fn an_end_moves_the_project_and_tells_it_once() {
    let (store, _database) = creating().await;
    let operation = store.operation(&operation_id(0)).await.expect("read").expect("an operation");
    let error = LastError {
        step: "start.1".to_owned(),
        code: "crashed".to_owned(),
        message: "it said \0".to_owned(),
        log_tail: vec!["a \0 line".to_owned()],
    };
    let events = [(EventKind::End, "{\"state\":\"failed\"}".to_owned())];
    let (state, status) = (OperationState::Failed, ProjectStatus::Failed);
    store.end_operation(&operation, state, status, Some(&error), &events, 50).await.expect("ended");
    let project = store.project(&project_ref(0)).await.expect("read").expect("a project");
    let shown = project.last_error.expect("an error");
    assert_eq!((project.status, shown.code.as_str(), shown.message.as_str()), (status, "crashed", "it said \u{fffd}"));
    assert_eq!(shown.log_tail, ["a \0 line"], "a tail is JSON, which can hold it");
    let told = store.events_after(&project_ref(0), 0).await.expect("read");
    assert_eq!(told.iter().map(|event| (event.id, event.kind)).collect::<Vec<_>>(), [(1, EventKind::End)]);
    assert_eq!(project.activated_at, None);
    store.accept_operation(&self::operation(1, 0, OperationKind::Create), &[status], 60).await.expect("a retry");
    end(&store, 1, ProjectStatus::ActiveHealthy).await;
    let project = store.project(&project_ref(0)).await.expect("read").expect("a project");
    assert_eq!((project.activated_at, project.last_error), (Some(50), None));
    assert_eq!(project.stack_operation, Some(operation_id(1)));
    assert_eq!(store.count_by_status().await.expect("read"), [("ACTIVE_HEALTHY".to_owned(), 1)]);
    let unhealthy = standing(ProjectStatus::ActiveUnhealthy);
    assert!(store.set_active_status(&project_ref(0), &unhealthy, 61).await.expect("written"));
    assert!(!store.set_active_status(&project_ref(0), &unhealthy, 62).await.expect("no change"));
}

#[tokio::test]
async fn what_was_seen_and_used_is_kept_once() {
    let (store, _database) = creating().await;
    let seen = |state, at| Observation {
        service: ServiceName::parse("db").expect("a name"),
        state,
        reason: "no \0 answer".to_owned(),
        endpoint: "tcp 5432".to_owned(),
        latency_ms: 3,
        container_id: None,
        since: at,
        observed_at: at,
    };
    let id = project_ref(0);
    assert_eq!(store.observe(&id, &seen(ServiceState::Starting, 5)).await.expect("kept"), Some(true));
    assert_eq!(store.observe(&id, &seen(ServiceState::Starting, 6)).await.expect("kept"), Some(false));
    let rows = store.observations(&id).await.expect("read");
    let row = (rows.len(), rows[0].since, rows[0].observed_at, &*rows[0].reason);
    assert_eq!(row, (1, 5, 5, "no \u{fffd} answer"), "a look that sees the same writes nothing");
    let other = Observation { container_id: Some("another".to_owned()), ..seen(ServiceState::Starting, 7) };
    assert_eq!(store.observe(&id, &other).await.expect("kept"), Some(false));
    let rows = store.observations(&id).await.expect("read");
    assert_eq!((rows.len(), rows[0].since, rows[0].observed_at), (1, 5, 7), "the same state of another container");
    let token = store.token_by_hash("hash").await.expect("read").expect("the token");
    assert_eq!((token.caller.id.as_str(), store.token_by_hash("hush").await.expect("read").is_none()), ("token", true));
    assert_eq!(store.places().await.expect("read"), (vec!["here".to_owned()], vec!["default".to_owned()]));
}

#[tokio::test]
async fn any_name_comes_back_and_pages_follow_each_other() {
    let (store, _database) = founded().await;
    let names = ["plain", "' OR 1=1 --", "$1 \"quoted\" \\ back", "Überraschung 🦀", "a\u{301}\u{200f}b", "%_;"];
    for (number, name) in (0_u16..).zip(names) {
        let mut new = project(number);
        new.name = name.to_owned();
        let asked = operation(u64::from(number), number, OperationKind::Create);
        store.accept_create(&new, &asked, 1).await.expect("accepted");
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let filter = ListFilter { cursor, limit: 4, ..ListFilter::default() };
        let page = store.projects(&filter).await.expect("read");
        found.extend(page.projects.into_iter().map(|project| project.name));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    let filter = |organization: &str, status| ListFilter {
        organization_id: Some(organization.to_owned()),
        status,
        limit: 10,
        ..ListFilter::default()
    };
    for (filter, count) in [
        (filter("default", None), 6),
        (filter("default", Some(ProjectStatus::Creating)), 6),
        (filter("default", Some(ProjectStatus::Paused)), 0),
        (filter("nobody", None), 0),
    ] {
        assert_eq!(store.projects(&filter).await.expect("read").projects.len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_opened_again_has_what_was_committed() {
    let (store, database) = creating().await;
    store.close().await;
    let again = Store::open(&database.url).await.expect("opened again");
    assert!(again.project(&project_ref(0)).await.expect("read").is_some());
    assert!(again.installation().await.expect("read").is_some());
    // The tests of the lifecycle stop their clock while a statement is on its way: it must end.
    while again.in_use() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

//! What is seen of active projects: where they stand, what they use, and what the operator's webhook is to hear.

use std::collections::BTreeMap;

use supamanager::domain::{
    Figure, NoticeKind, NoticeState, OperationKind, OperationState, ProjectStatus, ServiceName, UsagePoint, Used,
};
use supamanager::store::{Grain, News, Store};
use supamanager_tests::databases::TestDatabase;

use crate::world::{creating, operation, operation_id, owner_of, project_ref, standing};

/// Ends operation `number` of project 0 well.
async fn succeed(store: &Store, number: u64, now: i64) {
    let operation = store.operation(&operation_id(number)).await.expect("read").expect("an operation");
    let ended = store.end_operation(&operation, OperationState::Succeeded, ProjectStatus::ActiveHealthy, None, &[], now).await;
    ended.expect("ended");
}

async fn status(store: &Store) -> ProjectStatus {
    store.project(&project_ref(0)).await.expect("read").expect("a project").status
}

#[tokio::test]
async fn nobody_calls_a_project_healthy_while_an_operation_is_under_way() {
    let (store, _database) = creating().await;
    let (healthy, unhealthy) = (standing(ProjectStatus::ActiveHealthy), standing(ProjectStatus::ActiveUnhealthy));
    assert!(!store.set_active_status(&project_ref(0), &unhealthy, 3).await.expect("asked"), "it is not active");
    succeed(&store, 0, 50).await;
    assert!(store.set_active_status(&project_ref(0), &unhealthy, 60).await.expect("asked"));
    let repair = operation(1, 0, OperationKind::Repair);
    store.accept_operation(&repair, &[ProjectStatus::ActiveUnhealthy], 61).await.expect("accepted");
    assert!(!store.set_active_status(&project_ref(0), &healthy, 62).await.expect("asked"), "a repair is under way");
    assert_eq!(status(&store).await, ProjectStatus::ActiveUnhealthy);
    succeed(&store, 1, 70).await;
    assert_eq!(status(&store).await, ProjectStatus::ActiveHealthy);
    assert!(store.set_active_status(&project_ref(0), &unhealthy, 80).await.expect("asked"));
    assert!(store.set_active_status(&project_ref(0), &healthy, 90).await.expect("asked"), "nothing is under way");
    let told = store.events_after(&project_ref(0), 0).await.expect("read");
    assert_eq!(told.iter().map(|event| event.at).collect::<Vec<_>>(), [60, 80, 90], "each move is told with itself");
    let active: Vec<_> = store.active_projects().await.expect("read").into_iter().map(|project| project.id).collect();
    assert_eq!(active, [project_ref(0)]);
}

fn point(at: i64, cpu: i64) -> UsagePoint {
    let (cpu_millis, memory_bytes) = (Figure::once(cpu), Figure::once(i64::MAX / 4));
    let used = Used { samples: 1, cpu_millis, memory_bytes, rx_bytes: 1, tx_bytes: 2 };
    UsagePoint::sample(at, 9, BTreeMap::from([(ServiceName::parse("db").expect("a name"), used)]))
}

#[tokio::test]
async fn a_series_is_bounded_and_its_quarters_are_what_their_samples_came_to() {
    let (store, _database) = creating().await;
    let id = project_ref(0);
    let begin = 1_780_000_200_000_i64 / 900_000 * 900_000;
    let quarter = |number: i64| begin + number * 900_000;
    for minute in 0..30 {
        store.keep_usage(&id, &point(begin + minute * 60_000, minute)).await.expect("kept");
    }
    let newest = store.usage(&id).await.expect("read").expect("a sample");
    assert_eq!((newest.cpu_millis, newest.storage_bytes, newest.observed_at), (29, 9, begin + 29 * 60_000));
    assert_eq!(store.usage_series(&id, Grain::Fine, begin + 600_000).await.expect("read").len(), 20);
    let quarters = store.usage_series(&id, Grain::Coarse, 0).await.expect("read");
    let short: Vec<_> = quarters.iter().map(|q| (q.at, q.all.samples, q.all.cpu_millis(), q.all.cpu_millis.max)).collect();
    assert_eq!(short, [(begin, 15, 7, 14), (quarter(1), 15, 22, 29)]);
    assert_eq!(quarters[0].services.values().next().map(|used| (used.rx_bytes, used.tx_bytes)), Some((15, 30)));
    // A week later both kinds of the old rows are gone, with the same sample.
    let later = begin + Grain::Coarse.kept_ms() + 3_600_000;
    store.keep_usage(&id, &point(later, 1)).await.expect("kept");
    for grain in [Grain::Fine, Grain::Coarse] {
        assert_eq!(store.usage_series(&id, grain, 0).await.expect("read").len(), 1, "{grain:?}");
    }
    // Of a project that is gone nothing is kept.
    let operation = store.operation(&operation_id(0)).await.expect("read").expect("an operation");
    let ended = store.end_operation(&operation, OperationState::Failed, ProjectStatus::Deleted, None, &[], 50).await;
    ended.expect("ended");
    store.keep_usage(&id, &point(later + 60_000, 1)).await.expect("asked");
    assert_eq!(store.usage_series(&id, Grain::Fine, 0).await.expect("read").len(), 1);
}

/// A store with project 0 healthy since 50, where the webhook hears everything, once in 100 ms.
async fn heard() -> (Store, TestDatabase) {
    let (store, database) = creating().await;
    store.want_notices(&NoticeKind::ALL, 100).await.expect("kept");
    succeed(&store, 0, 50).await;
    (store, database)
}

async fn stands(store: &Store, status: ProjectStatus, now: i64) {
    assert!(store.set_active_status(&project_ref(0), &standing(status), now).await.expect("asked"), "at {now}");
}

/// What is due is taken, tried and done with: from, to and how much was folded into it.
async fn deliver(store: &Store, now: i64) -> Vec<(String, String, i64)> {
    let mut told = Vec::new();
    for due in store.due_notices(now, 10).await.expect("read") {
        let Some(notice) = store.claim_notice(&due.id, now + 1_000).await.expect("taken") else { continue };
        store.notice_is(&notice.id, NoticeState::Sent, (&[], ""), now).await.expect("done");
        told.push((notice.from, notice.to, notice.folded));
    }
    told
}

fn told(from: &str, to: &str, folded: i64) -> Vec<(String, String, i64)> {
    vec![(from.to_owned(), to.to_owned(), folded)]
}

#[tokio::test]
async fn a_change_is_told_once_and_flapping_is_folded_without_leaving_an_old_truth() {
    let (healthy, unhealthy) = (ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy);
    let (store, _database) = heard().await;
    assert_eq!(deliver(&store, 50).await, told("CREATING", "ACTIVE_HEALTHY", 0));
    // A restart that ends where it began is no news.
    store.accept_operation(&operation(1, 0, OperationKind::Restart), &[healthy], 51).await.expect("accepted");
    succeed(&store, 1, 52).await;
    assert_eq!(deliver(&store, 52).await, []);
    stands(&store, unhealthy, 60).await;
    assert_eq!(deliver(&store, 60).await, told("ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY", 0));
    // It flaps: what was told within the window waits, and follows what happens.
    stands(&store, healthy, 61).await;
    assert_eq!(deliver(&store, 149).await, []);
    stands(&store, unhealthy, 149).await;
    stands(&store, healthy, 149).await;
    assert_eq!(deliver(&store, 149).await, []);
    assert_eq!(deliver(&store, 150).await, told("ACTIVE_UNHEALTHY", "ACTIVE_HEALTHY", 2));
    // One that is back where it was when its time comes is not sent.
    stands(&store, unhealthy, 151).await;
    stands(&store, healthy, 152).await;
    assert_eq!(deliver(&store, 10_000).await, []);
    let all = store.notices(&owner_of("default"), None, 10).await.expect("read");
    assert_eq!(all.iter().map(|notice| notice.state.as_str()).collect::<Vec<_>>(), ["folded", "sent", "sent", "sent"]);
    assert!(
        store.notices(&owner_of("another"), None, 10).await.expect("read").is_empty(),
        "another organisation's token sees nothing"
    );
    assert_eq!((&*all[0].name, &*all[0].reason), ("project 0", "db: it says no"));
}

#[tokio::test]
async fn a_message_that_was_begun_stays_as_it_is_and_the_next_waits_behind_it() {
    let (store, _database) = heard().await;
    let first = store.due_notices(50, 10).await.expect("read").remove(0);
    let begun = store.claim_notice(&first.id, 70).await.expect("taken").expect("it");
    assert_eq!((begun.tries, begun.due_at), (1, 70), "if the daemon dies now it is sent again at 70");
    stands(&store, ProjectStatus::ActiveUnhealthy, 60).await;
    assert!(store.due_notices(60, 10).await.expect("read").is_empty());
    let again = store.due_notices(70, 10).await.expect("read");
    assert_eq!(again.iter().map(|notice| (&notice.id, &notice.to)).collect::<Vec<_>>(), [(&first.id, &first.to)]);
    store.notice_is(&first.id, NoticeState::Failed, (&[], "it answered 500 \0"), 71).await.expect("kept");
    let failed = store.notices(&owner_of("default"), Some(NoticeState::Failed), 10).await.expect("read");
    assert_eq!((failed.len(), &*failed[0].error), (1, "it answered 500 \u{fffd}"));
    assert!(store.claim_notice(&first.id, 80).await.expect("asked").is_none(), "given up is given up");
    // The receiver does not know what it could not be told.
    assert_eq!(deliver(&store, 70).await, told("ACTIVE_HEALTHY", "ACTIVE_UNHEALTHY", 0));
}

#[tokio::test]
async fn a_warning_is_told_once_in_a_window_and_only_if_it_is_wanted() {
    let (store, _database) = heard().await;
    deliver(&store, 50).await;
    let id = project_ref(0);
    let high = News { kind: NoticeKind::Budget, project: Some(&id), from: "", to: "high", reason: "9 of 10 GiB" };
    assert!(store.write_news(&high, 60).await.expect("asked"));
    assert!(!store.write_news(&high, 61).await.expect("asked"));
    assert_eq!(deliver(&store, 61).await.len(), 1);
    assert!(!store.write_news(&high, 159).await.expect("asked"), "within the window");
    assert!(store.write_news(&high, 160).await.expect("asked"), "the window is over");
    let machine = News { kind: NoticeKind::Disk, project: None, from: "", to: "high", reason: "91 of 100 GiB" };
    assert!(store.write_news(&machine, 160).await.expect("asked"), "another thing");
    assert!(!store.write_news(&machine, 161).await.expect("asked"));
    assert_eq!(deliver(&store, 161).await.len(), 2);
    store.want_notices(&[NoticeKind::Status], 100).await.expect("kept");
    assert!(!store.write_news(&high, 999).await.expect("asked"), "not wanted any more");
}

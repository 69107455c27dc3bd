//! What plugins did to a project and what they remember of it, on either database.

use serde_json::json;
use supamanager::domain::{OperationKind, OperationState, PluginChoices, ProjectStatus};
use supamanager::store::{HookOutcome, NewProject};

use crate::world::{creating, founded, operation, operation_id, project, project_ref};

fn outcome(plugin: &str, digest: &str, done: bool, summary: &str, at: i64) -> HookOutcome {
    let (plugin, digest, summary) = (plugin.to_owned(), digest.to_owned(), summary.to_owned());
    HookOutcome { plugin, digest, done, changed: true, summary, at }
}

#[tokio::test]
async fn what_a_hook_did_is_known_from_before_it_was_called_until_it_was_taken_back() {
    let (store, _database) = creating().await;
    let id = project_ref(0);
    store.hook_begins(&id, "zeta", "sha256:1", 5).await.expect("written");
    store.hook_begins(&id, "alpha", "sha256:2", 6).await.expect("written");
    store.hook_ended(&id, "zeta", true, "a row \0", 7).await.expect("written");
    let known = store.hook_outcomes(&id).await.expect("read");
    assert_eq!(known, [outcome("zeta", "sha256:1", true, "a row \u{fffd}", 7), outcome("alpha", "sha256:2", false, "", 6)]);
    // Called again with other code, after a kill: it keeps its place in the order.
    store.hook_begins(&id, "zeta", "sha256:3", 8).await.expect("written");
    let names: Vec<String> = store.hook_outcomes(&id).await.expect("read").into_iter().map(|known| known.digest).collect();
    assert_eq!(names, ["sha256:3", "sha256:2"]);
    // The newer version is taken back: what the older one did stands again, and goes only with that.
    store.hook_restored(&id, "zeta").await.expect("written");
    let known = store.hook_outcomes(&id).await.expect("read");
    assert_eq!(known[0], outcome("zeta", "sha256:1", true, "a row \u{fffd}", 7));
    store.hook_begins(&id, "zeta", "sha256:3", 9).await.expect("written");
    assert_eq!(store.hook_outcomes(&id).await.expect("read")[0], outcome("zeta", "sha256:3", false, "", 9));
    store.hook_ended(&id, "zeta", false, "nothing", 10).await.expect("written");
    store.hook_restored(&id, "zeta").await.expect("written");
    assert_eq!(store.hook_outcomes(&id).await.expect("read").len(), 1, "once it has come to its end there is no way back");
    store.hook_undone(&id, "zeta").await.expect("written");
    assert_eq!(store.hook_outcomes(&id).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_memory_is_of_one_plugin_and_project_keeps_to_its_bounds_and_goes_with_the_project() {
    let (store, _database) = creating().await;
    let id = project_ref(0);
    let bounds = (2, 10);
    for (name, value, kept) in
        [("b", &[0, 255][..], true), ("a", &[1; 7], false), ("a", &[1; 6], true), ("c", &[], false), ("a", &[2], true)]
    {
        assert_eq!(store.remember(&id, "plugin", (name, value), bounds).await.expect("asked"), kept, "{name} {value:?}");
    }
    let all = store.remembered(&id, "plugin").await.expect("read");
    assert_eq!(all, [("a".to_owned(), vec![2]), ("b".to_owned(), vec![0, 255])]);
    assert!(store.remembered(&id, "another").await.expect("read").is_empty());
    store.forget(&id, "plugin", "a").await.expect("written");
    store.hook_begins(&id, "plugin", "sha256:1", 5).await.expect("written");
    let ending = store.operation(&operation_id(0)).await.expect("read").expect("an operation");
    store.end_operation(&ending, OperationState::Failed, ProjectStatus::Deleted, None, &[], 9).await.expect("ended");
    assert!(store.remembered(&id, "plugin").await.expect("read").is_empty());
    assert!(store.hook_outcomes(&id).await.expect("read").is_empty());
}

#[tokio::test]
async fn what_was_chosen_of_the_plugins_is_read_as_it_was_written() {
    let (store, _database) = founded().await;
    let chosen: PluginChoices = serde_json::from_value(json!({"a": false, "b": {"size": 3, "text": "é"}})).expect("choices");
    let new = NewProject { plugins: chosen.clone(), ..project(0) };
    store.accept_create(&new, &operation(0, 0, OperationKind::Create), 2).await.expect("accepted");
    let read = store.project(&project_ref(0)).await.expect("read").expect("a project");
    assert_eq!((&read.plugins, read.in_shape(&read.shape()).plugins), (&chosen, chosen.clone()));
    let mut shape = read.shape();
    shape.plugins = PluginChoices::default();
    store.describe(&read, None, Some(&shape), 3).await.expect("written");
    assert!(store.project(&project_ref(0)).await.expect("read").expect("a project").plugins.is_empty());
}

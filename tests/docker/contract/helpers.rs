//! A helper that a killed daemon left at work does nothing any more once the next one of its project has begun: what it
//! would still empty or copy may be wanted by then.

use std::time::Duration;

use super::{Change, Kind, Stage, Wrong};

pub(super) async fn a_helper_that_nobody_waits_for_ends_with_the_next_one(stage: &Stage) {
    let folder = stage.folder.join("helped");
    std::fs::create_dir_all(&folder).unwrap();
    let put = |name: &str| std::fs::write(folder.join(name), "").unwrap();
    let there = |name: &str| folder.join(name).exists();
    put("old");
    // Its start is on its way when the daemon is killed.
    let (backend, _proxy) = stage.wrong(Change::Start, Wrong::Late).await;
    let first = backend.empty_folder(&folder, &stage.digest, &stage.labels);
    let killed = tokio::time::timeout(Duration::from_millis(700), first).await;
    assert!(killed.is_err() && there("old"), "the first helper was to hang: {killed:?}");

    stage.backend.empty_folder(&folder, &stage.digest, &stage.labels).await.unwrap();
    assert!(!there("old"));
    put("new");
    // The fake's late calls come after two minutes, the proxy's after two and a half seconds.
    let late = if matches!(stage.kind, Kind::Real) { 4 } else { 150 };
    tokio::time::sleep(Duration::from_secs(late)).await;
    assert_eq!(stage.counts().await.0, 0, "a helper is left");
    assert!(there("new"), "a helper that was replaced went on");
}

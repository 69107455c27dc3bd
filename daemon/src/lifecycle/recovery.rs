//! After a start, every so often, and whenever somebody wakes it: list the engine, go on with what is unfinished, then
//! let the reconciler and the reaper look. Nothing is changed before the first full listing: absence may be believed
//! only after it. Events of the engine only wake; what to do is read from the listing.

use std::time::Duration;

use super::{Lifecycle, deaths, lost, reaper, reconciler};

/// Between two rounds that nobody asked for.
const EVERY: Duration = Duration::from_secs(30);
/// Between two tries to reach an engine that is away.
const AWAY: Duration = Duration::from_secs(2);
/// Between two rounds however often it is woken: a stack that starts makes dozens of events.
const AT_MOST: Duration = Duration::from_millis(300);

pub(super) async fn run(lifecycle: &Lifecycle) {
    let parts = &lifecycle.parts;
    let mut away = false;
    let mut repairs = reconciler::Repairs::default();
    let mut kept = lost::Kept::default();
    let mut deaths = deaths::Deaths::since(parts.clock.now());
    loop {
        let begun = parts.clock.now();
        let pause = match parts.backend.list(&parts.installation).await {
            Ok(observed) => {
                parts.sight.seen(&observed, begun, parts.clock.now());
                if std::mem::take(&mut away) {
                    tracing::info!("the container engine is back");
                }
                resume(lifecycle).await;
                reconciler::look(lifecycle, &observed, &mut repairs, &mut kept).await;
                deaths.look(parts, &observed).await;
                reaper::sweep(parts, &observed).await;
                EVERY
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "the container engine is away; changes are refused until it is back");
                }
                AWAY
            }
        };
        tokio::select! {
            () = lifecycle.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = woken(lifecycle), if !away => {}
        }
    }
}

/// Wakes the rounds on every event of the engine, until the daemon stops.
pub(super) async fn listen(lifecycle: &Lifecycle) {
    let parts = &lifecycle.parts;
    let mut deaf = false;
    loop {
        let heard = tokio::select! {
            () = lifecycle.stop.cancelled() => return,
            heard = parts.backend.changed(&parts.installation) => heard,
        };
        match heard {
            Ok(()) => {
                if std::mem::take(&mut deaf) {
                    tracing::info!("events of the container engine are heard again");
                }
                parts.wake.notify_one();
                // A stream that is cut at once is news every time.
                tokio::time::sleep(AT_MOST).await;
                // An engine tells of a death a moment before its own listing shows it.
                parts.wake.notify_one();
            }
            Err(error) => {
                if std::mem::replace(&mut deaf, true) {
                    tracing::debug!(%error, "events of the container engine are still not heard");
                } else {
                    tracing::info!(%error, every_s = EVERY.as_secs(), "events of the container engine are not heard; it is listed all the same");
                }
                tokio::time::sleep(AWAY).await;
            }
        }
    }
}

async fn woken(lifecycle: &Lifecycle) {
    tokio::time::sleep(AT_MOST).await;
    lifecycle.parts.wake.notified().await;
}

async fn resume(lifecycle: &Lifecycle) {
    match lifecycle.parts.store.unfinished_operations().await {
        Ok(operations) => operations.into_iter().for_each(|(id, project)| lifecycle.begin(id, project)),
        Err(error) => tracing::warn!(%error, "unfinished operations cannot be read"),
    }
}

//! After a start, and every so often: list the engine, go on with what is unfinished, then let the reaper look.
//! Nothing is changed before the first full listing: absence may be believed only after it.

use std::time::Duration;

use super::{Lifecycle, reaper};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(30);
/// Between two tries to reach an engine that is away.
const AWAY: Duration = Duration::from_secs(2);

pub(super) async fn run(lifecycle: &Lifecycle) {
    let parts = &lifecycle.parts;
    let mut away = false;
    loop {
        let pause = match parts.backend.list(&parts.installation).await {
            Ok(observed) => {
                parts.sight.seen(parts.clock.now());
                if std::mem::take(&mut away) {
                    tracing::info!("the container engine is back");
                }
                resume(lifecycle).await;
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
        }
    }
}

async fn resume(lifecycle: &Lifecycle) {
    match lifecycle.parts.store.unfinished_operations().await {
        Ok(operations) => operations.into_iter().for_each(|id| lifecycle.begin(id)),
        Err(error) => tracing::warn!(%error, "unfinished operations cannot be read"),
    }
}

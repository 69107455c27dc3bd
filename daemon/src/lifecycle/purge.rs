//! Tables of a stack that only grow are made smaller on a timer, by the template set's own statements with the
//! operator's numbers. When each was last done is stored, so that a restart does not do all of them at once.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Lifecycle, LifecycleError, Parts};
use crate::domain::{Bytes, Project, PurgeSpec, TemplateSet};
use crate::secrets::ProjectSecrets;

/// Between two rounds, when nothing is due sooner.
const EVERY: Duration = Duration::from_secs(60);
/// One statement: it may write a gigabyte anew.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    loop {
        let round = async {
            let soonest = round(lifecycle.parts()).await;
            tokio::time::sleep(soonest.clamp(Duration::from_secs(1), EVERY)).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// One after the other: what they do is disk work. The shortest interval of a purge that some active project has.
async fn round(parts: &Parts) -> Duration {
    let mut soonest = EVERY;
    for project in parts.store.active_projects().await.unwrap_or_default() {
        let Ok(set) = parts.templates.set(&project.template_set) else { continue };
        for purge in &set.spec.purges {
            soonest = soonest.min(Duration::from_secs(purge.every_s));
            if let Err(error) = if_due(parts, &project, &set.spec, purge).await {
                tracing::debug!(project.id = %project.id, purge = purge.name, %error, "a table is not purged yet");
            }
        }
    }
    soonest
}

/// The first time is counted from the first look: a new project has nothing to purge.
async fn if_due(parts: &Parts, project: &Project, set: &TemplateSet, purge: &PurgeSpec) -> Result<(), LifecycleError> {
    let now = parts.clock.now();
    let every_ms = i64::try_from(purge.every_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    match parts.store.purged_at(&project.id, &purge.name).await? {
        None => return Ok(parts.store.set_purged(&project.id, &purge.name, now).await?),
        Some(at) if now.saturating_sub(at) < every_ms => return Ok(()),
        Some(_) => {}
    }
    let resources = &parts.config.resources;
    let size = Bytes::parse("resources.purge_size", &resources.purge_size).map_or(u64::MAX, Bytes::get);
    let statement = purge.filled(resources.purge_age_days, size);
    let sealed = parts.store.sealed_secrets(&project.id).await?;
    let secrets = Arc::new(ProjectSecrets::open(&parts.key, &project.id, &sealed)?);
    let reach = parts.reach.project(&project.id, set, secrets);
    match reach.admin(&purge.service, &purge.role, &[statement], DEADLINE).await {
        Ok(()) => Ok(parts.store.set_purged(&project.id, &purge.name, parts.clock.now()).await?),
        Err(error) => {
            tracing::debug!(project.id = %project.id, purge = purge.name, %error, "a table is not purged yet");
            Ok(())
        }
    }
}

//! What happens when a project's storage passes a level. The state is stored first, then the template set's statements
//! are run and it is told, then it is stored as settled: whatever is killed in between is done again at the next look.

use std::sync::Arc;
use std::time::Duration;

use super::{LifecycleError, Parts};
use crate::disk::Extent;
use crate::domain::{BudgetState, Bytes, NoticeKind, Project, ProjectRef};
use crate::plugin_host::hooks::AccessError;
use crate::reach::ProjectReach;
use crate::secrets::ProjectSecrets;
use crate::store::Budget;
use crate::templates::LoadedSet;

/// All statements of one state.
const DEADLINE: Duration = Duration::from_secs(30);

/// One measuring of an active project.
pub(super) async fn seen(parts: &Parts, project: &ProjectRef, bytes: u64, extent: Extent) -> Result<(), LifecycleError> {
    let Some(project) = parts.store.project(project).await?.filter(|project| project.status.is_active()) else { return Ok(()) };
    let limit = project.resources.storage.map(Bytes::get);
    let before = parts.store.budget(&project.id).await?;
    if limit.is_none() && before.is_none() {
        return Ok(());
    }
    let (used, complete) = match extent {
        Extent::Whole => (bytes, true),
        Extent::Cut => (bytes, false),
        Extent::Readable => match of_the_database(parts, &project).await {
            Some(more) => (bytes.saturating_add(more), true),
            None => (bytes, false),
        },
    };
    let now = parts.clock.now();
    let (was, settled) = before.as_ref().map_or((BudgetState::Ok, true), |before| (before.state, before.settled));
    let state = was.after(used, limit, complete);
    let mut budget = Budget {
        state,
        settled: settled && state == was,
        used_bytes: i64::try_from(used).unwrap_or(i64::MAX),
        complete,
        changed_at: before.filter(|_| state == was).map_or(now, |before| before.changed_at),
        observed_at: now,
    };
    parts.store.set_budget(&project.id, &budget).await?;
    if budget.settled {
        return Ok(());
    }
    if let Err(error) = settle(parts, &project, state).await {
        match error {
            AccessError::Refused(_) | AccessError::TimedOut(_) => {
                tracing::debug!(project.id = %project.id, %error, "a full project is not settled yet");
            }
            _ => tracing::warn!(
                project.id = %project.id, state = state.as_str(), %error,
                "the statements for a full project failed; they are tried again"
            ),
        }
        return Ok(());
    }
    parts.announcer.tell(&project.id, state, used, limit).await;
    let of = limit.map_or_else(String::new, |limit| format!(" of {}", Bytes::new(limit)));
    let reason = format!("storage: {} MB{of} used", used / 1_000_000);
    parts.notifier.tell(NoticeKind::Budget, Some(&project.id), state.as_str(), &reason).await?;
    tracing::info!(project.id = %project.id, state = state.as_str(), used_bytes = used, limit_bytes = limit, "storage passed a level");
    budget.settled = true;
    parts.store.set_budget(&project.id, &budget).await?;
    Ok(())
}

/// Runs what the set has for the state. Below full that is the release, also when nothing was frozen: after a kill nobody
/// knows, and it is harmless.
async fn settle(parts: &Parts, project: &Project, state: BudgetState) -> Result<(), AccessError> {
    let frozen = state == BudgetState::Frozen;
    if frozen && parts.config.resources.storage_full == "warn" {
        return Ok(());
    }
    let (set, reach) = way_to(parts, project).await?;
    let Some(spec) = &set.spec.budget else { return Ok(()) };
    reach.admin(&spec.service, &spec.role, if frozen { &spec.freeze } else { &spec.release }, DEADLINE).await
}

/// What the database says that its files take.
async fn of_the_database(parts: &Parts, project: &Project) -> Option<u64> {
    let (set, reach) = way_to(parts, project).await.ok()?;
    let spec = set.spec.budget.as_ref()?;
    match reach.number(&spec.service, &spec.role, spec.measure.as_ref()?, DEADLINE).await {
        Ok(bytes) => u64::try_from(bytes).ok(),
        Err(error) => {
            tracing::debug!(project.id = %project.id, %error, "the database does not say how large it is");
            None
        }
    }
}

async fn way_to(parts: &Parts, project: &Project) -> Result<(Arc<LoadedSet>, ProjectReach), AccessError> {
    let failed = |error: String| AccessError::Failed(error);
    let set = parts.templates.set(&project.template_set);
    let set = set.map_err(|_| failed(format!("the template set `{}` is gone", project.template_set)))?;
    let sealed = parts.store.sealed_secrets(&project.id).await.map_err(|error| failed(error.to_string()))?;
    let secrets = ProjectSecrets::open(&parts.key, &project.id, &sealed).map_err(|error| failed(error.to_string()))?;
    let reach = parts.reach.project(&project.id, &set.spec, Arc::new(secrets));
    Ok((set, reach))
}

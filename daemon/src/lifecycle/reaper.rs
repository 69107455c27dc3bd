//! Removes what slipped through: objects with our label whose project was deleted or has failed, after a grace
//! period. Volumes and networks go only after their containers. Objects of a project the store does not know are
//! named in the log and left alone: adopting or purging them is a person's word (decision 1). An object without
//! our installation label is not even listed.

use std::collections::BTreeMap;

use super::Parts;
use crate::backend::{Labels, Observed};
use crate::domain::{Project, ProjectRef, ProjectStatus};

/// An object of an operation that has just ended may still be on its way out.
const GRACE_MS: i64 = 10_000;

/// One look over a full listing.
pub(super) async fn sweep(parts: &Parts, observed: &Observed) {
    for (project, left) in by_project(observed) {
        match parts.store.project(&project).await {
            Ok(Some(known)) if is_over(parts, &known) => reap(parts, &project, &left).await,
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(
                project.id = %project,
                objects = left.containers.len() + left.networks.len() + left.volumes.len(),
                "the engine has objects of a project that the store does not know; they are left alone"
            ),
            Err(error) => tracing::warn!(%error, "the reaper cannot read the store"),
        }
    }
}

fn is_over(parts: &Parts, project: &Project) -> bool {
    matches!(project.status, ProjectStatus::Deleted | ProjectStatus::Failed) && parts.clock.now() - project.updated_at > GRACE_MS
}

/// Asked before each removal: a retry may have begun since the listing, and may use what was listed.
async fn still_over(parts: &Parts, project: &ProjectRef) -> bool {
    matches!(parts.store.project(project).await, Ok(Some(known)) if is_over(parts, &known))
}

async fn reap(parts: &Parts, project: &ProjectRef, left: &Observed) {
    let mut removed = 0_u64;
    for container in &left.containers {
        removed += u64::from(still_over(parts, project).await && parts.backend.remove_container(&container.id).await.is_ok());
    }
    for network in &left.networks {
        removed += u64::from(still_over(parts, project).await && parts.backend.remove_network(&network.id).await.is_ok());
    }
    for volume in &left.volumes {
        removed += u64::from(still_over(parts, project).await && parts.backend.remove_volume(&volume.name).await.is_ok());
    }
    parts.metrics.reaped(removed);
    tracing::info!(project.id = %project, removed, "removed what an ended operation had left");
}

fn by_project(observed: &Observed) -> BTreeMap<ProjectRef, Observed> {
    let mut projects: BTreeMap<ProjectRef, Observed> = BTreeMap::new();
    let owner = |labels: &Option<Labels>| labels.as_ref().map(|labels| labels.project.clone());
    for container in &observed.containers {
        if let Some(project) = owner(&container.labels) {
            projects.entry(project).or_default().containers.push(container.clone());
        }
    }
    for network in &observed.networks {
        if let Some(project) = owner(&network.labels) {
            projects.entry(project).or_default().networks.push(network.clone());
        }
    }
    for volume in &observed.volumes {
        if let Some(project) = owner(&volume.labels) {
            projects.entry(project).or_default().volumes.push(volume.clone());
        }
    }
    projects
}

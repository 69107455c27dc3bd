//! Removes what slipped through: objects with our label whose project was deleted or has failed, after a grace
//! period, and their folders. Volumes and networks go only after their containers, folders after both. Objects of a project the store does not know are
//! named in the log and left alone: adopting or purging them is a person's word ([`super::lost`], decision 1). An object without
//! our installation label is not even listed.

use std::collections::{BTreeMap, BTreeSet};

use super::Parts;
use super::steps::{StepError, folder, stage};
use crate::backend::{Labels, Observed};
use crate::domain::{Project, ProjectRef, ProjectStatus};

/// An object of an operation that has just ended may still be on its way out.
const GRACE_MS: i64 = 10_000;

/// One look over a full listing.
pub(super) async fn sweep(parts: &Parts, observed: &Observed) {
    // Nearly all of them: one statement says so of all at once. Who is missing is asked for one by one.
    let kept = parts.store.kept_projects().await.unwrap_or_default();
    for (project, left) in by_project(observed).into_iter().filter(|(project, _)| !kept.contains(project)) {
        match parts.store.project(&project).await {
            Ok(Some(known)) if is_over(parts, &known) => reap(parts, &project, &left).await,
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(
                project.id = %project,
                objects = left.containers.len() + left.networks.len() + left.volumes.len(),
                "the engine has objects of a project that the store does not know; they are left alone: `supamanager project lost`"
            ),
            Err(error) => tracing::warn!(%error, "the reaper cannot read the store"),
        }
    }
    groups(parts, observed, &kept).await;
    for project in folders(parts) {
        tidy(parts, &project).await;
        if kept.contains(&project) || !still_over(parts, &project).await || parts.running.enter(&project).is_none() {
            continue;
        }
        // Asked again now that no retry can begin.
        if still_over(parts, &project).await
            && let Err(error) = remove_folder(parts, &project).await
        {
            tracing::debug!(project.id = %project, reason = error.failure.message, "a folder is not removed yet");
        }
        leave(parts, &project).await;
    }
}

/// Groups stay behind when the last container goes. Those of other installations are on the same host and look the same:
/// only a project that our store knows, and that is over, has one that is ours to remove.
async fn groups(parts: &Parts, observed: &Observed, kept: &BTreeSet<ProjectRef>) {
    let there = parts.backend.groups().await.unwrap_or_default();
    for project in there.into_iter().filter(|project| !kept.contains(project)) {
        let has_containers = observed.containers.iter().any(|c| c.labels.as_ref().is_some_and(|l| l.project == project));
        if has_containers || !still_over(parts, &project).await || parts.running.enter(&project).is_none() {
            continue;
        }
        if still_over(parts, &project).await
            && let Err(error) = parts.backend.remove_group(&project).await
        {
            tracing::debug!(project.id = %project, %error, "a group is not removed yet");
        }
        leave(parts, &project).await;
    }
}

/// An update that was ended by force may leave its copies in the folder of a project that goes on.
async fn tidy(parts: &Parts, project: &ProjectRef) {
    let left = || stage::is_left(&parts.project_folder(project));
    if !left() || !at_rest(parts, project).await || parts.running.enter(project).is_none() {
        return;
    }
    // Asked again now that no operation can begin.
    if at_rest(parts, project).await
        && let Err(error) = discard(parts, project).await
    {
        tracing::debug!(project.id = %project, reason = error.failure.message, "what an update has left is not removed yet");
    }
    leave(parts, project).await;
}

async fn at_rest(parts: &Parts, project: &ProjectRef) -> bool {
    matches!(parts.store.project(project).await, Ok(Some(known)) if !known.status.in_transit())
}

async fn discard(parts: &Parts, project: &ProjectRef) -> Result<(), StepError> {
    let Some((known, labels)) = known(parts, project).await? else { return Ok(()) };
    stage::discard(parts, &known, &labels).await?;
    tracing::info!(project.id = %project, "removed what an update that was ended by force had left");
    Ok(())
}

/// The project, and the labels of its last operation.
async fn known(parts: &Parts, project: &ProjectRef) -> Result<Option<(Project, Labels)>, StepError> {
    let (Some(known), Some(last)) = (parts.store.project(project).await?, parts.store.operations_of(project, 1).await?.pop())
    else {
        return Ok(None);
    };
    let labels = Labels {
        installation: parts.installation.clone(),
        project: project.clone(),
        service: None,
        generation: known.generation,
        operation: last.id,
        spec_hash: String::new(),
    };
    Ok(Some((known, labels)))
}

/// The projects that have a folder. A name that is no ref is nobody's business.
pub(super) fn folders(parts: &Parts) -> Vec<ProjectRef> {
    let entries = std::fs::read_dir(parts.config.data_dir.join("projects")).into_iter().flatten().flatten();
    entries.filter_map(|entry| ProjectRef::parse(entry.file_name().to_str()?).ok()).collect()
}

/// Only once the engine has nothing of the project any more: a container may still write.
async fn remove_folder(parts: &Parts, project: &ProjectRef) -> Result<(), StepError> {
    if !parts.backend.list_project(&parts.installation, project).await?.is_empty() {
        return Ok(());
    }
    let Some((known, labels)) = known(parts, project).await? else { return Ok(()) };
    folder::remove_all(parts, &known, &labels).await?;
    tracing::info!(project.id = %project, "removed the folder that an ended operation had left");
    Ok(())
}

fn is_over(parts: &Parts, project: &Project) -> bool {
    matches!(project.status, ProjectStatus::Deleted | ProjectStatus::Failed) && parts.clock.now() - project.updated_at > GRACE_MS
}

/// Asked before each removal: a retry may have begun since the listing, and may use what was listed.
async fn still_over(parts: &Parts, project: &ProjectRef) -> bool {
    matches!(parts.store.project(project).await, Ok(Some(known)) if is_over(parts, &known))
}

/// As long as a task works on the project, what it has is that task's; and no task begins while we are at it.
async fn reap(parts: &Parts, project: &ProjectRef, left: &Observed) {
    if parts.running.enter(project).is_none() {
        return;
    }
    remove(parts, project, left).await;
    leave(parts, project).await;
}

/// An operation that was accepted meanwhile has waited for us.
pub(super) async fn leave(parts: &Parts, project: &ProjectRef) {
    parts.running.leave(project);
    if matches!(parts.store.project(project).await, Ok(Some(known)) if known.status.in_transit()) {
        parts.wake.notify_one();
    }
}

async fn remove(parts: &Parts, project: &ProjectRef, left: &Observed) {
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

pub(super) fn by_project(observed: &Observed) -> BTreeMap<ProjectRef, Observed> {
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

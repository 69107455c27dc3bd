//! What a project may use, made so on the engine: in a group that holds its containers together where one can be made,
//! else split over the services. Limits are no part of a container's spec hash, so that they change while it runs.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::steps::StepError;
use super::{LifecycleError, Parts};
use crate::backend::{Bounds, ContainerState, Held};
use crate::domain::{Bytes, Cpu, Limits, Project, ProjectRef, Resources, ServiceName, TemplateSet};

/// Looks at the engine at once.
const AT_ONCE: usize = 4;

/// How a container that is made now is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holding {
    /// By nothing.
    Free,
    /// By the project's group of this name.
    Group(String),
    /// Each by its own part.
    Parts(BTreeMap<ServiceName, Limits>),
}

impl Holding {
    /// The container's own limits, and the group it is made in.
    pub(super) fn of(&self, service: &ServiceName) -> (Limits, Option<String>) {
        match self {
            Self::Free => (Limits::default(), None),
            Self::Group(name) => (Limits::default(), Some(name.clone())),
            Self::Parts(parts) => (parts.get(service).copied().unwrap_or_default(), None),
        }
    }
}

/// One service's container and what holds it.
#[derive(Debug, Clone)]
pub struct HeldService {
    /// The service.
    pub service: ServiceName,
    /// Its container.
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// What holds it.
    pub held: Held,
}

impl HeldService {
    /// Whether the project's group holds it: it was made in it, and the kernel says so as long as it can be asked.
    fn is_grouped(&self) -> bool {
        self.held.parent.is_some() && (self.held.group.is_some() || !self.running || self.held.kernel.is_none())
    }
}

/// How the containers that are to be made now are held. They join the others in their group; a group is only begun
/// together with the project's first container, because no container can be moved into one. `pids` is what all services
/// may have together.
pub(super) async fn holding(parts: &Parts, project: &Project, set: &TemplateSet, pids: u64) -> Result<Holding, StepError> {
    let limits = project.resources.limits();
    let there = held(parts, &project.id).await?;
    let grouped = there.iter().any(HeldService::is_grouped);
    if limits.is_none() && !grouped {
        return Ok(Holding::Free);
    }
    if (grouped || there.is_empty())
        && let Some(name) = parts.backend.ensure_group(&project.id, &Bounds { limits, pids: Some(pids) }).await?
    {
        return Ok(Holding::Group(name));
    }
    Ok(Holding::Parts(split(set, &project.resources)?))
}

/// Makes `resources` so on what the project has now, without a restart: the `update` verb's effect, and its inverse with
/// the values from before. Nothing is stored here ([`crate::store::Store::set_resources`]). Containers that are made
/// later take what is stored then.
///
/// # Errors
/// [`StepError`] when the engine refuses, also when less memory is given than is in use; some services may have been
/// changed by then.
pub(crate) async fn apply(parts: &Parts, project: &Project, resources: &Resources) -> Result<String, StepError> {
    let gone = |_| StepError::permanent("template_set_gone", format!("the template set `{}` is gone", project.template_set));
    let set = parts.set_of(project).map_err(gone)?;
    let own = split(&set.spec, resources)?;
    let there = held(parts, &project.id).await?;
    let (grouped, mut loose): (Vec<_>, Vec<_>) = there.into_iter().partition(HeldService::is_grouped);
    let mut said = Vec::new();
    if !grouped.is_empty() {
        let pids = grouped.iter().map(|service| service.held.asked.pids.unwrap_or_default()).sum();
        let bounds = Bounds { limits: resources.limits(), pids: Some(pids).filter(|pids| *pids > 0) };
        match parts.backend.ensure_group(&project.id, &bounds).await? {
            Some(_) => said.push(format!("{} containers in one group", grouped.len())),
            None => loose.extend(grouped),
        }
    }
    let mut changed = 0;
    for service in &loose {
        let wanted = own.get(&service.service).copied().unwrap_or_default();
        let already = service.held.asked.limits;
        // What was never limited and is not to be stays untouched.
        if wanted != already && !(wanted.is_none() && already.is_none()) && !is_lifted(parts, wanted, already).await? {
            let changing = parts.backend.set_limits(&service.id, &wanted).await;
            changing.map_err(|error| StepError::from(error).of(&service.service))?;
            changed += 1;
        }
    }
    if !loose.is_empty() {
        said.push(format!("{changed} of {} containers changed", loose.len()));
    }
    Ok(if said.is_empty() { "no containers yet".to_owned() } else { said.join(", ") })
}

/// A limit that was lifted stands at all that the host has: the engine knows no way back to none.
async fn is_lifted(parts: &Parts, wanted: Limits, already: Limits) -> Result<bool, StepError> {
    if wanted.cpu.is_some() && wanted.memory.is_some() {
        return Ok(false);
    }
    let host = parts.backend.info().await?;
    let whole = Limits {
        cpu: wanted.cpu.or(u64::try_from(host.cpus).ok().map(|cpus| Cpu::millis(cpus.saturating_mul(1000)))),
        memory: wanted.memory.or(u64::try_from(host.memory_bytes).ok().map(Bytes::new)),
    };
    Ok(whole == already)
}

fn split(set: &TemplateSet, resources: &Resources) -> Result<BTreeMap<ServiceName, Limits>, StepError> {
    set.split(resources).map_err(|error| StepError::permanent("too_little", error.to_string()))
}

/// What holds every service that has a container.
///
/// # Errors
/// The engine's.
pub(super) async fn held(parts: &Parts, project: &ProjectRef) -> Result<Vec<HeldService>, crate::backend::BackendError> {
    let observed = parts.backend.list_project(&parts.installation, project).await?;
    let named = observed.containers.into_iter().filter_map(|container| {
        let running = container.state == ContainerState::Running;
        Some((container.labels?.service?, container.id, running))
    });
    let looks = named.map(|(service, id, running)| async move {
        let held = parts.backend.held(&id).await?;
        Ok::<_, crate::backend::BackendError>(held.map(|held| HeldService { service, id, running, held }))
    });
    let mut found: Vec<HeldService> = stream::iter(looks.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|held| async move { Ok(held) })
        .try_collect()
        .await?;
    found.sort_by(|a, b| a.service.cmp(&b.service));
    Ok(found)
}

/// Makes the stored limits so again where they are not: a restart of the host takes every group's limits with it, and
/// containers come back without the daemon. Left out while an operation works on the project.
pub(super) async fn keep(parts: &Parts, project: &ProjectRef) -> Result<(), LifecycleError> {
    let Some(known) = parts.store.project(project).await? else { return Ok(()) };
    if known.resources.limits().is_none() || parts.running.enter(project).is_none() {
        return Ok(());
    }
    let kept = async {
        match parts.store.project(project).await? {
            Some(known) if known.status.is_active() => Ok(Some(apply(parts, &known, &known.resources).await)),
            _ => Ok::<_, LifecycleError>(None),
        }
    }
    .await;
    super::reaper::leave(parts, project).await;
    if let Some(Err(error)) = kept? {
        tracing::debug!(project.id = %project, reason = error.failure.message, "limits are not as they should be yet");
    }
    Ok(())
}

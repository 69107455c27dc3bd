//! The containers: created together, started later in waves, stopped in the reverse of their start order.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{AT_ONCE, ENDED_AT_ONCE, StepContext, StepEffect, StepError, all_to_the_end};
use crate::backend::{ContainerSpec, Environment, ObservedContainer};
use crate::domain::{Limits, ServiceName};
use crate::lifecycle::resources;
use crate::stack::{FencedStack, MountSource, Service, compose};

pub(super) struct Containers;

#[async_trait]
impl StepEffect for Containers {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.observed().await?.containers.is_empty() || has_group(context).await?)
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let stack = context.stack().await?;
        let pins = context.image_pins().await?;
        let pins: BTreeMap<String, String> = pins.into_iter().map(|pin| (pin.service, pin.digest)).collect();
        let limits = stack.services.values().filter_map(|service| u64::try_from(service.pids_limit?).ok());
        let holding = resources::holding(&context.parts, &context.project, &context.set.spec, limits.sum()).await?;
        let mut work = Vec::with_capacity(stack.services.len());
        for (name, service) in &stack.services {
            work.push(create(context, &stack, name, service, pins.get(name.as_str()), holding.of(name)).boxed());
        }
        all_to_the_end(work, AT_ONCE).await?;
        Ok(format!("{} containers", stack.services.len()))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        remove_left(context).await
    }
}

/// Removes whatever containers the project has now. What they hold (volumes, the network) asks for it again before
/// it goes: a call that an earlier run gave up on may have made one since.
pub(super) async fn remove_left(context: &StepContext) -> Result<(), StepError> {
    for group in stop_order(context, context.observed().await?.containers) {
        let mut work = Vec::with_capacity(group.len());
        for (container, grace_s) in group {
            work.push(remove(context, container.id, grace_s).boxed());
        }
        all_to_the_end(work, ENDED_AT_ONCE).await?;
    }
    // The engine leaves the group behind.
    if has_group(context).await? {
        context.parts.backend.remove_group(&context.project.id).await?;
    }
    Ok(())
}

pub(super) async fn has_group(context: &StepContext) -> Result<bool, StepError> {
    Ok(context.parts.backend.groups().await?.contains(&context.project.id))
}

pub(in crate::lifecycle) async fn remove(context: &StepContext, id: String, grace_s: u32) -> Result<(), StepError> {
    context.parts.backend.stop_container(&id, grace_s).await?;
    Ok(context.parts.backend.remove_container(&id).await?)
}

async fn create(
    context: &StepContext,
    stack: &FencedStack,
    name: &ServiceName,
    service: &Service,
    digest: Option<&String>,
    (limits, parent): (Limits, Option<String>),
) -> Result<(), StepError> {
    let folder = context.folder();
    let missing = || StepError::permanent("image_not_pinned", format!("no image is pinned for {name}")).of(name);
    let image_digest = digest.ok_or_else(missing)?.clone();
    let environment = environment(context, name, service)?;
    let spec_hash = spec_hash(context, &folder, service, &environment, &image_digest)?;
    let spec = ContainerSpec {
        service,
        environment,
        folder: &folder,
        network: &stack.network.name,
        volumes: stack.volumes.iter().map(|(key, volume)| (key.clone(), volume.name.clone())).collect(),
        limits,
        parent,
        image_digest,
        labels: context.labels(Some(name.clone()), spec_hash),
    };
    context.parts.backend.ensure_container(&spec).await.map_err(|error| StepError::from(error).of(name))?;
    Ok(())
}

/// The variables with the secrets filled in: the only place where values and a container meet.
fn environment(context: &StepContext, name: &ServiceName, service: &Service) -> Result<Environment, StepError> {
    let resolved = service.environment.iter().map(|(key, value)| {
        let value = compose::resolve(value, |reference| context.secrets.get(reference))
            .map_err(|error| StepError::permanent("unknown_reference", format!("{name}: {key} {error}")).of(name))?;
        Ok((key.clone(), value))
    });
    resolved.collect()
}

/// A keyed hash over everything the container is made from, the text of its mounted files included: a single
/// mounted file keeps showing its old text after a rename, so a changed file means a new container (decision 7).
fn spec_hash(
    context: &StepContext,
    folder: &Path,
    service: &Service,
    environment: &Environment,
    digest: &str,
) -> Result<String, StepError> {
    let mut parts = vec![format!("{service:?}"), digest.to_owned()];
    for (key, value) in environment {
        parts.push(key.clone());
        parts.push(value.expose().clone());
    }
    for mount in &service.mounts {
        if let MountSource::Folder(path) = &mount.source
            && !path.starts_with("volumes/")
        {
            let path = folder.join(path);
            parts.push(std::fs::read_to_string(&path).map_err(|error| StepError::file(&path, &error))?);
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(context.parts.key.hash(&parts)[..32].to_owned())
}

/// Last started, first stopped: a log collector before those that write to it (a stalled reader held a stop for
/// 52 s, decision 14), the database last. Helpers and unknown services go first.
fn stop_order(context: &StepContext, containers: Vec<ObservedContainer>) -> Vec<Vec<(ObservedContainer, u32)>> {
    let waves = context.set.spec.waves().unwrap_or_default();
    let mut groups: BTreeMap<std::cmp::Reverse<usize>, Vec<(ObservedContainer, u32)>> = BTreeMap::new();
    for container in containers {
        let service = container.labels.as_ref().and_then(|labels| labels.service.clone());
        let spec = service.as_ref().and_then(|name| context.set.spec.service(name));
        let wave = spec.and_then(|spec| waves.iter().position(|wave| wave.contains(&spec.name)));
        let grace = spec.map_or(0, |spec| spec.stop_grace_s);
        groups.entry(std::cmp::Reverse(wave.unwrap_or(usize::MAX))).or_default().push((container, grace));
    }
    groups.into_values().collect()
}

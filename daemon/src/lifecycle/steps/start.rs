//! One wave of services, started once what they need is there, and stopped each within its own grace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::containers::Containers;
use super::{AT_ONCE, ENDED_AT_ONCE, StepContext, StepEffect, StepError, all_to_the_end};
use crate::backend::{BackendError, ContainerState, ErrorClass, ObservedContainer};
use crate::domain::{ServiceName, Until};
use crate::lifecycle::probing;

/// A passing client connection may hold a port of the ephemeral range for a moment: this often it is tried again.
const PORT_TRIES: u32 = 4;
/// Pause between two tries.
const PORT_PAUSE: Duration = Duration::from_millis(500);

/// How often containers are made again before the step pauses and is tried again.
const MADE_AGAIN: u32 = 3;

/// The wave, and whether what its services need is waited for.
pub(super) struct Start {
    pub(super) wave: usize,
    pub(super) wait: bool,
}

#[async_trait]
impl StepEffect for Start {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        // Whatever is not at rest: one that the engine is about to start again must be told to stay down, too.
        let at_rest = |state: &ContainerState| matches!(state, ContainerState::Created);
        Ok(self.containers(context).await?.iter().any(|(_, container)| !at_rest(&container.state)))
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let wave = self.wave(context)?;
        if self.wait {
            probing::wait_healthy(context, &needed(context, &wave), 1).await?;
        }
        bring_up(context, &wave).await?;
        let names: Vec<&str> = wave.iter().map(ServiceName::as_str).collect();
        Ok(format!("started {}", names.join(", ")))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let containers = self.containers(context).await?;
        let mut work = Vec::with_capacity(containers.len());
        for (service, container) in &containers {
            let grace = context.set.spec.service(service).map_or(0, |spec| spec.stop_grace_s);
            work.push(async move { Ok(context.parts.backend.stop_container(&container.id, grace).await?) }.boxed());
        }
        all_to_the_end(work, ENDED_AT_ONCE).await
    }
}

impl Start {
    fn wave(&self, context: &StepContext) -> Result<Vec<ServiceName>, StepError> {
        let waves = context.set.spec.waves().map_err(|error| StepError::permanent("template_set", error.to_string()))?;
        let mut wave = waves.get(self.wave).cloned().unwrap_or_default();
        wave.retain(|service| context.is_meant(service));
        Ok(wave)
    }

    async fn containers(&self, context: &StepContext) -> Result<Vec<(ServiceName, ObservedContainer)>, StepError> {
        containers_of(context, &self.wave(context)?).await
    }
}

/// Starts the containers of these services, whatever an engine that was killed has made of them.
pub(in crate::lifecycle) async fn bring_up(context: &StepContext, services: &[ServiceName]) -> Result<(), StepError> {
    for made_again in 0.. {
        let containers = all_there(context, services).await?;
        let unstartable = AtomicBool::new(false);
        let work = containers.iter().map(|(service, found)| start(context, service, &found.id, &unstartable).boxed());
        all_to_the_end(work.collect(), AT_ONCE).await?;
        if !unstartable.into_inner() {
            break;
        }
        if made_again == MADE_AGAIN {
            let message = "the engine lets none of the containers start that are made: restart the engine";
            return Err(StepError::new(ErrorClass::Retry, "task_left", message));
        }
    }
    Ok(())
}

/// The services' containers; where one is missing it is made first: a start that was given up may have removed it.
async fn all_there(context: &StepContext, services: &[ServiceName]) -> Result<Vec<(ServiceName, ObservedContainer)>, StepError> {
    let found = containers_of(context, services).await?;
    let is_there = |service: &ServiceName| found.iter().any(|(there, _)| there == service);
    if services.iter().all(is_there) {
        return Ok(found);
    }
    let stack = context.stack().await?;
    if services.iter().any(|service| stack.services.contains_key(service) && !is_there(service)) {
        Containers.ensure(context).await?;
        return containers_of(context, services).await;
    }
    Ok(found)
}

async fn containers_of(
    context: &StepContext,
    services: &[ServiceName],
) -> Result<Vec<(ServiceName, ObservedContainer)>, StepError> {
    let observed = context.observed().await?.containers.into_iter().filter_map(|container| {
        let service = container.labels.as_ref()?.service.clone()?;
        services.contains(&service).then_some((service, container))
    });
    Ok(observed.collect())
}

/// What must be healthy before these services start.
fn needed(context: &StepContext, wave: &[ServiceName]) -> Vec<ServiceName> {
    let mut needed: Vec<ServiceName> = Vec::new();
    for service in wave {
        let after = context.set.spec.service(service).map(|spec| spec.after.as_slice()).unwrap_or_default();
        let healthy = after.iter().filter(|dependency| dependency.until == Until::Healthy);
        needed.extend(healthy.map(|dependency| dependency.service.clone()));
    }
    needed.sort();
    needed.dedup();
    needed
}

/// Starts it; one that a killed engine has made unstartable is removed, and said to be.
async fn start(context: &StepContext, service: &ServiceName, id: &str, unstartable: &AtomicBool) -> Result<(), StepError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match context.parts.backend.start_container(id).await {
            Ok(()) => return Ok(()),
            Err(BackendError::PortTaken { .. }) if tries < PORT_TRIES => tokio::time::sleep(PORT_PAUSE).await,
            Err(error @ BackendError::TaskLeft { .. }) => {
                tracing::info!(service = service.as_str(), %error, "made again");
                context.parts.backend.remove_container(id).await?;
                unstartable.store(true, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(StepError::from(error).of(service)),
        }
    }
}

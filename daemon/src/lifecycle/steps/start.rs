//! One wave of services, started once what they need is there.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{StepContext, StepEffect, StepError, all_to_the_end};
use crate::backend::{BackendError, ContainerState, ObservedContainer};
use crate::domain::{ServiceName, Until};
use crate::lifecycle::probing;

/// A passing client connection may hold a port of the ephemeral range for a moment: this often it is tried again.
const PORT_TRIES: u32 = 4;
/// Pause between two tries.
const PORT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Start(pub(super) usize);

#[async_trait]
impl StepEffect for Start {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(self.containers(context).await?.iter().any(|(_, container)| container.state == ContainerState::Running))
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let wave = self.wave(context)?;
        let mut needed: Vec<ServiceName> = Vec::new();
        for service in &wave {
            let after = context.set.spec.service(service).map(|spec| spec.after.as_slice()).unwrap_or_default();
            needed.extend(
                after.iter().filter(|dependency| dependency.until == Until::Healthy).map(|dependency| dependency.service.clone()),
            );
        }
        needed.sort();
        needed.dedup();
        probing::wait_healthy(context, &needed, 1).await?;
        let containers = self.containers(context).await?;
        let mut work = Vec::with_capacity(containers.len());
        for (service, container) in &containers {
            work.push(start(context, service, &container.id).boxed());
        }
        all_to_the_end(work).await?;
        let names: Vec<&str> = wave.iter().map(ServiceName::as_str).collect();
        Ok(format!("started {}", names.join(", ")))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        for (service, container) in self.containers(context).await? {
            let grace = context.set.spec.service(&service).map_or(0, |spec| spec.stop_grace_s);
            context.parts.backend.stop_container(&container.id, grace).await?;
        }
        Ok(())
    }
}

impl Start {
    fn wave(&self, context: &StepContext) -> Result<Vec<ServiceName>, StepError> {
        let waves = context.set.spec.waves().map_err(|error| StepError::permanent("template_set", error.to_string()))?;
        Ok(waves.get(self.0).cloned().unwrap_or_default())
    }

    async fn containers(&self, context: &StepContext) -> Result<Vec<(ServiceName, ObservedContainer)>, StepError> {
        let wave = self.wave(context)?;
        let observed = context.observed().await?.containers.into_iter().filter_map(|container| {
            let service = container.labels.as_ref()?.service.clone()?;
            wave.contains(&service).then_some((service, container))
        });
        Ok(observed.collect())
    }
}

async fn start(context: &StepContext, service: &ServiceName, id: &str) -> Result<(), StepError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match context.parts.backend.start_container(id).await {
            Ok(()) => return Ok(()),
            Err(BackendError::PortTaken { .. }) if tries < PORT_TRIES => tokio::time::sleep(PORT_PAUSE).await,
            Err(error) => return Err(StepError::from(error).of(service)),
        }
    }
}

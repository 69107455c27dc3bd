//! Asking the probe hook about services, and waiting for them: the same question that the health monitor asks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Parts;
use super::steps::containers::remove;
use super::steps::start::bring_up;
use super::steps::{StepContext, StepError};
use crate::backend::{ContainerState, ErrorClass, Open};
use crate::domain::{PluginChoices, ProjectRef, ServiceName, ServiceState};
use crate::plugin_host::hooks::{HookError, ProbeInput, ProbeReport};
use crate::reach::ProjectReach;
use crate::store::Observation;
use crate::templates::LoadedSet;

/// Between two looks at a service that is on its way.
const PAUSE: Duration = Duration::from_millis(250);
/// So many restarts while waiting are a crash loop: with the engine's back-off they take some 25 s.
const RESTARTS_MAX: i64 = 8;
/// Progress is told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Asks once. A broken plugin and an engine that is away make *unknown*, never *unhealthy*.
pub async fn probe(
    parts: &Parts,
    set: &LoadedSet,
    (project, choices): (&ProjectRef, &PluginChoices),
    service: &ServiceName,
    reach: Arc<ProjectReach>,
) -> Result<Observation, HookError> {
    let spec = set.spec.service(service).map(|service| service.probe.clone()).unwrap_or_default();
    let input = ProbeInput {
        project: project.clone(),
        service: service.clone(),
        spec: serde_json::Value::Object(spec).to_string(),
        choices: choices.clone(),
    };
    let begun = Instant::now();
    let verdict = parts.plugins.probe(input, reach.clone()).await;
    let report = match verdict {
        Ok(report) if report.state != ServiceState::Healthy && reach.was_blind_since(begun) => {
            ProbeReport { state: ServiceState::Unknown, reason: "the container engine did not answer".to_owned(), ..report }
        }
        Ok(report) => report,
        Err(error @ HookError::NoPlugin { .. }) => return Err(error),
        Err(error) => ProbeReport { state: ServiceState::Unknown, reason: error.to_string(), endpoint: String::new() },
    };
    let now = parts.clock.now();
    Ok(Observation {
        service: service.clone(),
        state: report.state,
        reason: report.reason,
        endpoint: report.endpoint,
        latency_ms: i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX),
        container_id: None,
        since: now,
        observed_at: now,
    })
}

/// Waits until each of the services answered `in_a_row` times, keeping and telling what is seen.
pub async fn wait_healthy(context: &StepContext, services: &[ServiceName], in_a_row: u32) -> Result<(), StepError> {
    let reach = Arc::new(context.reach());
    let mut waiting: Vec<(ServiceName, u32)> = services.iter().map(|service| (service.clone(), 0)).collect();
    let limit = Duration::from_secs(context.parts.config.deadlines.healthy_s).min(context.time_left());
    let give_up = Instant::now() + limit;
    let mut told = Instant::now();
    let mut open = Open::now("wait", "healthy", &context.parts.clock);
    while !waiting.is_empty() {
        context.go_on()?;
        let project = &context.project;
        let looks = waiting
            .iter()
            .map(|(service, _)| probe(&context.parts, &context.set, (&project.id, &project.plugins), service, reach.clone()));
        let seen = join_all(looks).await;
        let mut first_trouble = None;
        for ((service, successes), seen) in waiting.iter_mut().zip(seen) {
            let seen = seen?;
            keep(context, &seen).await;
            *successes = if seen.state == ServiceState::Healthy { *successes + 1 } else { 0 };
            if seen.state != ServiceState::Healthy && first_trouble.is_none() {
                first_trouble = Some((service.clone(), seen));
            }
        }
        waiting.retain(|(_, successes)| *successes < in_a_row);
        if first_trouble.is_some() {
            open.not_yet();
        }
        let Some((service, seen)) = first_trouble else {
            if !waiting.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        };
        keep_up(context, &waiting).await?;
        if Instant::now() >= give_up {
            return Err(not_healthy(&service, &seen, limit));
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let done = services.len() - waiting.len();
            context.progress(&format!("{done} of {} healthy, waiting for {service}: {}", services.len(), seen.reason)).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn keep(context: &StepContext, seen: &Observation) {
    if let Err(error) = context.parts.saw(&context.project.id, seen.clone()).await {
        tracing::warn!(project.id = %context.project.id, %error, "an observation was not kept");
    }
}

/// A container that keeps ending is not going to be healthy: say so now and not at the deadline. One that is down and
/// stays down is brought up: an engine that was killed does not start again what it had just started (20.10), and
/// somebody may stop or remove a container by hand. One that the engine took back without its network is made again.
async fn keep_up(context: &StepContext, waiting: &[(ServiceName, u32)]) -> Result<(), StepError> {
    let mut up = Vec::new();
    for container in context.observed().await?.containers {
        let Some(service) = container.labels.as_ref().and_then(|labels| labels.service.clone()) else { continue };
        if !waiting.iter().any(|(name, _)| *name == service) {
            continue;
        }
        let restarts = context.parts.backend.inspect(&container.id).await?.map_or(0, |container| container.restart_count);
        if restarts >= RESTARTS_MAX {
            let message = format!("{service} ended {restarts} times right after its start");
            return Err(StepError::permanent("service_crashes", message).of(&service));
        }
        if container.is_cut_off() {
            let grace_s = context.set.spec.service(&service).map_or(0, |spec| spec.stop_grace_s);
            remove(context, container.id, grace_s).await?;
        } else if !matches!(container.state, ContainerState::Created | ContainerState::Exited { .. }) {
            up.push(service);
        }
    }
    let down = waiting.iter().map(|(service, _)| service).filter(|service| !up.contains(service));
    let down: Vec<ServiceName> = down.cloned().collect();
    if down.is_empty() { Ok(()) } else { bring_up(context, &down).await }
}

fn not_healthy(service: &ServiceName, seen: &Observation, limit: Duration) -> StepError {
    let message = format!("{service} did not become healthy within {} s: {}", limit.as_secs(), seen.reason);
    StepError::new(ErrorClass::Permanent, "not_healthy", message).of(service)
}

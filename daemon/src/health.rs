//! Watches active projects: asks the probe hook about each service in turn, spread over the interval, and says
//! unhealthy only after several failures in a row. A project is ACTIVE_UNHEALTHY while one of its services is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{Project, ProjectRef, ProjectStatus, ServiceName, ServiceState};
use crate::lifecycle::{Lifecycle, Parts, probing};
use crate::store::{ListFilter, Observation, StoreError};

/// Projects looked at per round; more are paged.
const PAGE: u32 = 200;

/// Failed looks in a row, per service.
type Failures = BTreeMap<(ProjectRef, ServiceName), u32>;

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    let parts = lifecycle.parts().clone();
    let interval = Duration::from_secs(parts.config.limits.probe_interval_s);
    let mut failures = Failures::new();
    loop {
        let begun = tokio::time::Instant::now();
        let round = async {
            match active(&parts).await {
                Ok(projects) => watch(&lifecycle, &projects, &mut failures, interval).await,
                Err(error) => tracing::warn!(%error, "active projects cannot be read"),
            }
            tokio::time::sleep_until(begun + interval).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

async fn active(parts: &Parts) -> Result<Vec<Project>, StoreError> {
    let mut projects = Vec::new();
    for status in [ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy] {
        let mut filter = ListFilter { status: Some(status), limit: PAGE, ..ListFilter::default() };
        loop {
            let page = parts.store.projects(&filter).await?;
            projects.extend(page.projects);
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
    }
    Ok(projects)
}

/// One look at every service, evenly spread over the first half of the interval.
async fn watch(lifecycle: &Lifecycle, projects: &[Project], failures: &mut Failures, interval: Duration) {
    failures.retain(|(project, _), _| projects.iter().any(|active| active.id == *project));
    let Ok(pause) = u32::try_from(projects.len()).map(|count| interval / 2 / count.max(1)) else { return };
    for project in projects {
        if let Err(error) = look(lifecycle, project, failures, pause).await {
            tracing::debug!(project.id = %project.id, %error, "a project could not be looked at");
        }
    }
}

async fn look(lifecycle: &Lifecycle, project: &Project, failures: &mut Failures, pause: Duration) -> anyhow::Result<()> {
    let parts = lifecycle.parts();
    let set = parts
        .templates
        .set(&project.template_set)
        .map_err(|_| anyhow::anyhow!("template set {} is gone", project.template_set))?;
    let secrets = Arc::new(lifecycle.secrets(&project.id).await?);
    let reach = Arc::new(parts.reach.project(&project.id, &set.spec, secrets));
    let pause = pause / u32::try_from(set.spec.services.len())?.max(1);
    let mut states = Vec::new();
    for service in &set.spec.services {
        let seen = probing::probe(parts, &set, &project.id, &service.name, reach.clone()).await?;
        let failed = failures.entry((project.id.clone(), service.name.clone())).or_default();
        let seen = steady(seen, failed, parts.config.limits.unhealthy_after);
        states.push(seen.state);
        if parts.store.observe(&project.id, &seen).await? {
            parts.announcer.health(&project.id, service.name.as_str(), seen.state.as_str(), &seen.reason).await;
        }
        tokio::time::sleep(pause).await;
    }
    let status = overall(&states);
    if parts.store.set_active_status(&project.id, status, parts.clock.now()).await? {
        tracing::info!(project.id = %project.id, status = status.as_str(), "status changed");
        parts.announcer.status(&project.id, status, "").await;
    }
    Ok(())
}

/// A failure counts only after so many in a row: until then the service keeps its good name, with the reason.
fn steady(mut seen: Observation, failed: &mut u32, unhealthy_after: u32) -> Observation {
    match seen.state {
        ServiceState::Healthy => *failed = 0,
        ServiceState::Unknown => {}
        ServiceState::Starting | ServiceState::Unhealthy => {
            *failed = failed.saturating_add(1);
            seen.state = if *failed >= unhealthy_after { ServiceState::Unhealthy } else { ServiceState::Healthy };
        }
    }
    seen
}

/// Unknown is not down: only a service that is known to be unhealthy makes the project unhealthy.
fn overall(states: &[ServiceState]) -> ProjectStatus {
    if states.contains(&ServiceState::Unhealthy) { ProjectStatus::ActiveUnhealthy } else { ProjectStatus::ActiveHealthy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: ServiceState) -> Observation {
        let service = ServiceName::parse("db").expect("a name");
        Observation {
            service,
            state,
            reason: String::new(),
            endpoint: String::new(),
            latency_ms: 1,
            container_id: None,
            since: 0,
            observed_at: 0,
        }
    }

    #[test]
    fn one_failure_is_not_unhealthy_and_one_success_clears_the_count() {
        let mut failed = 0;
        let states: Vec<ServiceState> = [
            ServiceState::Unhealthy,
            ServiceState::Unhealthy,
            ServiceState::Healthy,
            ServiceState::Unhealthy,
            ServiceState::Starting,
            ServiceState::Unhealthy,
        ]
        .map(|state| steady(seen(state), &mut failed, 3).state)
        .to_vec();
        assert_eq!(states[..5], [ServiceState::Healthy; 5]);
        assert_eq!(states[5], ServiceState::Unhealthy);
    }

    #[test]
    fn unknown_is_not_down() {
        assert_eq!(steady(seen(ServiceState::Unknown), &mut 99, 3).state, ServiceState::Unknown);
        assert_eq!(overall(&[ServiceState::Healthy, ServiceState::Unknown]), ProjectStatus::ActiveHealthy);
        assert_eq!(overall(&[ServiceState::Healthy, ServiceState::Unhealthy]), ProjectStatus::ActiveUnhealthy);
    }
}

//! What happened behind the daemon's back: containers that are gone, stopped or without their ports under an active
//! project, containers that run under a paused one. The listing decides; the difference becomes an operation, which is
//! carried out and recorded like any other. A container that the engine itself is starting again is left to it.

use std::collections::{BTreeMap, VecDeque};

use super::{Lifecycle, LifecycleError, Parts, RECONCILER, lost};
use crate::backend::{ContainerState, Observed, ObservedContainer};
use crate::domain::{Project, ProjectRef, ProjectStatus, ServiceName, ServiceState, TemplateSet, UnixMillis};
use crate::store::{Observation, StoreError};

const HOUR_MS: i64 = 3_600_000;
/// First pause between two repairs of one project; it doubles with each that did not hold.
const PAUSE_MS: i64 = 5_000;
/// A repair held when none was needed for this long after it: Kubernetes forgets a crash loop after as much.
const HELD_MS: i64 = 600_000;

/// When each project was repaired within the last hour.
#[derive(Default)]
pub(super) struct Repairs(BTreeMap<ProjectRef, VecDeque<UnixMillis>>);

impl Repairs {
    /// Whether another one is due: not before the pause, and not more than so many in an hour.
    fn may(&mut self, project: &ProjectRef, now: UnixMillis, per_hour: u32) -> May {
        let past = self.0.entry(project.clone()).or_default();
        while past.front().is_some_and(|at| now - at >= HOUR_MS) {
            past.pop_front();
        }
        let pause = PAUSE_MS << did_not_hold(past, now).min(8);
        match past.back() {
            _ if past.len() >= per_hour as usize => May::NotThisHour,
            Some(last) if now - last < pause => May::NotYet,
            _ => May::Now,
        }
    }

    fn note(&mut self, project: &ProjectRef, now: UnixMillis) {
        self.0.entry(project.clone()).or_default().push_back(now);
    }

    /// The last one went on until then: the pause begins there.
    fn lasted(&mut self, project: &ProjectRef, until: UnixMillis) {
        if let Some(last) = self.0.get_mut(project).and_then(VecDeque::back_mut) {
            *last = (*last).max(until);
        }
    }
}

/// How many of the last ones were needed soon after one another.
fn did_not_hold(past: &VecDeque<UnixMillis>, now: UnixMillis) -> usize {
    let next = past.iter().rev().scan(now, |next, at| Some(std::mem::replace(next, *at)));
    past.iter().rev().zip(next).take_while(|(at, next)| next - *at < HELD_MS).count()
}

#[derive(Debug, PartialEq, Eq)]
enum May {
    Now,
    NotYet,
    NotThisHour,
}

/// One look over a full listing.
pub(super) async fn look(lifecycle: &Lifecycle, observed: &Observed, repairs: &mut Repairs, kept: &mut lost::Kept) {
    let mut containers: BTreeMap<&ProjectRef, Vec<&ObservedContainer>> = BTreeMap::new();
    for container in &observed.containers {
        if let Some(labels) = &container.labels {
            containers.entry(&labels.project).or_default().push(container);
        }
    }
    let kept_up = [ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy, ProjectStatus::Paused];
    let projects = match lifecycle.parts.store.projects_in(&kept_up).await {
        Ok(projects) => projects,
        Err(error) => {
            tracing::warn!(%error, "the reconciler cannot read the store");
            return;
        }
    };
    for project in projects {
        lost::keep(&lifecycle.parts, &project, kept).await;
        let there = containers.get(&project.id).map(Vec::as_slice).unwrap_or_default();
        if let Err(error) = put_right(lifecycle, &project, there, repairs).await {
            tracing::debug!(project.id = %project.id, %error, "not put right yet");
        }
    }
}

async fn put_right(
    lifecycle: &Lifecycle,
    project: &Project,
    there: &[&ObservedContainer],
    repairs: &mut Repairs,
) -> Result<(), LifecycleError> {
    let parts = &lifecycle.parts;
    if project.status == ProjectStatus::Paused {
        return keep_paused(lifecycle, project, there, repairs).await;
    }
    let Ok(set) = parts.set_of(project) else { return Ok(()) };
    if differences(&set.spec, project, there).is_empty() {
        return wake_what_hangs(lifecycle, project, &set.spec, there, repairs).await;
    }
    // The listing may be older than the end of the project's last operation: what is done is decided by a fresh one.
    let fresh = parts.backend.list_project(&parts.installation, &project.id).await?;
    let still = parts.store.project(&project.id).await?.filter(|now| now.status.is_active());
    let (Some(project), fresh) = (&still, fresh.containers.iter().collect::<Vec<_>>()) else { return Ok(()) };
    let wrong = differences(&set.spec, project, &fresh);
    if wrong.is_empty() {
        return Ok(());
    }
    for (service, what) in &wrong {
        show(parts, project, service, what).await?;
    }
    let (service, what) = &wrong[0];
    if !is_due(parts, project, repairs).await? {
        return Ok(());
    }
    let accepted = match what {
        // A start maps the ports anew, and only a stopped container can be started.
        Wrong::PortsLost | Wrong::CutOff => lifecycle.restart(project, &[service.to_string()], RECONCILER).await,
        _ => lifecycle.repair(project).await,
    };
    accepted?;
    repairs.note(&project.id, parts.clock.now());
    tracing::info!(project.id = %project.id, service = service.as_str(), what = what.as_str(), "put right what happened behind our back");
    Ok(())
}

/// A service whose container runs and that has not answered for long is restarted: the first one in the start order, for
/// what waits for it may only suffer with it.
async fn wake_what_hangs(
    lifecycle: &Lifecycle,
    project: &Project,
    set: &TemplateSet,
    there: &[&ObservedContainer],
    repairs: &mut Repairs,
) -> Result<(), LifecycleError> {
    let parts = &lifecycle.parts;
    let after_ms = i64::try_from(parts.config.limits.heal_after_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    if project.status != ProjectStatus::ActiveUnhealthy || after_ms == 0 {
        return Ok(());
    }
    let seen = parts.observations(&project.id).await?;
    let since = parts.clock.now() - after_ms;
    let Some(service) = hanging(set, there, &seen, since) else { return Ok(()) };
    // What waits for a service that was just restarted has as long to come back as it had to hang.
    let last = parts.store.operations_of(&project.id, 1).await?;
    if last.first().and_then(|last| last.ended_at).is_some_and(|ended| ended > since) {
        return Ok(());
    }
    if !is_due(parts, project, repairs).await? {
        return Ok(());
    }
    lifecycle.restart(project, &[service.to_string()], RECONCILER).await?;
    repairs.note(&project.id, parts.clock.now());
    tracing::info!(project.id = %project.id, service = service.as_str(), "restarted what has not answered for long");
    Ok(())
}

fn hanging(set: &TemplateSet, there: &[&ObservedContainer], seen: &[Observation], since: UnixMillis) -> Option<ServiceName> {
    // One that somebody has paused by hand is left alone: no start brings it back, and he has his reasons.
    let runs = |name: &ServiceName| {
        there.iter().any(|container| {
            container.labels.as_ref().and_then(|labels| labels.service.as_ref()) == Some(name)
                && container.state == ContainerState::Running
        })
    };
    let hangs = |name: &ServiceName| {
        let unhealthy =
            |look: &&Observation| look.service == *name && look.state == ServiceState::Unhealthy && look.since <= since;
        runs(name) && seen.iter().any(|look| unhealthy(&look))
    };
    set.waves().ok()?.into_iter().flatten().find(hangs)
}

/// Whether the daemon may do something to the project of its own accord now.
async fn is_due(parts: &Parts, project: &Project, repairs: &mut Repairs) -> Result<bool, StoreError> {
    let last = parts.store.operations_of(&project.id, 1).await?;
    if let Some(ended) = last.first().filter(|last| last.requested_by == RECONCILER).and_then(|last| last.ended_at) {
        repairs.lasted(&project.id, ended);
    }
    let may = repairs.may(&project.id, parts.clock.now(), parts.config.limits.repairs_per_hour);
    if may == May::NotThisHour {
        tracing::debug!(project.id = %project.id, "repaired too often this hour");
    }
    Ok(may == May::Now)
}

async fn keep_paused(
    lifecycle: &Lifecycle,
    project: &Project,
    there: &[&ObservedContainer],
    repairs: &mut Repairs,
) -> Result<(), LifecycleError> {
    let parts = &lifecycle.parts;
    let runs = |container: &ObservedContainer| matches!(container.state, ContainerState::Running | ContainerState::Restarting);
    if !there.iter().any(|container| runs(container)) {
        return Ok(());
    }
    let fresh = parts.backend.list_project(&parts.installation, &project.id).await?;
    let now = parts.clock.now();
    if !fresh.containers.iter().any(runs) || repairs.may(&project.id, now, parts.config.limits.repairs_per_hour) != May::Now {
        return Ok(());
    }
    lifecycle.keep_paused(project).await?;
    repairs.note(&project.id, now);
    tracing::info!(project.id = %project.id, "containers of a paused project run; they are stopped again");
    Ok(())
}

/// What is wrong with a service's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Gone,
    Stopped,
    PortsLost,
    CutOff,
}

impl Wrong {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "its container is gone",
            Self::Stopped => "its container does not run",
            Self::PortsLost => "its container runs without its published port",
            Self::CutOff => "its container runs without its network",
        }
    }
}

/// Ports and networks come last: whatever else is wrong is put right first.
fn differences(set: &TemplateSet, project: &Project, there: &[&ObservedContainer]) -> Vec<(ServiceName, Wrong)> {
    let mut wrong = Vec::new();
    for service in &set.services {
        let of = |container: &&&ObservedContainer| {
            container.labels.as_ref().and_then(|labels| labels.service.as_ref()) == Some(&service.name)
        };
        let Some(container) = there.iter().find(of) else {
            wrong.push((service.name.clone(), Wrong::Gone));
            continue;
        };
        let ports = set.ports.iter().filter(|port| port.service == service.name);
        let mut wanted = ports.filter_map(|port| project.port(&port.name));
        match container.state {
            ContainerState::Running if container.is_cut_off() => wrong.push((service.name.clone(), Wrong::CutOff)),
            ContainerState::Running if wanted.all(|port| container.published.contains(&port)) => {}
            ContainerState::Running => wrong.push((service.name.clone(), Wrong::PortsLost)),
            ContainerState::Restarting => {}
            // Frozen by somebody's hand: a start is refused; the probes say how it does.
            ContainerState::Other(ref word) if word == "paused" => {}
            _ => wrong.push((service.name.clone(), Wrong::Stopped)),
        }
    }
    wrong.sort_by_key(|(_, what)| matches!(what, Wrong::PortsLost | Wrong::CutOff));
    wrong
}

/// A container that does not run is seen at once, before any probe.
async fn show(parts: &Parts, project: &Project, service: &ServiceName, what: &Wrong) -> Result<(), StoreError> {
    let now = parts.clock.now();
    let seen = Observation {
        service: service.clone(),
        state: ServiceState::Unhealthy,
        reason: what.as_str().to_owned(),
        endpoint: String::new(),
        latency_ms: 0,
        container_id: None,
        since: now,
        observed_at: now,
    };
    parts.saw(&project.id, seen).await?;
    parts.announcer.stands(&project.id, ProjectStatus::ActiveUnhealthy, &format!("{service}: {}", what.as_str())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_pause_longer_each_time_and_stop_for_the_hour() {
        let project = ProjectRef::parse(&"a".repeat(20)).expect("a ref");
        let mut repairs = Repairs::default();
        let mut at = 0;
        for number in 0..3 {
            assert_eq!(repairs.may(&project, at, 3), May::Now, "number {number}");
            repairs.note(&project, at);
            assert_eq!(repairs.may(&project, at + 9_000, 9), May::NotYet, "number {number}");
            at += 100_000;
        }
        assert_eq!(repairs.may(&project, at, 3), May::NotThisHour);
        repairs.lasted(&project, at - 1);
        assert_eq!(repairs.may(&project, at, 9), May::NotYet, "the pause begins when the last one has ended");
        assert_eq!(repairs.may(&project, HOUR_MS + 1, 3), May::Now, "the first has left the hour");

        let mut repairs = Repairs::default();
        [0, 1, 2, 2 + HELD_MS].into_iter().for_each(|at| repairs.note(&project, at));
        assert_eq!(repairs.may(&project, 2 + HELD_MS + 9_999, 9), May::NotYet);
        assert_eq!(repairs.may(&project, 2 + HELD_MS + 10_000, 9), May::Now, "those before the last one held");
    }

    #[test]
    fn what_hangs_is_the_first_that_runs_and_has_been_unhealthy_for_long() {
        let templates =
            crate::templates::Templates::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../templates")));
        let set = templates.expect("the templates").set("lean").expect("a set");
        let name = |text: &str| ServiceName::parse(text).expect("a name");
        let container = |service: &str, state| ObservedContainer {
            id: String::new(),
            name: String::new(),
            labels: Some(crate::backend::Labels {
                installation: crate::domain::InstallationId::parse(&"0".repeat(32)).expect("an id"),
                project: ProjectRef::parse(&"a".repeat(20)).expect("a ref"),
                service: Some(name(service)),
                generation: 1,
                operation: crate::domain::OperationId::parse(&format!("op_{}", "0".repeat(24))).expect("an id"),
                spec_hash: String::new(),
            }),
            state,
            restart_count: 0,
            health: crate::backend::EngineHealth::None,
            address: Some(std::net::Ipv4Addr::LOCALHOST),
            published: Vec::new(),
            ended: None,
            fresh: false,
        };
        let look = |service: &str, state, since| Observation {
            service: name(service),
            state,
            reason: String::new(),
            endpoint: String::new(),
            latency_ms: 0,
            container_id: None,
            since,
            observed_at: 100,
        };
        let running = [container("db", ContainerState::Running), container("rest", ContainerState::Running)];
        let there: Vec<&ObservedContainer> = running.iter().collect();
        let unhealthy = |service, since| look(service, ServiceState::Unhealthy, since);
        let hangs = |seen: &[Observation]| hanging(&set.spec, &there, seen, 50).map(|name| name.to_string());
        assert_eq!(hangs(&[unhealthy("rest", 10), unhealthy("db", 20)]).as_deref(), Some("db"), "the first in the order");
        assert_eq!(
            hangs(&[unhealthy("rest", 10), unhealthy("db", 60)]).as_deref(),
            Some("rest"),
            "the other not for long enough"
        );
        assert_eq!(hangs(&[look("db", ServiceState::Unknown, 10), unhealthy("auth", 10)]), None, "unknown, and not running");
    }
}

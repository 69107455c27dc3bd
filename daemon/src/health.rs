//! Watches active projects: asks the probe hook about each service, spread over the interval. Some failures in a row make
//! a service unhealthy, some successes healthy again. A project is ACTIVE_UNHEALTHY while one of its services is.
//!
//! Suspects come first: a project with a service that failed is looked at as its round begins, and not in its turn. What
//! hangs is seen when its last look has reached its deadline, and the turns that are saved pay for that wait.
//!
//! Nobody waits for another's answer: fifty services that hang, seconds each, would keep the rest from being looked at.

mod steady;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::domain::{Project, ProjectRef, ServiceName, ServiceState};
use crate::lifecycle::{Lifecycle, probing};
use crate::reach::ProjectReach;
use crate::store::Observation;
use steady::{Steady, Takes, overall};

/// What is kept of a project from one round to the next.
struct Watched {
    /// The ways to its services are those of this generation.
    generation: i64,
    reach: Arc<ProjectReach>,
    services: Mutex<BTreeMap<ServiceName, Steady>>,
}

/// Looks at once: what hangs takes its deadline, and sockets are not without end.
const AT_ONCE: usize = 64;
/// What a look that hangs takes: the shipped probe's deadline, three seconds, and a little.
const HANGS: Duration = Duration::from_millis(3_500);
/// From the beginning of a round to its first turn: so much sooner is a suspect's last look over.
const HEAD_START: Duration = Duration::from_millis(2_250);

impl Watched {
    fn is_suspect(&self) -> bool {
        self.held(|services| services.values().any(Steady::is_suspect))
    }

    fn held<T>(&self, work: impl FnOnce(&mut BTreeMap<ServiceName, Steady>) -> T) -> T {
        work(&mut self.services.lock().unwrap_or_else(|poison| poison.into_inner()))
    }
}

type Everyone = BTreeMap<ProjectRef, Watched>;

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    let parts = lifecycle.parts().clone();
    let interval = Duration::from_secs(parts.config.limits.probe_interval_s);
    let mut everyone = Everyone::new();
    loop {
        let begun = tokio::time::Instant::now();
        let round = async {
            match parts.store.active_projects().await {
                Ok(projects) => watch(&lifecycle, &projects, &mut everyone, interval).await,
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

/// When the first turn of a round comes, and how long turns go on: what hangs in the last one is over, where the interval
/// allows it, before the next round begins.
fn spread(interval: Duration) -> (Duration, Duration) {
    let first = HEAD_START.min(interval * 3 / 8);
    let last = (interval / 2).max(interval.saturating_sub(HANGS));
    (first, last - first)
}

/// One look at every service: suspects now, all others evenly spread.
async fn watch(lifecycle: &Lifecycle, projects: &[Project], everyone: &mut Everyone, interval: Duration) {
    let active: BTreeSet<&ProjectRef> = projects.iter().map(|project| &project.id).collect();
    everyone.retain(|project, _| active.contains(project));
    for project in projects {
        if let Err(error) = know(lifecycle, project, everyone).await {
            tracing::debug!(project.id = %project.id, %error, "a project cannot be looked at");
        }
    }
    let (first, span) = spread(interval);
    let Ok(pause) = u32::try_from(projects.len()).map(|count| span / count.max(1)) else { return };
    let turns = Semaphore::new(AT_ONCE);
    let (everyone, turns) = (&*everyone, &turns);
    let looks = projects.iter().zip(0_u32..).filter_map(|(project, number)| {
        let watched = everyone.get(&project.id)?;
        let (wait, pause) = if watched.is_suspect() { Default::default() } else { (first + pause * number, pause) };
        Some(async move {
            tokio::time::sleep(wait).await;
            if let Err(error) = look(lifecycle, project, watched, pause, turns).await {
                tracing::debug!(project.id = %project.id, %error, "a project could not be looked at");
            }
        })
    });
    join_all(looks).await;
}

/// The ways to a project's services, found once per generation.
async fn know(lifecycle: &Lifecycle, project: &Project, everyone: &mut Everyone) -> anyhow::Result<()> {
    if everyone.get(&project.id).is_some_and(|watched| watched.generation == project.generation) {
        return Ok(());
    }
    let parts = lifecycle.parts();
    let set = parts.set_of(project)?;
    let secrets = Arc::new(lifecycle.secrets(&project.id).await?);
    let reach = parts.reach.project(&project.id, &set.spec, secrets);
    let reach = Arc::new(reach.with_containers(lifecycle.containers_last_listed(&project.id)));
    let watched = Watched { generation: project.generation, reach, services: Mutex::default() };
    everyone.insert(project.id.clone(), watched);
    Ok(())
}

async fn look(
    lifecycle: &Lifecycle,
    project: &Project,
    watched: &Watched,
    pause: Duration,
    turns: &Semaphore,
) -> anyhow::Result<()> {
    let parts = lifecycle.parts();
    let limits = &parts.config.limits;
    let takes = Takes { down: limits.unhealthy_after, up: limits.healthy_after };
    let set = parts.set_of(project)?;
    let pause = pause / u32::try_from(set.spec.services.len())?.max(1);
    let said = |service: &ServiceName| parts.seen.state(&project.id, service);
    // What was said before the start is in the store alone, until the first look.
    let all_said = set.spec.services.iter().all(|service| said(&service.name).is_some());
    let before = if all_said { Vec::new() } else { parts.observations(&project.id).await? };
    let (parts, set, before) = (&parts, &set, &before);
    let looks = set.spec.services.iter().zip(0_u32..).map(|(service, number)| async move {
        tokio::time::sleep(pause * number).await;
        let turn = turns.acquire().await?;
        let mut seen = probing::probe(parts, set, (&project.id, &project.plugins), &service.name, watched.reach.clone()).await?;
        drop(turn);
        // Read after the probe: its container may have been seen to end meanwhile.
        let written = parts.seen.state(&project.id, &service.name).or_else(|| state_of(before, &service.name));
        seen.state = watched.held(|services| services.entry(service.name.clone()).or_default().look(written, seen.state, takes));
        Ok::<bool, anyhow::Error>(parts.saw(&project.id, seen).await?)
    });
    let changes = join_all(looks).await.into_iter().collect::<anyhow::Result<Vec<bool>>>()?;
    // Most looks see what the one before saw. Whoever says something else meanwhile says it in memory too.
    let states: Option<Vec<ServiceState>> =
        watched.held(|held| set.spec.services.iter().map(|s| Some(standing(said(&s.name)?, held.get(&s.name)))).collect());
    if !changes.contains(&true) && states.is_some_and(|states| overall(project.status, &states) == project.status) {
        return Ok(());
    }
    // The looks took a while: what is said by now decides, whoever said it.
    let now = parts.observations(&project.id).await?;
    let states: Vec<ServiceState> =
        watched.held(|held| set.spec.services.iter().map(|s| known(&now, held.get(&s.name), &s.name)).collect());
    let Some(project) = parts.store.project(&project.id).await?.filter(|project| project.status.is_active()) else {
        return Ok(());
    };
    let status = overall(project.status, &states);
    if status != project.status && parts.announcer.stands(&project.id, status, &why(&now)).await? {
        tracing::info!(project.id = %project.id, status = status.as_str(), "status changed");
    }
    Ok(())
}

fn state_of(seen: &[Observation], service: &ServiceName) -> Option<ServiceState> {
    seen.iter().find(|seen| seen.service == *service).map(|seen| seen.state)
}

/// A service that nobody could look at is not healthy again, and unhealthy if it was.
fn known(seen: &[Observation], held: Option<&Steady>, service: &ServiceName) -> ServiceState {
    standing(state_of(seen, service).unwrap_or(ServiceState::Unknown), held)
}

fn standing(said: ServiceState, held: Option<&Steady>) -> ServiceState {
    match (said, held.map(Steady::standing)) {
        (ServiceState::Unknown, Some(ServiceState::Unhealthy)) => ServiceState::Unhealthy,
        (state, _) => state,
    }
}

/// The first service that is unhealthy, with its reason.
fn why(seen: &[Observation]) -> String {
    let unhealthy = seen.iter().find(|seen| seen.state == ServiceState::Unhealthy);
    unhealthy.map(|seen| format!("{}: {}", seen.service, seen.reason)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_leave_room_before_them_for_suspects_and_behind_them_for_what_hangs() {
        let seconds = |interval: u64| {
            let (first, span) = spread(Duration::from_secs(interval));
            (first.as_secs_f64(), (first + span).as_secs_f64())
        };
        assert_eq!([1, 6, 10, 60].map(seconds), [(0.375, 0.5), (2.25, 3.0), (2.25, 6.5), (2.25, 56.5)]);
    }

    #[test]
    fn a_service_nobody_can_look_at_stays_what_it_was() {
        let name = ServiceName::parse("db").expect("a name");
        let seen = |state| Observation {
            service: name.clone(),
            state,
            reason: "why".to_owned(),
            endpoint: String::new(),
            latency_ms: 1,
            container_id: None,
            since: 0,
            observed_at: 0,
        };
        let mut held = Steady::default();
        held.look(Some(ServiceState::Unhealthy), ServiceState::Unknown, Takes { down: 3, up: 2 });
        let unknown = [seen(ServiceState::Unknown)];
        assert_eq!(known(&unknown, Some(&held), &name), ServiceState::Unhealthy);
        assert_eq!(known(&unknown, None, &name), ServiceState::Unknown);
        assert_eq!(known(&[], Some(&Steady::default()), &name), ServiceState::Unknown);
        assert_eq!((why(&unknown), why(&[seen(ServiceState::Unhealthy)])), (String::new(), "db: why".to_owned()));
    }
}

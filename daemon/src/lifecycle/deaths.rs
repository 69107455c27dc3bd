//! Containers that ended and that the engine started again before anybody could see them down. Nothing has to be put
//! right, and still somebody should hear of it: a service that ends every minute looks healthy in between.
//!
//! A listing shows which containers were started just now; those are inspected, and an end that is later than the
//! project's last operation was not ours. Nothing is read from the engine's events: they only wake.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use super::Parts;
use crate::backend::{Ended, Observed, ObservedContainer};
use crate::clock::rfc3339;
use crate::domain::{ProjectRef, ServiceName, ServiceState, UnixMillis};
use crate::store::{Observation, StoreError};

/// Containers inspected at once.
const AT_ONCE: usize = 8;
/// Between two events of one service that goes on ending: its observation has the newest count meanwhile.
const TELL_EVERY_MS: i64 = 30_000;

/// What is known of one container's ends.
#[derive(Clone, Copy)]
struct Known {
    ended_at: UnixMillis,
    told_at: UnixMillis,
}

/// The ends that were seen so far, by container id.
pub(super) struct Deaths {
    /// Earlier ends are not news.
    since: UnixMillis,
    known: BTreeMap<String, Known>,
}

impl Deaths {
    /// Ends from now on are news.
    pub(super) fn since(now: UnixMillis) -> Self {
        Self { since: now, known: BTreeMap::new() }
    }

    /// One look over a full listing.
    pub(super) async fn look(&mut self, parts: &Parts, observed: &Observed) {
        self.known.retain(|id, _| observed.containers.iter().any(|container| container.id == *id));
        let mut settled: BTreeMap<ProjectRef, Option<UnixMillis>> = BTreeMap::new();
        let mut fresh = Vec::new();
        for container in observed.containers.iter().filter(|container| container.fresh) {
            let Some((project, service)) = container.labels.as_ref().and_then(|l| Some((&l.project, l.service.as_ref()?))) else {
                continue;
            };
            if !settled.contains_key(project) {
                settled.insert(project.clone(), settled_at(parts, project).await.unwrap_or_default());
            }
            if let Some(since) = settled.get(project).copied().flatten() {
                fresh.push((container.id.clone(), project.clone(), service.clone(), since));
            }
        }
        let looks = stream::iter(fresh).map(|(id, project, service, since)| async move {
            let now = parts.backend.inspect(&id).await.ok().flatten();
            now.map(|container| (container, project, service, since))
        });
        let seen: Vec<_> = looks.buffer_unordered(AT_ONCE).collect().await;
        for (container, project, service, since) in seen.into_iter().flatten() {
            if let Some(ended) = self.news(&container, since)
                && let Err(error) = self.tell(parts, &project, &service, &container, ended).await
            {
                tracing::warn!(project.id = %project, %error, "the end of a container could not be kept");
            }
        }
    }

    /// An end that nobody has heard of and that no operation of ours has brought about.
    fn news(&mut self, container: &ObservedContainer, settled_at: UnixMillis) -> Option<Ended> {
        let ended = container.ended?;
        let known = self.known.get(&container.id).map_or(self.since, |known| known.ended_at);
        (ended.at > known && ended.at > settled_at).then_some(ended)
    }

    async fn tell(
        &mut self,
        parts: &Parts,
        project: &ProjectRef,
        service: &ServiceName,
        container: &ObservedContainer,
        ended: Ended,
    ) -> Result<(), StoreError> {
        let now = parts.clock.now();
        // Down is down: that it was started once more does not make it any better.
        let state = match parts.seen.state(project, service) {
            Some(ServiceState::Unhealthy) => ServiceState::Unhealthy,
            _ => ServiceState::Starting,
        };
        let seen = Observation {
            service: service.clone(),
            state,
            reason: reason(container.restart_count, ended),
            endpoint: String::new(),
            latency_ms: 0,
            container_id: Some(container.id.clone()),
            since: now,
            observed_at: now,
        };
        let mut told_at = self.known.get(&container.id).map_or(0, |known| known.told_at);
        let changed = parts.saw(project, seen.clone()).await?;
        if !changed && now - told_at >= TELL_EVERY_MS {
            parts.announcer.health(project, service.as_str(), state.as_str(), &seen.reason).await;
        }
        if changed || now - told_at >= TELL_EVERY_MS {
            told_at = now;
            tracing::info!(project.id = %project, service = service.as_str(), reason = seen.reason, "a container ended and runs again");
        }
        self.known.insert(container.id.clone(), Known { ended_at: ended.at, told_at });
        Ok(())
    }
}

/// Since when the project is left to itself: the end of its last operation. `None` while one is under way, or when it
/// should not run.
async fn settled_at(parts: &Parts, project: &ProjectRef) -> Result<Option<UnixMillis>, StoreError> {
    let active = parts.store.project(project).await?.is_some_and(|project| project.status.is_active());
    if !active || parts.running.word(project).is_some() {
        return Ok(None);
    }
    let last = parts.store.operations_of(project, 1).await?;
    Ok(last.first().and_then(|operation| operation.ended_at))
}

/// The count is the engine's own, from the last start that somebody asked for.
fn reason(restarts: i64, ended: Ended) -> String {
    let mut words = match restarts {
        0 => "started again from outside".to_owned(),
        1 => "restarted once".to_owned(),
        many => format!("restarted {many} times"),
    };
    words.push_str(&format!(", last ended at {}", rfc3339(ended.at)));
    if let Some(code) = ended.code {
        words.push_str(&format!(", exit code {code}"));
    }
    if ended.oom_killed {
        words.push_str(", out of memory");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{ContainerState, EngineHealth};

    fn container(ended: Option<i64>) -> ObservedContainer {
        ObservedContainer {
            id: "c1".to_owned(),
            name: "name".to_owned(),
            labels: None,
            state: ContainerState::Running,
            restart_count: 1,
            fresh: false,
            ended: ended.map(|at| Ended { at, code: None, oom_killed: false }),
            health: EngineHealth::None,
            address: None,
            published: Vec::new(),
        }
    }

    #[test]
    fn only_an_end_that_is_new_and_not_ours_is_told() {
        let mut deaths = Deaths::since(1_000);
        assert_eq!(deaths.news(&container(None), 0), None, "it never ended");
        assert_eq!(deaths.news(&container(Some(1_000)), 0), None, "before the daemon's own start");
        assert_eq!(deaths.news(&container(Some(2_000)), 2_500), None, "an operation has ended it");
        assert!(deaths.news(&container(Some(3_000)), 2_500).is_some());
        deaths.known.insert("c1".to_owned(), Known { ended_at: 3_000, told_at: 0 });
        assert_eq!(deaths.news(&container(Some(3_000)), 2_500), None, "told already");
        assert!(deaths.news(&container(Some(3_001)), 2_500).is_some());
    }

    #[test]
    fn the_reason_says_how_often_when_and_how() {
        let ended = Ended { at: 1_700_000_000_000, code: Some(137), oom_killed: true };
        assert_eq!(reason(3, ended), "restarted 3 times, last ended at 2023-11-14T22:13:20.000Z, exit code 137, out of memory");
        let ended = Ended { code: None, oom_killed: false, ..ended };
        assert_eq!(reason(0, ended), "started again from outside, last ended at 2023-11-14T22:13:20.000Z");
        assert!(reason(1, ended).starts_with("restarted once,"));
    }
}

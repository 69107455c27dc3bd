//! What active projects use: CPU, memory and network bytes of every service from the engine, storage from the project's
//! folder. Sampled, not streamed: one answer per container every so often, of counters that only rise; what was used is
//! the difference to the sample before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Usage;
use crate::disk::measure;
use crate::domain::{Figure, Project, ProjectRef, ServiceName, UsagePoint, Used};
use crate::lifecycle::Lifecycle;

/// Between two looks for projects that are due: a new one need not wait for a whole round.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Containers asked at once.
const AT_ONCE: usize = 4;
/// Projects at once: the first sample of each is a second of waiting, and after a start all of them are first.
const PROJECTS_AT_ONCE: usize = 64;
/// Between the two readings of a container that was not read before.
const FIRST: Duration = Duration::from_secs(1);
/// Walking a folder may take this part of the time: one in so many.
const WALK_SHARE: u32 = 50;

/// One reading of a container's counters.
#[derive(Clone, Copy)]
struct Reading {
    usage: Usage,
    at: Instant,
}

/// How much lies in a project's folder.
#[derive(Clone, Copy)]
struct Walked {
    bytes: i64,
    at: Instant,
    took: Duration,
}

/// What is kept from one round to the next.
#[derive(Default)]
struct Kept {
    /// By container id.
    readings: HashMap<String, Reading>,
    folders: HashMap<ProjectRef, Walked>,
    /// When each project was last tried.
    tried: HashMap<ProjectRef, Instant>,
}

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    let parts = lifecycle.parts().clone();
    let sampler = Sampler {
        every: Duration::from_secs(parts.config.usage.every_s),
        kept: Mutex::default(),
        turns: Semaphore::new(AT_ONCE),
        lifecycle,
    };
    loop {
        let begun = Instant::now();
        let round = async {
            match parts.store.active_projects().await {
                Ok(projects) => sampler.sample_all(&projects).await,
                Err(error) => tracing::warn!(%error, "active projects cannot be read"),
            }
            tokio::time::sleep_until(begun + LOOK_EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

struct Sampler {
    lifecycle: Lifecycle,
    every: Duration,
    kept: Mutex<Kept>,
    /// For the engine.
    turns: Semaphore,
}

impl Sampler {
    fn held<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(|poison| poison.into_inner()))
    }

    /// One sample of every project that is due. Those of the daemon's start are spread over half the time, and stay so.
    async fn sample_all(&self, projects: &[Project]) {
        let there: BTreeSet<&ProjectRef> = projects.iter().map(|project| &project.id).collect();
        let is_due = |tried: Option<&Instant>| tried.is_none_or(|tried| tried.elapsed() + LOOK_EVERY / 2 > self.every);
        let due: Vec<&Project> = self.held(|kept| {
            kept.folders.retain(|id, _| there.contains(id));
            kept.tried.retain(|id, _| there.contains(id));
            kept.readings.retain(|_, reading| reading.at.elapsed() < self.every * 3);
            projects.iter().filter(|project| is_due(kept.tried.get(&project.id))).collect()
        });
        let (begun, pause) = (Instant::now(), self.every / 2 / u32::try_from(projects.len()).unwrap_or(u32::MAX).max(1));
        let samples = due.into_iter().zip(0_u32..).map(|(project, number)| async move {
            tokio::time::sleep_until(begun + pause * number).await;
            self.held(|kept| kept.tried.insert(project.id.clone(), Instant::now()));
            if let Err(error) = self.sample(project).await {
                tracing::debug!(project.id = %project.id, %error, "usage could not be sampled");
            }
        });
        stream::iter(samples.collect::<Vec<_>>()).buffer_unordered(PROJECTS_AT_ONCE).collect::<()>().await;
    }

    /// One sample of one project. A service that cannot be read spoils it: part of a sum is no sum.
    async fn sample(&self, project: &Project) -> anyhow::Result<()> {
        let parts = self.lifecycle.parts();
        let containers = self.lifecycle.containers_listed(project).await?;
        let ids = || containers.iter().map(|(_, id)| id.clone());
        let unread: Vec<String> = self.held(|kept| ids().filter(|id| !kept.readings.contains_key(id)).collect());
        if !unread.is_empty() {
            let first = self.read(unread).await?;
            self.held(|kept| kept.readings.extend(first));
            tokio::time::sleep(FIRST).await;
        }
        let readings = self.read(ids().collect()).await?;
        let services = self.held(|kept| {
            let mut services: BTreeMap<ServiceName, Used> = BTreeMap::new();
            for (service, id) in &containers {
                let (Some(before), Some(now)) = (kept.readings.get(id), readings.get(id)) else { continue };
                let used = between(&before.usage, &now.usage, now.at.saturating_duration_since(before.at));
                services.insert(service.clone(), used);
            }
            kept.readings.extend(readings);
            services
        });
        let storage = self.storage(project).await?;
        parts.store.keep_usage(&project.id, &UsagePoint::sample(parts.clock.now(), storage, services)).await?;
        Ok(())
    }

    async fn read(&self, ids: Vec<String>) -> anyhow::Result<HashMap<String, Reading>> {
        let readings = stream::iter(ids).map(|id| async move {
            let _turn = self.turns.acquire().await?;
            let usage = self.lifecycle.usage(&id).await?;
            anyhow::Ok((id, Reading { usage, at: Instant::now() }))
        });
        readings.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// A folder of a million files is not walked every minute.
    async fn storage(&self, project: &Project) -> anyhow::Result<i64> {
        let fresh = |walked: &Walked| walked.at.elapsed() < walked.took * WALK_SHARE;
        if let Some(walked) = self.held(|kept| kept.folders.get(&project.id).copied()).filter(fresh) {
            return Ok(walked.bytes);
        }
        let folder = self.lifecycle.parts().project_folder(&project.id);
        let begun = Instant::now();
        let bytes = i64::try_from(tokio::task::spawn_blocking(move || measure(&folder).bytes).await?)?;
        let walked = Walked { bytes, at: Instant::now(), took: begun.elapsed() };
        self.held(|kept| kept.folders.insert(project.id.clone(), walked));
        Ok(bytes)
    }
}

/// Counters begin anew when a container starts: then all that it counts was used since.
fn between(before: &Usage, now: &Usage, wall: Duration) -> Used {
    let rise = |before: u64, now: u64| if now >= before { now - before } else { now };
    let bytes = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let wall_ns = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).max(1);
    let cpu_millis = rise(before.cpu_ns, now.cpu_ns).saturating_mul(1000) / wall_ns;
    Used {
        samples: 1,
        cpu_millis: Figure::once(bytes(cpu_millis)),
        memory_bytes: Figure::once(bytes(now.memory_bytes)),
        rx_bytes: bytes(rise(before.rx_bytes, now.rx_bytes)),
        tx_bytes: bytes(rise(before.tx_bytes, now.tx_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_the_rise_of_the_counters() {
        let usage = |cpu_ns, memory_bytes, rx_bytes, tx_bytes| Usage { cpu_ns, memory_bytes, rx_bytes, tx_bytes };
        let minute = Duration::from_secs(60);
        let used = between(&usage(1_000_000_000, 9, 10, 20), &usage(31_000_000_000, 7, 15, 40), minute);
        assert_eq!((used.cpu_millis.sum, used.memory_bytes.sum, used.rx_bytes, used.tx_bytes), (500, 7, 5, 20));
        // It was started again: its counters began at nothing.
        let used = between(&usage(50_000_000_000, 9, 10, 20), &usage(6_000_000_000, 7, 3, 4), minute);
        assert_eq!((used.cpu_millis.sum, used.rx_bytes, used.tx_bytes), (100, 3, 4));
        assert_eq!(
            between(&usage(0, 0, 0, 0), &usage(1, 0, 0, 0), Duration::ZERO).cpu_millis.sum,
            1000,
            "no division by nothing"
        );
    }
}

//! What active projects use: CPU and memory from the engine, storage from the project's folder. One sample at a
//! time is kept; reads say how old it is.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::domain::{Project, ProjectStatus};
use crate::lifecycle::Lifecycle;
use crate::store::{ListFilter, UsageSample};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(30);
/// Containers sampled at once: each sample takes the engine about a second.
const AT_ONCE: usize = 4;
/// Projects sampled per round.
const PROJECTS: u32 = 200;

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    loop {
        let round = async {
            for status in [ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy] {
                let filter = ListFilter { status: Some(status), limit: PROJECTS, ..ListFilter::default() };
                let projects = lifecycle.parts().store.projects(&filter).await.map(|page| page.projects).unwrap_or_default();
                for project in projects {
                    if let Err(error) = sample(&lifecycle, &project).await {
                        tracing::debug!(project.id = %project.id, %error, "usage could not be sampled");
                    }
                }
            }
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

async fn sample(lifecycle: &Lifecycle, project: &Project) -> anyhow::Result<()> {
    let parts = lifecycle.parts();
    let containers = lifecycle.containers(&project.id).await?;
    let samples = stream::iter(containers).map(|(_, id)| async move { lifecycle.usage(&id).await });
    let samples: Vec<_> = samples.buffer_unordered(AT_ONCE).collect().await;
    let (mut cpu, mut memory) = (0.0, 0_u64);
    for usage in samples.into_iter().flatten() {
        cpu += usage.cpu_cores;
        memory = memory.saturating_add(usage.memory_bytes);
    }
    let folder = parts.project_folder(&project.id);
    let storage = tokio::task::spawn_blocking(move || folder_bytes(&folder)).await?;
    let sample = UsageSample {
        cpu_millis: (cpu * 1000.0) as i64,
        memory_bytes: i64::try_from(memory)?,
        storage_bytes: i64::try_from(storage)?,
        observed_at: parts.clock.now(),
    };
    Ok(parts.store.set_usage(&project.id, sample).await?)
}

/// Bytes allocated under a folder; what may not be read does not count.
fn folder_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().fold(0, |sum, entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => sum + folder_bytes(&entry.path()),
        Ok(metadata) => sum + metadata.blocks() * 512,
        Err(_) => sum,
    })
}

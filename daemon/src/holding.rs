//! Holds active projects to what they may use: measures their storage and puts lost limits right; and looks at the disk
//! they share. A loop of its own, since
//! what fills up is not kept waiting by samples that take the engine seconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::{Measured, measure};
use crate::domain::{Project, ProjectRef};
use crate::lifecycle::Lifecycle;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(30);
/// A folder is measured again after so many times what it took: a large one costs at most a twentieth of the time.
const REST: u32 = 20;

/// What was last measured of each project, and when it may be measured again.
#[derive(Default)]
struct Folders(BTreeMap<ProjectRef, (Instant, Measured)>);

impl Folders {
    async fn measure(&mut self, project: &ProjectRef, folder: PathBuf) -> anyhow::Result<Measured> {
        let begun = Instant::now();
        if let Some((again, measured)) = self.0.get(project)
            && begun < *again
        {
            return Ok(*measured);
        }
        let measured = tokio::task::spawn_blocking(move || measure(&folder)).await?;
        // Those of projects that are gone go too.
        self.0.retain(|_, (again, _)| *again + Duration::from_secs(3600) > begun);
        self.0.insert(project.clone(), (Instant::now() + begun.elapsed() * REST, measured));
        Ok(measured)
    }
}

/// Runs until the stop token falls.
pub async fn run(lifecycle: Lifecycle, stop: CancellationToken) {
    let mut folders = Folders::default();
    let mut disk_is_low = false;
    loop {
        let round = async {
            if let Err(error) = lifecycle.disk_seen(&mut disk_is_low).await {
                tracing::debug!(%error, "news of the disk could not be kept");
            }
            // What the store cannot tell now is looked at in the next round.
            let store = &lifecycle.parts().store;
            let budgeted = store.budgeted().await.unwrap_or_default();
            let projects = store.active_projects().await.unwrap_or_default();
            // Of who is held by nothing no folder is walked.
            for project in projects.iter().filter(|project| is_held(project) || budgeted.contains(&project.id)) {
                if let Err(error) = hold(&lifecycle, project, &mut folders).await {
                    tracing::debug!(project.id = %project.id, %error, "what a project may use could not be looked at");
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

fn is_held(project: &Project) -> bool {
    project.resources.storage.is_some() || !project.resources.limits().is_none()
}

async fn hold(lifecycle: &Lifecycle, project: &Project, folders: &mut Folders) -> anyhow::Result<()> {
    let storage = folders.measure(&project.id, lifecycle.parts().project_folder(&project.id)).await?;
    lifecycle.storage_seen(&project.id, storage.bytes, storage.extent).await?;
    Ok(lifecycle.keep_limits(&project.id).await?)
}

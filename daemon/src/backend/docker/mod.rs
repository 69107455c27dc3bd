//! Docker through its API. bollard lives here and nowhere else.
//!
//! The engine's bad manners (lost replies, names held by half-made objects, removals that go on, errors inside a 200)
//! are met in the file of the object they belong to; the texts it says them in are read in [`errors`] alone. Every
//! call goes through [`DockerBackend::call`], which has the one deadline and the one reconnection.
//!
//! bollard writes request bodies, and with them environments, to the `log` crate at debug and trace level: a bridge
//! from `log` to the daemon's own log has to leave the target `bollard` out.

mod cgroup;
mod connect;
mod containers;
mod create;
mod errors;
mod events;
mod exec;
mod helper;
mod host;
mod images;
mod killed;
mod labels;
mod limits;
mod logs;
mod mounts;
mod networks;
mod observe;
mod stats;
mod volumes;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{
    Backend, Bounds, ContainerSpec, EngineInfo, ExecOutput, ExecRequest, Held, Labels, LogLine, NetworkSpec, Observed,
    ObservedContainer, Progress, Result, Usage, VolumeSpec,
};
use crate::domain::{InstallationId, Limits, ProjectRef, UnixMillis};

pub use connect::{Deadlines, DockerBackend};
pub use host::EngineHost;

#[async_trait]
impl Backend for DockerBackend {
    async fn info(&self) -> Result<EngineInfo> {
        self.engine_info().await
    }

    async fn list(&self, installation: &InstallationId) -> Result<Observed> {
        self.sweep(installation, None).await
    }

    async fn list_project(&self, installation: &InstallationId, project: &ProjectRef) -> Result<Observed> {
        self.sweep(installation, Some(project)).await
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>> {
        self.local_image(reference).await
    }

    async fn pull(&self, reference: &str, no_progress: Duration, progress: Progress<'_>) -> Result<String> {
        self.pull_image(reference, no_progress, progress).await
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String> {
        self.network_there(spec).await
    }

    async fn remove_network(&self, id: &str) -> Result<()> {
        self.network_gone(id).await
    }

    async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()> {
        self.volume_there(spec).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.volume_gone(name).await
    }

    async fn ensure_container(&self, spec: &ContainerSpec<'_>) -> Result<String> {
        self.container_there(spec).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.container_started(id).await
    }

    async fn stop_container(&self, id: &str, grace_s: u32) -> Result<()> {
        self.container_stopped(id, grace_s).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.container_gone(id).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<ObservedContainer>> {
        self.container_now(id).await
    }

    async fn logs(&self, id: &str, tail: u32, since: Option<UnixMillis>) -> Result<Vec<LogLine>> {
        self.last_lines(id, tail, since).await
    }

    async fn follow_logs(&self, id: &str, since: UnixMillis, lines: mpsc::Sender<LogLine>) -> Result<()> {
        self.lines_to_come(id, since, lines).await
    }

    async fn usage(&self, id: &str) -> Result<Usage> {
        self.usage_now(id).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecOutput> {
        self.run_inside(id, request).await
    }

    async fn empty_folder(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()> {
        self.folder_emptied(folder, image, labels).await
    }

    async fn copy_folder(&self, from: &Path, to: &Path, image: &str, labels: &Labels, limit: Duration) -> Result<()> {
        self.folder_copied(from, to, image, labels, limit).await
    }

    async fn ensure_group(&self, project: &ProjectRef, bounds: &Bounds) -> Result<Option<String>> {
        self.group_there(project, bounds).await
    }

    async fn remove_group(&self, project: &ProjectRef) -> Result<()> {
        self.group_gone(project).await
    }

    async fn groups(&self) -> Result<Vec<ProjectRef>> {
        Ok(self.groups_there())
    }

    async fn set_limits(&self, id: &str, limits: &Limits) -> Result<()> {
        self.limits_set(id, limits).await
    }

    async fn held(&self, id: &str) -> Result<Option<Held>> {
        self.held_now(id).await
    }

    async fn changed(&self, installation: &InstallationId) -> Result<()> {
        self.next_event(installation).await
    }
}

//! Docker through its API. bollard lives here and nowhere else.
//!
//! The engine's bad manners (lost replies, names held by half-made objects, removals that go on, errors inside a 200)
//! are met in the file of the object they belong to; the texts it says them in are read in [`errors`] alone. Every
//! call goes through [`DockerBackend::call`], which has the one deadline and the one reconnection.
//!
//! bollard writes request bodies, and with them environments, to the `log` crate at debug and trace level: a bridge
//! from `log` to the daemon's own log has to leave the target `bollard` out.

mod connect;
mod containers;
mod create;
mod errors;
mod events;
mod exec;
mod helper;
mod images;
mod labels;
mod logs;
mod mounts;
mod networks;
mod observe;
mod stats;
mod volumes;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Backend, ContainerSpec, EngineInfo, ExecOutput, ExecRequest, Labels, LogLine, NetworkSpec, Observed, ObservedContainer,
    Progress, Result, Usage, VolumeSpec,
};
use crate::domain::{InstallationId, ProjectRef};

pub use connect::{Deadlines, DockerBackend};

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

    async fn logs(&self, id: &str, tail: u32) -> Result<Vec<LogLine>> {
        self.last_lines(id, tail).await
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

    async fn changed(&self, installation: &InstallationId) -> Result<()> {
        self.next_event(installation).await
    }
}

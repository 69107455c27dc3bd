//! What a container engine must be able to do: one trait, spoken by Docker here and by the fake engine
//! of the tests. Everything is looked up by label, never by a remembered id.

pub mod docker;
mod error;
mod labels;
mod observed;
mod spec;
mod traced;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{InstallationId, ProjectRef, Secret};

pub use error::{BackendError, ErrorClass};
pub use labels::{Labels, keys};
pub use observed::{
    ContainerState, EngineHealth, EngineInfo, LogLine, Observed, ObservedContainer, ObservedNetwork, ObservedVolume, Usage,
};
pub use spec::{ContainerSpec, ExecOutput, ExecRequest, NetworkSpec, VolumeSpec};
pub use traced::{Open, Traced};

/// The result of everything a backend does.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Hears how far a pull has come: a short sentence such as `db: 34 of 120 MiB`.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// A container engine. Every call has a deadline of its own and ends in [`BackendError::TimedOut`] after it.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What the engine is; also the cheapest proof that it answers.
    async fn info(&self) -> Result<EngineInfo>;

    /// Every container, network and volume that carries the label of this installation.
    async fn list(&self, installation: &InstallationId) -> Result<Observed>;

    /// The same, of one project only.
    async fn list_project(&self, installation: &InstallationId, project: &ProjectRef) -> Result<Observed>;

    /// The digest (image id) of a reference if the engine has it, else `None`.
    async fn image_digest(&self, reference: &str) -> Result<Option<String>>;

    /// Pulls a reference; gives up when nothing moves for `no_progress`. Returns the digest.
    async fn pull(&self, reference: &str, no_progress: Duration, progress: Progress<'_>) -> Result<String>;

    /// Makes the network unless one with these labels is there. Returns its id. When two exist, the oldest stays.
    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String>;

    /// Removes a network by id; one that is gone already is fine.
    async fn remove_network(&self, id: &str) -> Result<()>;

    /// Makes the volume unless one with these labels is there.
    async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()>;

    /// Removes a volume by name; one that is gone already is fine.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// Creates the container unless one with the same labels and spec hash is there; one of ours with another
    /// hash or generation is removed first; a foreign one of that name is [`BackendError::NameTaken`]. Returns its id.
    async fn ensure_container(&self, spec: &ContainerSpec<'_>) -> Result<String>;

    /// Starts it; one that runs already is fine.
    async fn start_container(&self, id: &str) -> Result<()>;

    /// Stops it within the grace, then kills it; one that is stopped or gone is fine.
    async fn stop_container(&self, id: &str, grace_s: u32) -> Result<()>;

    /// Removes it with its anonymous volumes, waiting until it is really gone; one that is gone already is fine.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// One container as it is now, or `None` when it is gone.
    async fn inspect(&self, id: &str) -> Result<Option<ObservedContainer>>;

    /// The last `tail` lines, oldest first, both streams, each cut at 16 KiB.
    async fn logs(&self, id: &str, tail: u32) -> Result<Vec<LogLine>>;

    /// One sample of what it uses.
    async fn usage(&self, id: &str) -> Result<Usage>;

    /// Runs a command inside; output beyond the request's limit is cut.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecOutput>;

    /// Removes what is inside `folder` (which containers may own) by a short-lived, labelled helper container made
    /// from `image`, which must be there already. `folder` itself stays.
    async fn empty_folder(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()>;

    /// Resolves once when the engine reports that something of this installation changed, or on a cut stream.
    /// It only wakes: the caller lists and decides.
    async fn changed(&self, installation: &InstallationId) -> Result<()>;
}

/// Values of the environment, resolved at the last moment.
pub type Environment = Vec<(String, Secret<String>)>;

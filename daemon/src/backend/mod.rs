//! What a container engine must be able to do: one trait, spoken by Docker here and by the fake engine
//! of the tests. Everything is looked up by label, never by a remembered id.

pub mod docker;
mod error;
mod labels;
mod limits;
mod observed;
mod spec;
mod traced;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::domain::{InstallationId, Limits, ProjectRef, Secret, UnixMillis};

pub use error::{BackendError, ErrorClass};
pub use labels::{Labels, keys};
pub use limits::{Bounds, Held};
pub use observed::{
    ContainerState, Ended, EngineHealth, EngineInfo, LogLine, Observed, ObservedContainer, ObservedNetwork, ObservedVolume, Usage,
};
pub use spec::{ContainerSpec, ExecOutput, ExecRequest, NetworkSpec, VolumeSpec};
pub use traced::{Open, Traced};

/// The result of everything a backend does.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Hears how far a pull has come: a short sentence such as `db: 34 of 120 MiB`.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Bytes of a container's line that are kept. One of that length or longer was cut there, perhaps within a secret: whoever
/// shows it takes away so much of its end as a secret is long, which is why this is more than is shown.
pub const LINE_BYTES_MAX: usize = 24 * 1024;

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

    /// Makes the network unless one with these labels is there. Returns its id. When two exist, the oldest stays. One that
    /// Compose made from the project's rendered file goes first, with Compose's containers on it.
    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String>;

    /// Removes a network by id; one that is gone already is fine. Compose's containers of the project that hold it go first.
    async fn remove_network(&self, id: &str) -> Result<()>;

    /// Makes the volume unless one with these labels is there.
    async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()>;

    /// Removes a volume by name; one that is gone already is fine. Compose's containers of the project that hold it go first.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// Creates the container unless one with the same spec hash is there, of whatever generation: an update leaves alone
    /// what it does not change. One of ours with another hash is removed first, and so is one of that name that Compose made from the
    /// project's rendered file; a foreign one is [`BackendError::NameTaken`]. Returns its id.
    async fn ensure_container(&self, spec: &ContainerSpec<'_>) -> Result<String>;

    /// Starts it; one that runs already is fine.
    async fn start_container(&self, id: &str) -> Result<()>;

    /// Stops it within the grace, then kills it; one that is stopped or gone is fine.
    async fn stop_container(&self, id: &str, grace_s: u32) -> Result<()>;

    /// Removes it with its anonymous volumes, waiting until it is really gone; one that is gone already is fine.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// One container as it is now, or `None` when it is gone.
    async fn inspect(&self, id: &str) -> Result<Option<ObservedContainer>>;

    /// The last `tail` lines written at or after `since`, oldest first, both streams, each cut at [`LINE_BYTES_MAX`]; fewer
    /// when they hold more than 1 MiB. The first of a stream may be the rest of one that the engine had split.
    async fn logs(&self, id: &str, tail: u32, since: Option<UnixMillis>) -> Result<Vec<LogLine>>;

    /// Hands over every line written at or after `since`, until the container ends or nobody takes them any more; cut and
    /// split as above.
    async fn follow_logs(&self, id: &str, since: UnixMillis, lines: mpsc::Sender<LogLine>) -> Result<()>;

    /// One sample of its counters, without a wait inside the engine.
    async fn usage(&self, id: &str) -> Result<Usage>;

    /// Runs a command inside; output beyond the request's limit is cut.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecOutput>;

    /// Removes what is inside `folder` (which containers may own) by a short-lived, labelled helper container made
    /// from `image`, which must be there already. `folder` itself stays.
    async fn empty_folder(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()>;

    /// Makes the group that holds all containers of a project together, or changes one that is there. Returns what a
    /// container names as its parent; `None` where no group can be made: then every container has limits of its own.
    async fn ensure_group(&self, project: &ProjectRef, bounds: &Bounds) -> Result<Option<String>>;

    /// Removes the group, which must be empty; one that is gone already is fine.
    async fn remove_group(&self, project: &ProjectRef) -> Result<()>;

    /// The projects that have a group, whoever's they are: a group has no labels.
    async fn groups(&self) -> Result<Vec<ProjectRef>>;

    /// Changes a container's own limits while it runs. Less memory than it uses is refused.
    async fn set_limits(&self, id: &str, limits: &Limits) -> Result<()>;

    /// What holds a container, or `None` when it is gone.
    async fn held(&self, id: &str) -> Result<Option<Held>>;

    /// Makes `to` a copy of `from` with owners, modes, times and extended attributes, by such a helper; blocks are shared
    /// where the file system can. Both folders are there; what was in `to` goes. Given up after `limit`.
    async fn copy_folder(&self, from: &Path, to: &Path, image: &str, labels: &Labels, limit: Duration) -> Result<()>;

    /// Resolves once when the engine reports that something of this installation changed, or on a cut stream; what
    /// happened since the call before resolves it at once. An error means that nothing can be heard now.
    /// It only wakes: the caller lists and decides.
    async fn changed(&self, installation: &InstallationId) -> Result<()>;
}

/// Values of the environment, resolved at the last moment.
pub type Environment = Vec<(String, Secret<String>)>;

//! One file per external effect, each observe / ensure / remove: the only place that changes the world.

mod absent;
pub(super) mod containers;
pub(super) mod folder;
mod healthy;
pub(super) mod images;
mod network;
mod owner_password;
pub(super) mod render;
mod render_context;
mod retired;
mod snapshot;
pub(super) mod stage;
pub(super) mod start;
mod volumes;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::planner::{Effect, Whose};
use crate::backend::{BackendError, ErrorClass, Labels, Observed};
use crate::domain::{Operation, OperationKind, Project, ServiceName};
use crate::plugin_host::Hook;
use crate::plugin_host::hooks::{AccessError, HookError};
use crate::reach::ProjectReach;
use crate::secrets::ProjectSecrets;
use crate::stack::FencedStack;
use crate::store::{ImagePin, StoreError};
use crate::templates::LoadedSet;

/// Everything a step may use.
pub struct StepContext {
    /// The daemon's parts.
    pub parts: Arc<Parts>,
    /// The project as the store has it now; for a step that works on the stack an update makes, as it will be.
    pub project: Project,
    /// Which of an update's two stacks the step works on.
    pub whose: Whose,
    /// The operation.
    pub operation: Operation,
    /// The template set.
    pub set: Arc<LoadedSet>,
    /// The project's secrets.
    pub secrets: Arc<ProjectSecrets>,
    /// The step's name, for progress.
    pub step: String,
    /// When the step must have ended.
    pub deadline: tokio::time::Instant,
    /// Falls when somebody cancels the operation: whatever waits gives up then. Never on the way back.
    pub cancelled: CancellationToken,
    /// Falls when its end was forced: nothing is tried again, on the way back neither.
    pub forced: CancellationToken,
}

impl StepContext {
    /// `<data>/projects/<ref>`.
    pub fn folder(&self) -> PathBuf {
        self.parts.project_folder(&self.project.id)
    }

    /// Where the rendered files of the step's stack are read from.
    pub fn rendered_folder(&self) -> PathBuf {
        match self.whose {
            Whose::Present => self.folder(),
            Whose::Wanted => self.folder().join(stage::NEXT),
        }
    }

    /// The labels of an object that this operation makes.
    pub fn labels(&self, service: Option<ServiceName>, spec_hash: String) -> Labels {
        Labels {
            installation: self.parts.installation.clone(),
            project: self.project.id.clone(),
            service,
            generation: self.operation.generation,
            operation: self.operation.id.clone(),
            spec_hash,
        }
    }

    /// What the engine has of this project.
    pub async fn observed(&self) -> Result<Observed, StepError> {
        Ok(self.parts.backend.list_project(&self.parts.installation, &self.project.id).await?)
    }

    /// The way to the project's services.
    pub fn reach(&self) -> ProjectReach {
        self.parts.reach.project(&self.project.id, &self.set.spec, self.secrets.clone())
    }

    /// Whether the operation is about this service.
    pub fn is_meant(&self, service: &ServiceName) -> bool {
        self.operation.services.is_empty() || self.operation.services.iter().any(|name| name == service.as_str())
    }

    /// The images its containers are made from: pinned by the operation that rendered the stack.
    pub async fn image_pins(&self) -> Result<Vec<ImagePin>, StepError> {
        let makes_it = self.operation.kind == OperationKind::Create || self.whose == Whose::Wanted;
        let rendered_by = match &self.project.stack_operation {
            Some(before) if !makes_it => before,
            _ => &self.operation.id,
        };
        Ok(self.parts.store.image_pins(rendered_by).await?)
    }

    /// Gives up when the operation was cancelled: asked by whatever waits.
    pub fn go_on(&self) -> Result<(), StepError> {
        if self.cancelled.is_cancelled() { Err(StepError::permanent("cancelled", "the operation was cancelled")) } else { Ok(()) }
    }

    /// Says how far the step has come.
    pub async fn progress(&self, detail: &str) {
        self.parts.announcer.step(&self.project.id, &self.operation.id, &self.step, "started", detail).await;
    }

    /// The rendered stack, read from disk and fenced again: what is believed is the file, not a memory of it.
    pub async fn stack(&self) -> Result<FencedStack, StepError> {
        render::read_stack(self).await
    }

    /// What is left of the step's time.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }
}

/// One external effect. All three may be called again at any time, after any crash.
#[async_trait]
pub trait StepEffect: Send + Sync {
    /// Whether the effect is there, wholly or in part.
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError>;

    /// Makes it so; a sentence about what was done.
    async fn ensure(&self, context: &StepContext) -> Result<String, StepError>;

    /// Takes it away.
    async fn remove(&self, context: &StepContext) -> Result<(), StepError>;
}

/// The file that carries an effect out.
pub fn effect(effect: Effect) -> Box<dyn StepEffect> {
    match effect {
        Effect::Folder => Box::new(folder::Folder),
        Effect::Render => Box::new(render::Render),
        Effect::Stage => Box::new(stage::Stage),
        Effect::Switch => Box::new(stage::Switch),
        Effect::Discarded => Box::new(stage::Discarded),
        Effect::Snapshot => Box::new(snapshot::Snapshot),
        Effect::Retired => Box::new(retired::Retired),
        Effect::Images => Box::new(images::Images),
        Effect::Network => Box::new(network::Network),
        Effect::Volumes => Box::new(volumes::Volumes),
        Effect::Containers => Box::new(containers::Containers),
        Effect::Start(wave) => Box::new(start::Start { wave, wait: true }),
        Effect::Up(wave) => Box::new(start::Start { wave, wait: false }),
        Effect::Healthy => Box::new(healthy::Healthy),
        Effect::OwnerPassword => Box::new(owner_password::OwnerPassword),
        Effect::PostCreate => Box::new(work::Work(Hook::PostCreate)),
        Effect::BeforeDelete => Box::new(work::Work(Hook::BeforeDelete)),
        Effect::AfterResume => Box::new(work::Work(Hook::AfterResume)),
        Effect::Absent => Box::new(absent::Absent),
    }
}

/// Calls to the engine at once; more gain nothing on a handful of cores.
const AT_ONCE: usize = 4;
/// Calls at once that end containers of one project. Engines up to 27 lose count of a network's endpoints when three
/// leave it at the same moment, and then never remove it (<https://github.com/moby/moby/issues/42119>; 20.10, tried: of
/// 60 networks 2 stayed with eight at once, of 120 one with four, of 160 none with two).
const ENDED_AT_ONCE: usize = 2;

/// Runs every piece of work to its end, and only then tells the first error. A call that is dropped on the way goes
/// on inside the engine: what it makes would arrive after the unwinding has looked (seen: a container that held a
/// volume which was being removed).
async fn all_to_the_end(work: Vec<BoxFuture<'_, Result<(), StepError>>>, at_once: usize) -> Result<(), StepError> {
    let ended: Vec<Result<(), StepError>> = stream::iter(work).buffer_unordered(at_once).collect().await;
    ended.into_iter().collect()
}

/// What a project that never was healthy gets another of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replace {
    /// A host port that somebody else holds.
    Port(u16),
    /// A subnet that the engine refuses.
    Subnet,
}

/// A failed step.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", failure.message)]
pub struct StepError {
    /// What the runner can do.
    pub class: ErrorClass,
    /// What is kept and shown.
    pub failure: Failure,
    /// The service behind it, whose last lines are kept.
    pub service: Option<ServiceName>,
    /// What may be replaced before trying again.
    pub replace: Option<Replace>,
}

/// What is kept of a failure, in the step's detail, so that it survives a kill during the unwinding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A machine-readable word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The last lines of the service behind it, redacted.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

impl StepError {
    /// Of this class, word and sentence.
    pub fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        let failure = Failure { code: code.to_owned(), message: message.into(), log_tail: Vec::new() };
        Self { class, failure, service: None, replace: None }
    }

    /// Trying again changes nothing.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, code, message)
    }

    /// Names the service behind it.
    #[must_use]
    pub fn of(mut self, service: &ServiceName) -> Self {
        self.service = Some(service.clone());
        self
    }
}

impl From<BackendError> for StepError {
    fn from(error: BackendError) -> Self {
        let replace = match &error {
            BackendError::PortTaken { port, .. } => Some(Replace::Port(*port)),
            BackendError::SubnetTaken { .. } => Some(Replace::Subnet),
            _ => None,
        };
        Self { replace, ..Self::new(error.class(), error.code(), error.to_string()) }
    }
}

impl From<HookError> for StepError {
    fn from(error: HookError) -> Self {
        Self::new(error.class(), error.code(), error.to_string())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::new(error.class(), "store", error.to_string())
    }
}

impl From<AccessError> for StepError {
    fn from(error: AccessError) -> Self {
        let class = match error {
            AccessError::Refused(_) | AccessError::TimedOut(_) => ErrorClass::Retry,
            AccessError::Denied(_) | AccessError::Failed(_) => ErrorClass::Permanent,
        };
        Self::new(class, "service_unreachable", error.to_string())
    }
}

impl StepError {
    /// A failed file operation in the project's folder.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        let (class, code) = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => (ErrorClass::Capacity, "disk_full"),
            _ => (ErrorClass::Permanent, "folder"),
        };
        Self::new(class, code, format!("{}: {error}", path.display()))
    }
}

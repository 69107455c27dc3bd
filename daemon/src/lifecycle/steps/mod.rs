//! One file per external effect, each observe / ensure / remove: the only place that changes the world.

mod absent;
mod containers;
mod folder;
mod healthy;
mod images;
mod network;
mod owner_password;
mod post_create;
mod render;
mod render_context;
mod start;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::Parts;
use super::planner::Effect;
use crate::backend::{BackendError, ErrorClass, Labels, Observed};
use crate::domain::{Operation, Project, ServiceName};
use crate::plugin_host::hooks::{AccessError, HookError};
use crate::reach::ProjectReach;
use crate::secrets::ProjectSecrets;
use crate::stack::FencedStack;
use crate::store::StoreError;
use crate::templates::LoadedSet;

/// Everything a step may use.
pub struct StepContext {
    /// The daemon's parts.
    pub parts: Arc<Parts>,
    /// The project as the store has it now.
    pub project: Project,
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
}

impl StepContext {
    /// `<data>/projects/<ref>`.
    pub fn folder(&self) -> PathBuf {
        self.parts.project_folder(&self.project.id)
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

    /// Says how far the step has come.
    pub async fn progress(&self, detail: &str) {
        self.parts.announcer.step(&self.project.id, &self.operation.id, &self.step, "started", detail).await;
    }

    /// The rendered stack, read from disk and fenced again: what is believed is the file, not a memory of it.
    pub fn stack(&self) -> Result<FencedStack, StepError> {
        render::read_stack(self)
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
        Effect::Images => Box::new(images::Images),
        Effect::Network => Box::new(network::Network),
        Effect::Volumes => Box::new(volumes::Volumes),
        Effect::Containers => Box::new(containers::Containers),
        Effect::Start(wave) => Box::new(start::Start(wave)),
        Effect::Healthy => Box::new(healthy::Healthy),
        Effect::OwnerPassword => Box::new(owner_password::OwnerPassword),
        Effect::PostCreate => Box::new(post_create::PostCreate),
        Effect::Absent => Box::new(absent::Absent),
    }
}

/// Calls to the engine at once; more gain nothing on a handful of cores.
const AT_ONCE: usize = 4;

/// Runs every piece of work to its end, and only then tells the first error. A call that is dropped on the way goes
/// on inside the engine: what it makes would arrive after the unwinding has looked (seen: a container that held a
/// volume which was being removed).
async fn all_to_the_end(work: Vec<BoxFuture<'_, Result<(), StepError>>>) -> Result<(), StepError> {
    let ended: Vec<Result<(), StepError>> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
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
#[derive(Debug, Clone)]
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

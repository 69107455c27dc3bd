//! The heart: decides what happens next and survives being killed.
//!
//! A caller's verb becomes an *operation* in one transaction ([`create`], [`Lifecycle::delete`]); the [`runner`]
//! carries it out step by step, each step recorded before and after its effect ([`steps`]); after a kill the same
//! runner goes on where the record ends ([`recovery`]); what slipped through all of it is found by label and
//! removed by the [`reaper`].

mod announce;
mod create;
mod failpoint;
mod parts;
mod planner;
pub mod probing;
mod reaper;
mod recovery;
mod replace;
mod runner;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{BackendError, LogLine, Usage};
use crate::domain::{OperationId, OperationKind, Project, ProjectRef, ProjectStatus, Secret, ServiceName};
use crate::plugin_host::hooks::HookError;
use crate::ports::RangeFull;
use crate::secrets::{GenerateError, ProjectSecrets, SealError};
use crate::store::{Clash, NewOperation, StoreError};

pub use announce::Announcer;
pub use create::{CreateRequest, Created};
pub use failpoint::{Failpoints, Position};
pub use parts::Parts;
pub use planner::{PlannedStep, plan};

/// What a step may take to reach its record once the daemon is to stop. Most take less; waiting for health may take
/// minutes and loses nothing when it is cut off.
const TO_BOUNDARY: Duration = Duration::from_secs(3);

/// Why a verb was refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The state does not allow it.
    #[error("the project is {status}: {way_out}")]
    State {
        /// Where it stands.
        status: &'static str,
        /// What would work.
        way_out: &'static str,
    },
    /// A field is understood and cannot be served.
    #[error("{message}")]
    Meaning {
        /// The field.
        field: &'static str,
        /// A stable word.
        code: &'static str,
        /// A sentence.
        message: String,
    },
    /// The same idempotency key came with another body.
    #[error("this Idempotency-Key was used with another body: use a new key")]
    KeyReused,
    /// No port is left.
    #[error(transparent)]
    Ports(#[from] RangeFull),
    /// No subnet is left.
    #[error("the subnet pool {0} is full or overlaps with the host's routes: widen subnets.pool or delete a project")]
    Subnets(String),
    /// Changes wait until the engine has been listed once after the start, and whenever it is away.
    #[error("the container engine is not there: {0}; changes are refused until it is back")]
    EngineAway(String),
    /// The first listing after the start is not there yet.
    #[error("the container engine has not been listed since the start: try again in a moment")]
    NotListed,
    /// A hook that is needed is not there.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A secret could not be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The handle that callers hold. Cheap to clone.
#[derive(Clone)]
pub struct Lifecycle {
    parts: Arc<Parts>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lifecycle {
    /// A lifecycle over these parts. Nothing runs until [`Lifecycle::run`].
    pub fn new(parts: Arc<Parts>, stop: CancellationToken) -> Self {
        Self { parts, tasks: TaskTracker::new(), stop }
    }

    /// Resumes what is unfinished, then keeps watching until the stop token falls.
    pub async fn run(&self) {
        recovery::run(self).await;
    }

    /// Lets running steps reach a recorded boundary, up to `limit`.
    pub async fn stopped(&self, limit: Duration) {
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::info!("some steps did not reach a boundary in time; they resume at the next start");
        }
    }

    /// Accepts a create. The answer comes as soon as it is committed.
    ///
    /// # Errors
    /// [`LifecycleError`], nothing has changed.
    pub async fn create(&self, request: CreateRequest) -> Result<Created, LifecycleError> {
        self.engine_is_there().await?;
        let created = create::accept(&self.parts, request).await?;
        if let Some(operation) = &created.operation {
            self.begin(operation.clone());
        }
        Ok(created)
    }

    /// Tries a failed create again: same ref, secrets, ports and subnet.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is FAILED.
    pub async fn retry(&self, project: &Project) -> Result<OperationId, LifecycleError> {
        let way_out = "only a FAILED project can be retried";
        self.accept(project, OperationKind::Create, &[ProjectStatus::Failed], way_out).await
    }

    /// Accepts a delete.
    ///
    /// # Errors
    /// [`LifecycleError::State`] while another operation runs.
    pub async fn delete(&self, project: &Project) -> Result<OperationId, LifecycleError> {
        let allowed =
            [ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy, ProjectStatus::Paused, ProjectStatus::Failed];
        let way_out = "wait until its operation has ended; GET its /operations shows how far it is";
        self.accept(project, OperationKind::Delete, &allowed, way_out).await
    }

    /// A project's secrets in clear.
    ///
    /// # Errors
    /// [`LifecycleError::Seal`] or the store's.
    pub async fn secrets(&self, project: &ProjectRef) -> Result<ProjectSecrets, LifecycleError> {
        let sealed = self.parts.store.sealed_secrets(project).await?;
        Ok(ProjectSecrets::open(&self.parts.key, project, &sealed)?)
    }

    /// The last lines of a service, with the project's secrets taken out.
    ///
    /// # Errors
    /// [`LifecycleError::Meaning`] for a service without a container, else the engine's.
    pub async fn logs(&self, project: &ProjectRef, service: &ServiceName, tail: u32) -> Result<Vec<LogLine>, LifecycleError> {
        let observed = self.parts.backend.list_project(&self.parts.installation, project).await?;
        let container = observed
            .containers
            .into_iter()
            .find(|container| container.labels.as_ref().and_then(|labels| labels.service.as_ref()) == Some(service));
        let container = container.ok_or_else(|| LifecycleError::Meaning {
            field: "service",
            code: "no_container",
            message: format!("the project has no container of the service `{service}`"),
        })?;
        let secrets = self.secrets(project).await?;
        let lines = self.parts.backend.logs(&container.id, tail).await?;
        Ok(lines.into_iter().map(|line| LogLine { text: secrets.redact(&line.text), ..line }).collect())
    }

    /// The containers of a project: service, container id and what each uses.
    ///
    /// # Errors
    /// The engine's.
    pub async fn containers(&self, project: &ProjectRef) -> Result<Vec<(ServiceName, String)>, LifecycleError> {
        let observed = self.parts.backend.list_project(&self.parts.installation, project).await?;
        let named = observed.containers.into_iter().filter_map(|c| Some((c.labels?.service?, c.id)));
        Ok(named.collect())
    }

    /// One sample of what a container uses.
    ///
    /// # Errors
    /// The engine's.
    pub async fn usage(&self, container_id: &str) -> Result<Usage, LifecycleError> {
        Ok(self.parts.backend.usage(container_id).await?)
    }

    /// Hears of every project that has news.
    pub fn watch(&self) -> broadcast::Receiver<ProjectRef> {
        self.parts.announcer.watch()
    }

    /// Falls when the daemon stops: what waits for news ends then.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// The parts, for the read side.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// The database password's role, name and port, for connection strings.
    pub fn owner_database(&self, project: &Project) -> Option<(String, String, u16)> {
        let set = self.parts.templates.set(&project.template_set).ok()?;
        let owner = set.spec.secrets.iter().find(|secret| secret.kind == crate::domain::SecretKind::OwnerPassword)?;
        let port = set.spec.ports.iter().find(|port| Some(&port.service) == owner.service.as_ref())?;
        Some((owner.role.clone()?, owner.name.clone(), project.port(&port.name)?))
    }

    async fn accept(
        &self,
        project: &Project,
        kind: OperationKind,
        allowed: &[ProjectStatus],
        way_out: &'static str,
    ) -> Result<OperationId, LifecycleError> {
        self.engine_is_there().await?;
        let parts = &self.parts;
        let now = parts.clock.now();
        let operation = NewOperation {
            id: create::new_operation_id()?,
            project: project.id.clone(),
            kind,
            generation: project.generation + 1,
            plugins: parts.plugins.pins(),
            deadline_at: parts.deadline(kind),
        };
        parts.store.accept_operation(&operation, allowed, now).await.map_err(|error| match error {
            StoreError::Transition(status) => LifecycleError::State {
                status: ProjectStatus::from_word(&status).map_or("in an unknown state", ProjectStatus::as_str),
                way_out,
            },
            StoreError::Clash(Clash::UnfinishedOperation) => LifecycleError::State { status: project.status.as_str(), way_out },
            other => LifecycleError::Store(other),
        })?;
        let status = if kind == OperationKind::Create { ProjectStatus::Creating } else { ProjectStatus::Deleting };
        parts.announcer.status(&project.id, status, "").await;
        self.begin(operation.id.clone());
        Ok(operation.id)
    }

    /// A change needs an engine that answers and that has been listed since the start.
    async fn engine_is_there(&self) -> Result<(), LifecycleError> {
        if !self.parts.sight.listed() {
            return Err(LifecycleError::NotListed);
        }
        self.parts.backend.info().await.map(drop).map_err(|error| LifecycleError::EngineAway(error.to_string()))
    }

    /// Runs an operation in a task of its own; one that runs already is left alone.
    fn begin(&self, id: OperationId) {
        if !self.parts.running.enter(&id) {
            return;
        }
        let (parts, stop) = (self.parts.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let cut_off = async {
                stop.cancelled().await;
                tokio::time::sleep(TO_BOUNDARY).await;
            };
            tokio::select! {
                () = cut_off => {}
                () = runner::run(parts.clone(), id.clone(), stop.clone()) => {}
            }
            parts.running.leave(&id);
        });
    }
}

/// What a caller gives as `db_pass`.
pub type GivenPassword = Option<Secret<String>>;

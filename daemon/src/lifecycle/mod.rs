//! The heart: decides what happens next and survives being killed.
//!
//! A caller's verb becomes an *operation* in one transaction ([`create`], [`Lifecycle::delete`]); the [`runner`]
//! carries it out step by step, each step recorded before and after its effect ([`steps`]); after a kill the same
//! runner goes on where the record ends ([`recovery`]); what happened behind its back is put right by the
//! [`reconciler`]; what slipped through all of it is found by label and removed by the [`reaper`].

pub(crate) mod admission;
mod announce;
mod asking;
mod budget;
mod create;
mod deaths;
mod ending;
mod failpoint;
mod inside;
mod lost;
mod parts;
mod planner;
pub mod probing;
pub mod purge;
mod reaper;
mod reconciler;
mod recovery;
mod replace;
pub(crate) mod resources;
mod runner;
mod seen;
mod steps;
mod update;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{BackendError, Usage};
use crate::disk::{Extent, Room};
use crate::domain::{
    InstallationId, NoticeKind, OperationId, OperationKind, Project, ProjectRef, ProjectStatus, Secret, ServiceName, TooLittle,
    UnixMillis,
};
use crate::plugin_host::Hook;
use crate::plugin_host::hooks::{HookError, Pins};
use crate::ports::RangeFull;
use crate::secrets::{GenerateError, ProjectSecrets, SealError};
use crate::store::{Clash, NewOperation, StoreError};
use crate::templates::LoadedSet;

pub use crate::backend::LogLine;
pub use crate::stack::diff::Change;
pub use announce::Announcer;
pub use create::{CreateRequest, Created};
pub use failpoint::{Failpoints, Listener, Position};
pub use inside::{Command, ExecError, FollowFrom, Followed, Positions, Ran};
pub use lost::{LostContainer, LostProject};
pub use parts::{Foundations, Parts};
pub use planner::{PlannedStep, Waves, plan, update as update_steps};
pub use resources::HeldService;
pub use steps::{Failure, Replace, StepError};
pub use update::{UpdatePlan, UpdateRequest};

/// What a step may take to reach its record once the daemon is to stop. Most take less; waiting for health may take
/// minutes and loses nothing when it is cut off.
const TO_BOUNDARY: Duration = Duration::from_secs(3);

/// Who asks for what nobody asked for.
const RECONCILER: &str = "reconciler";

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
    /// It does not fit: the host has not that much, or the services need more.
    #[error("{message}")]
    Room {
        /// The field.
        field: &'static str,
        /// A sentence with the sum and the way out.
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
    /// The plan that was sent is not the one of now.
    #[error("the world has moved since that plan was made: make a new one and look at it again")]
    PlanOutdated,
    /// Containers would change and nobody has looked at how.
    #[error("containers would change: PATCH with ?plan=true shows how; send its hash in If-Match")]
    PlanMissing,
    /// No room for a copy of the data.
    #[error(
        "an update that changes an image copies the data first, which takes {} bytes, and {} are free: make room",
        _0.needed_bytes,
        _0.free_bytes
    )]
    NoRoom(Room),
    /// What is left of a lost project does not tell enough, or somebody else has what it needs.
    #[error("it cannot be adopted: {}", _0.join("; "))]
    NotAdoptable(Vec<String>),
    /// A lost project's folder says that it is another installation's.
    #[error("its folder is of installation {0}, whose containers may work in it: move the folder to where that one has its data")]
    NotOurs(InstallationId),
    /// The new stack cannot be made.
    #[error("{0}")]
    Step(StepError),
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

impl From<StepError> for LifecycleError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<TooLittle> for LifecycleError {
    fn from(error: TooLittle) -> Self {
        Self::Meaning { field: error.field, code: "too_little", message: error.to_string() }
    }
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
        tokio::join!(recovery::run(self), recovery::listen(self));
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
            self.begin(operation.clone(), created.project.clone());
        }
        Ok(created)
    }

    /// Tries a failed create again: same ref, secrets, ports and subnet.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is FAILED, [`LifecycleError::Meaning`] when a plugin that it chose is gone.
    pub async fn retry(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        create::check_choices(&self.parts, &project.plugins)?;
        self.accept(project, OperationKind::Create, &[], by, None).await
    }

    /// Stops every container; volumes stay. It stays paused when the engine restarts.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is active.
    pub async fn pause(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        self.accept(project, OperationKind::Pause, &[], by, None).await
    }

    /// Starts what was paused.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is PAUSED.
    pub async fn resume(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        self.accept(project, OperationKind::Resume, &[], by, None).await
    }

    /// Stops and starts these services, or all when none is named.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is active, [`LifecycleError::Meaning`] for an unknown service.
    pub async fn restart(&self, project: &Project, services: &[String], by: &str) -> Result<OperationId, LifecycleError> {
        let set = self.set_of(project)?;
        let known: Vec<&str> = set.spec.services.iter().map(|service| service.name.as_str()).collect();
        if let Some(unknown) = services.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(LifecycleError::Meaning {
                field: "services",
                code: "unknown_value",
                message: format!("`{unknown}` is no service of the project: use {}", known.join(", ")),
            });
        }
        self.accept(project, OperationKind::Restart, services, by, None).await
    }

    /// Has a post-create plugin do its work on a project that was there before it, or before this version of it.
    ///
    /// # Errors
    /// [`LifecycleError::State`] unless the project is active, [`LifecycleError::Meaning`] when no such plugin runs for it or
    /// it has no such hook.
    pub async fn apply(&self, project: &Project, plugin: &str, by: &str) -> Result<OperationId, LifecycleError> {
        let hosts = &self.parts.plugins;
        let wrong = |message| Err(LifecycleError::Meaning { field: "plugin", code: "unknown_value", message });
        if !hosts.has_hook(plugin, Hook::PostCreate) {
            return wrong(format!(
                "`{plugin}` has no hook `post-create` here: the others are called of their own accord, and a renderer by an update"
            ));
        }
        let pins: Pins = hosts.pins(&project.plugins).into_iter().filter(|(name, _)| name == plugin).collect();
        if pins.is_empty() {
            return wrong(format!("`{plugin}` does not run for this project: choose it with an update of `plugins`"));
        }
        self.accept_with(project, OperationKind::Apply, &[], by, None, pins).await
    }

    fn set_of(&self, project: &Project) -> Result<Arc<LoadedSet>, LifecycleError> {
        self.parts.set_of(project).map_err(|error| LifecycleError::Meaning {
            field: "template_set",
            code: "template_set_gone",
            message: format!("the project's own template set cannot be used: {error}; put it back as it was"),
        })
    }

    /// Brings an active project back to what it should be.
    pub(crate) async fn repair(&self, project: &Project) -> Result<OperationId, LifecycleError> {
        self.accept(project, OperationKind::Repair, &[], RECONCILER, None).await
    }

    /// Stops again what runs under a paused project; not if it was resumed meanwhile.
    pub(crate) async fn keep_paused(&self, project: &Project) -> Result<OperationId, LifecycleError> {
        self.accept(project, OperationKind::Pause, &[], RECONCILER, Some(ProjectStatus::Paused)).await
    }

    /// Accepts a delete.
    ///
    /// # Errors
    /// [`LifecycleError::State`] while another operation runs.
    pub async fn delete(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        self.accept(project, OperationKind::Delete, &[], by, None).await
    }

    /// A project's secrets in clear.
    ///
    /// # Errors
    /// [`LifecycleError::Seal`] or the store's.
    pub async fn secrets(&self, project: &ProjectRef) -> Result<ProjectSecrets, LifecycleError> {
        let sealed = self.parts.store.sealed_secrets(project).await?;
        Ok(ProjectSecrets::open(&self.parts.key, project, &sealed)?)
    }

    /// The containers of a project as the last listing showed them: service and container id. The engine is asked only
    /// while the project changes, or when it has changed since that listing.
    ///
    /// # Errors
    /// The engine's.
    pub async fn containers_listed(&self, project: &Project) -> Result<Vec<(ServiceName, String)>, LifecycleError> {
        let parts = &self.parts;
        let at_rest = !project.status.in_transit() && parts.running.word(&project.id).is_none();
        match at_rest.then(|| parts.sight.containers(&project.id, project.updated_at)).flatten() {
            Some(containers) => Ok(containers),
            None => self.containers(&project.id).await,
        }
    }

    /// The same whatever happened since; nothing before the first listing.
    pub fn containers_last_listed(&self, project: &ProjectRef) -> Vec<(ServiceName, String)> {
        self.parts.sight.containers(project, UnixMillis::MIN).unwrap_or_default()
    }

    /// The containers of a project now: service and container id.
    ///
    /// # Errors
    /// The engine's.
    pub async fn containers(&self, project: &ProjectRef) -> Result<Vec<(ServiceName, String)>, LifecycleError> {
        let observed = self.parts.backend.list_project(&self.parts.installation, project).await?;
        let named = observed.containers.into_iter().filter_map(|c| Some((c.labels?.service?, c.id)));
        Ok(named.collect())
    }

    /// One sample of what a container has used so far.
    ///
    /// # Errors
    /// The engine's.
    pub async fn usage(&self, container_id: &str) -> Result<Usage, LifecycleError> {
        Ok(self.parts.backend.usage(container_id).await?)
    }

    /// What holds every service of a project that has a container.
    ///
    /// # Errors
    /// The engine's.
    pub async fn held(&self, project: &ProjectRef) -> Result<Vec<HeldService>, LifecycleError> {
        Ok(resources::held(&self.parts, project).await?)
    }

    /// A project's folder was measured: tells and acts when its storage passes a level.
    ///
    /// # Errors
    /// The store's; what the database refuses is tried again at the next look.
    pub async fn storage_seen(&self, project: &ProjectRef, bytes: u64, extent: Extent) -> Result<(), LifecycleError> {
        budget::seen(&self.parts, project, bytes, extent).await
    }

    /// Tells when the disk of the data folder runs low, and when it is well again. `low` is what was told last.
    ///
    /// # Errors
    /// The store's.
    pub async fn disk_seen(&self, low: &mut bool) -> Result<(), LifecycleError> {
        let message = admission::disk_is_low(&self.parts);
        if *low != message.is_some() {
            let (state, reason) = message.as_deref().map_or(("ok", "the disk has room again"), |message| ("low", message));
            self.parts.notifier.tell(NoticeKind::Disk, None, state, reason).await?;
            tracing::info!(state, reason, "the disk of the data folder");
            *low = message.is_some();
        }
        Ok(())
    }

    /// Makes a project's limits so again where they are not.
    ///
    /// # Errors
    /// The store's; what the engine refuses is tried again at the next look.
    pub async fn keep_limits(&self, project: &ProjectRef) -> Result<(), LifecycleError> {
        resources::keep(&self.parts, project).await
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
        let set = self.parts.set_of(project).ok()?;
        let owner = set.spec.secrets.iter().find(|secret| secret.kind == crate::domain::SecretKind::OwnerPassword)?;
        let port = set.spec.ports.iter().find(|port| Some(&port.service) == owner.service.as_ref())?;
        Some((owner.role.clone()?, owner.name.clone(), project.port(&port.name)?))
    }

    async fn accept(
        &self,
        project: &Project,
        kind: OperationKind,
        services: &[String],
        by: &str,
        only_from: Option<ProjectStatus>,
    ) -> Result<OperationId, LifecycleError> {
        let pins = self.parts.plugins.pins(&project.plugins);
        self.accept_with(project, kind, services, by, only_from, pins).await
    }

    /// The same with the plugins that it is to use.
    async fn accept_with(
        &self,
        project: &Project,
        kind: OperationKind,
        services: &[String],
        by: &str,
        only_from: Option<ProjectStatus>,
        plugins: Pins,
    ) -> Result<OperationId, LifecycleError> {
        self.engine_is_there().await?;
        let parts = &self.parts;
        // Without its set nobody knows what to start or to stop; a delete finds everything by label.
        if kind.has_way_back() {
            self.set_of(project)?;
        }
        let operation = NewOperation {
            id: create::new_operation_id()?,
            project: project.id.clone(),
            kind,
            generation: project.generation + i64::from(kind.renders()),
            services: services.to_vec(),
            update: None,
            requested_by: by.to_owned(),
            plugins,
            deadline_at: parts.deadline(kind),
        };
        let refused = |status: &'static str| LifecycleError::State { status, way_out: kind.way_out() };
        let allowed = only_from.as_ref().map_or(kind.allowed_from(), std::slice::from_ref);
        let mut accepted = parts.store.accept_operation(&operation, allowed, parts.clock.now()).await;
        let in_the_way = matches!(accepted, Err(StoreError::Transition(_) | StoreError::Clash(Clash::UnfinishedOperation)));
        if in_the_way && by != RECONCILER && self.repair_gives_way(project, kind).await? {
            accepted = parts.store.accept_operation(&operation, allowed, parts.clock.now()).await;
        }
        accepted.map_err(|error| match error {
            StoreError::Transition(status) => {
                refused(ProjectStatus::from_word(&status).map_or("in an unknown state", ProjectStatus::as_str))
            }
            StoreError::Clash(Clash::UnfinishedOperation) => refused(project.status.as_str()),
            other => LifecycleError::Store(other),
        })?;
        parts.announcer.status(&project.id, kind.transit(), "").await;
        self.begin(operation.id.clone(), project.id.clone());
        Ok(operation.id)
    }

    /// A change needs an engine that answers and that has been listed since the start.
    async fn engine_is_there(&self) -> Result<(), LifecycleError> {
        if !self.parts.sight.listed() {
            return Err(LifecycleError::NotListed);
        }
        self.parts.backend.info().await.map(drop).map_err(|error| LifecycleError::EngineAway(error.to_string()))
    }

    /// Runs an operation in a task of its own. While another one works on the project it waits: that one's end wakes
    /// the rounds, which begin it then.
    fn begin(&self, id: OperationId, project: ProjectRef) {
        let Some(word) = self.parts.running.enter(&project) else { return };
        let (parts, stop) = (self.parts.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let cut_off = async {
                stop.cancelled().await;
                tokio::time::sleep(TO_BOUNDARY).await;
            };
            tokio::select! {
                () = cut_off => {}
                () = runner::run(parts.clone(), id.clone(), stop.clone(), word) => {}
            }
            parts.running.leave(&project);
            // What ended may have left something to do.
            parts.wake.notify_one();
        });
    }
}

/// What a caller gives as `db_pass`.
pub type GivenPassword = Option<Secret<String>>;

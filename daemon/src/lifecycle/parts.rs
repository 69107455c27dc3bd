//! What the lifecycle is made of, put together by `app`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::seen::Seen;
use super::{Announcer, Failpoints};
use crate::backend::{Backend, Observed};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{EndpointSpec, InstallationId, OperationKind, Project, ProjectRef, ServiceName, UnixMillis};
use crate::notify::Notifier;
use crate::plugin_host::PluginHost;
use crate::reach::{Reach, Wire};
use crate::secrets::MasterKey;
use crate::store::{Store, StoreError, Taken};
use crate::telemetry::Metrics;
use crate::templates::{LoadedSet, ShapeError, Templates};

/// Everything the lifecycle, and the read side above it, works with.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// Which installation this is.
    pub installation: InstallationId,
    /// The store.
    pub store: Store,
    /// The container engine.
    pub backend: Arc<dyn Backend>,
    /// The plugins.
    pub plugins: Arc<PluginHost>,
    /// The template sets and image sets.
    pub templates: Templates,
    /// The way to projects' services.
    pub reach: Reach,
    /// Seals secrets and keys hashes.
    pub key: MasterKey,
    /// Time.
    pub clock: Clock,
    /// Tells watchers.
    pub announcer: Announcer,
    /// Tells the operator's webhook.
    pub notifier: Notifier,
    /// Counts.
    pub metrics: Metrics,
    /// Where a test may stop it.
    pub failpoints: Failpoints,
    /// When the engine was last listed.
    pub sight: Sight,
    /// What was last seen of every service.
    pub seen: Seen,
    /// One pull per image at a time.
    pub pulls: KeyedLocks,
    /// Projects that a task works on.
    pub running: Running,
    /// Operations at once.
    pub turns: Semaphore,
    /// Wakes the reconciler before its time.
    pub wake: Notify,
    /// One create at a time chooses its ports and subnet.
    pub choosing: tokio::sync::Mutex<()>,
}

/// What somebody has to bring: the rest of [`Parts`] begins empty.
pub struct Foundations {
    /// The configuration.
    pub config: Config,
    /// Which installation this is.
    pub installation: InstallationId,
    /// The store.
    pub store: Store,
    /// Seals secrets and keys hashes.
    pub key: MasterKey,
    /// The container engine.
    pub backend: Arc<dyn Backend>,
    /// What is said to the addresses of its containers.
    pub wire: Arc<dyn Wire>,
    /// The plugins.
    pub plugins: Arc<PluginHost>,
    /// The template sets and image sets.
    pub templates: Templates,
    /// Time.
    pub clock: Clock,
    /// Where a test may stop it.
    pub failpoints: Failpoints,
}

impl Parts {
    /// Puts the parts together.
    pub fn new(foundations: Foundations) -> Self {
        let Foundations { config, installation, store, key, backend, wire, plugins, templates, clock, failpoints } = foundations;
        Self {
            announcer: Announcer::new(store.clone(), clock.clone()),
            notifier: Notifier::new(store.clone(), clock.clone()),
            reach: Reach::new(backend.clone(), installation.clone(), wire),
            turns: Semaphore::new(config.limits.operations),
            choosing: Default::default(),
            wake: Notify::new(),
            metrics: Metrics::new(plugins.metrics()),
            sight: Default::default(),
            seen: Default::default(),
            pulls: Default::default(),
            running: Default::default(),
            config,
            installation,
            store,
            key,
            backend,
            plugins,
            templates,
            clock,
            failpoints,
        }
    }

    /// The template set that a project's stack is made from, less the services that are off.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn set_of(&self, project: &Project) -> Result<Arc<LoadedSet>, ShapeError> {
        self.templates.of_shape(&project.shape())
    }

    /// `<data>/projects/<ref>`.
    pub fn project_folder(&self, project: &ProjectRef) -> PathBuf {
        self.config.data_dir.join("projects").join(project.as_str())
    }

    /// The address that works as printed: the edge's name when there is a domain, else the published port
    /// (decision 25).
    pub fn endpoint(&self, project: &Project) -> String {
        if self.config.domain.is_empty() {
            format!("http://{}:{}", self.published_host(), project.port("api").unwrap_or_default())
        } else {
            format!("https://{}.{}", project.id, self.config.domain)
        }
    }

    /// The addresses that the project's template set names beside that one: name and URL, on their published ports.
    pub fn endpoints(&self, project: &Project) -> BTreeMap<String, String> {
        let Ok(set) = self.set_of(project) else { return BTreeMap::new() };
        let url = |spec: &EndpointSpec| {
            let port = project.port(&spec.port)?;
            Some((spec.name.clone(), format!("http://{}:{port}{}", self.published_host(), spec.path)))
        };
        set.spec.endpoints.iter().filter_map(url).collect()
    }

    /// The host part of printed addresses: a wildcard address is not one that anybody can type.
    pub fn published_host(&self) -> String {
        let address = self.config.publish_address;
        match address {
            _ if address.is_unspecified() => "127.0.0.1".to_owned(),
            std::net::IpAddr::V6(v6) => format!("[{v6}]"),
            v4 => v4.to_string(),
        }
    }

    /// When an operation that begins now must have ended.
    pub fn deadline(&self, kind: OperationKind) -> UnixMillis {
        let seconds = match kind {
            OperationKind::Create => self.config.deadlines.create_s,
            OperationKind::Delete => self.config.deadlines.delete_s,
            // Images are pulled, and the data is copied and maybe copied back.
            OperationKind::Update => self.config.deadlines.create_s + 2 * self.config.deadlines.snapshot_s,
            _ => self.config.deadlines.change_s,
        };
        self.clock.now().saturating_add(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// What is reserved or resting on the region's engine.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn taken(&self, region: &str) -> Result<Taken, StoreError> {
        let rest_ms = i64::try_from(self.config.ports.rest_s * 1000).unwrap_or(i64::MAX);
        self.store.taken(region, self.clock.now() - rest_ms).await
    }
}

/// The last full listing of the engine: absence may be believed only after one.
#[derive(Debug, Default)]
pub struct Sight {
    at: AtomicI64,
    listed: Mutex<Listed>,
}

/// What it showed.
#[derive(Debug, Default)]
struct Listed {
    begun: UnixMillis,
    containers: BTreeMap<ProjectRef, Vec<(ServiceName, String)>>,
}

impl Sight {
    /// A full listing that began at `begun` was read.
    pub(super) fn seen(&self, observed: &Observed, begun: UnixMillis, now: UnixMillis) {
        let mut listed = Listed { begun, containers: BTreeMap::new() };
        for container in &observed.containers {
            let Some(labels) = &container.labels else { continue };
            if let Some(service) = &labels.service {
                listed.containers.entry(labels.project.clone()).or_default().push((service.clone(), container.id.clone()));
            }
        }
        *self.listed.lock().unwrap_or_else(|poison| poison.into_inner()) = listed;
        self.at.store(now, Ordering::Relaxed);
    }

    /// A project's containers in the last listing; `None` when that is not younger than `than`.
    pub(super) fn containers(&self, project: &ProjectRef, than: UnixMillis) -> Option<Vec<(ServiceName, String)>> {
        let listed = self.listed.lock().unwrap_or_else(|poison| poison.into_inner());
        (listed.begun > than).then(|| listed.containers.get(project).cloned().unwrap_or_default())
    }

    /// Whether there was one since the start.
    pub fn listed(&self) -> bool {
        self.at.load(Ordering::Relaxed) != 0
    }

    /// When the last one was.
    pub fn last(&self) -> Option<UnixMillis> {
        Some(self.at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// One lock per name. Names are image references: as many as the image sets hold.
#[derive(Default)]
pub struct KeyedLocks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl KeyedLocks {
    /// The lock of this name.
    pub fn lock_for(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).entry(name.to_owned()).or_default().clone()
    }
}

/// What the task of an operation listens to.
#[derive(Clone, Default)]
pub struct Word {
    /// Falls when the operation is cancelled: whatever waits on the way forward gives up.
    pub cancelled: CancellationToken,
    /// Falls when its end was forced: nothing is tried again, on the way back neither.
    pub forced: CancellationToken,
}

/// Projects that a task works on. One at a time: what was forced to end may still be inside a call to the engine, and
/// the next operation waits until it is out.
#[derive(Default)]
pub struct Running(Mutex<BTreeMap<ProjectRef, Word>>);

impl Running {
    /// What the task listens to; `None` when another one works on the project.
    pub fn enter(&self, project: &ProjectRef) -> Option<Word> {
        let mut running = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        match running.entry(project.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => Some(free.insert(Word::default()).clone()),
        }
    }

    /// What the project's task listens to, if there is one.
    pub fn word(&self, project: &ProjectRef) -> Option<Word> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).get(project).cloned()
    }

    /// The task has ended.
    pub fn leave(&self, project: &ProjectRef) {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).remove(project);
    }
}

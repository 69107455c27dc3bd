//! What the lifecycle is made of, put together by `app`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::{Announcer, Failpoints};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{InstallationId, OperationId, OperationKind, Project, ProjectRef, UnixMillis};
use crate::plugin_host::PluginHost;
use crate::reach::Reach;
use crate::secrets::MasterKey;
use crate::store::{Store, StoreError, Taken};
use crate::telemetry::Metrics;
use crate::templates::Templates;

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
    pub plugins: PluginHost,
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
    /// Counts.
    pub metrics: Metrics,
    /// Where a test may stop it.
    pub failpoints: Failpoints,
    /// When the engine was last listed.
    pub sight: Sight,
    /// One pull per image at a time.
    pub pulls: KeyedLocks,
    /// Operations that have a task.
    pub running: Running,
    /// Operations at once.
    pub turns: Semaphore,
    /// One create at a time chooses its ports and subnet.
    pub choosing: tokio::sync::Mutex<()>,
}

impl Parts {
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

/// When the engine was last listed in full: absence may be believed only after that.
#[derive(Debug, Default)]
pub struct Sight(AtomicI64);

impl Sight {
    /// A full listing was read.
    pub fn seen(&self, now: UnixMillis) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// Whether there was one since the start.
    pub fn listed(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// When the last one was.
    pub fn last(&self) -> Option<UnixMillis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
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

/// Operations that have a task, so that recovery starts none twice.
#[derive(Default)]
pub struct Running(Mutex<BTreeSet<String>>);

impl Running {
    /// Whether the caller is the first.
    pub fn enter(&self, id: &OperationId) -> bool {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).insert(id.to_string())
    }

    /// The task has ended.
    pub fn leave(&self, id: &OperationId) {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).remove(id.as_str());
    }
}

//! The connection: made when it is first needed, since the daemon has to start while the engine is away, and made
//! anew after a failure, since the engine that comes back may be another version.

use std::future::Future;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::Mutex;

use super::errors::{Cause, Failure};
use crate::backend::{BackendError, EngineInfo, Result};

/// bollard's own limit covers the head of an answer only. Ours covers the whole call, so bollard's is out of the way.
const BOLLARD_TIMEOUT_S: u64 = 24 * 3600;

/// How long each kind of call may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Reads: lists, inspects.
    pub read: Duration,
    /// Changes: create, start, remove. A create copies the image's files into a new volume.
    pub change: Duration,
    /// Waiting until a removed container is really gone (moby #22312: removals can hang).
    pub removal: Duration,
    /// On top of a stop's own grace: the engine kills, then waits for the log driver to drain (52 s were seen with a
    /// stalled fluentd reader, decision 14).
    pub stop_extra: Duration,
    /// Emptying a folder of any size.
    pub empty_folder: Duration,
    /// How long `changed` listens before it wakes the caller anyway: events can be dropped.
    pub quiet_events: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(20),
            change: Duration::from_secs(120),
            removal: Duration::from_secs(90),
            stop_extra: Duration::from_secs(90),
            empty_folder: Duration::from_secs(600),
            quiet_events: Duration::from_secs(300),
        }
    }
}

/// One Docker engine.
pub struct DockerBackend {
    host: String,
    pub(super) deadlines: Deadlines,
    pub(super) with_groups: bool,
    client: Mutex<Option<Docker>>,
    /// When the last event was that somebody heard, in nanoseconds of the engine's clock; 0 before the first.
    pub(super) heard_ns: AtomicI64,
}

impl DockerBackend {
    /// An engine by its address in the form of `DOCKER_HOST`; without one, the default socket. Nothing is sent yet.
    ///
    /// # Errors
    /// [`BackendError::Rejected`] when the address has another form.
    pub fn connect(host: Option<&str>) -> Result<Self> {
        Self::with_deadlines(host, Deadlines::default())
    }

    /// The same, with other limits.
    ///
    /// # Errors
    /// As [`DockerBackend::connect`].
    pub fn with_deadlines(host: Option<&str>, deadlines: Deadlines) -> Result<Self> {
        let host = host.filter(|host| !host.is_empty()).unwrap_or("unix:///var/run/docker.sock");
        let known = ["unix:///", "tcp://", "http://"].iter().any(|scheme| host.len() > scheme.len() && host.starts_with(scheme));
        if known {
            return Ok(Self {
                host: host.to_owned(),
                deadlines,
                with_groups: true,
                client: Mutex::new(None),
                heard_ns: AtomicI64::new(0),
            });
        }
        Err(BackendError::Rejected {
            what: format!("DOCKER_HOST={host}"),
            reason: "write unix:///path, tcp://host:port or http://host:port".to_owned(),
        })
    }

    /// The engine's address.
    pub(super) fn address(&self) -> &str {
        &self.host
    }

    /// The same engine; no control groups are made on its host.
    #[must_use]
    pub fn without_groups(mut self) -> Self {
        self.with_groups = false;
        self
    }

    /// A client whose API version was agreed upon with the engine.
    async fn client(&self) -> std::result::Result<Docker, bollard::errors::Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let fresh = if self.host.starts_with("unix://") {
            Docker::connect_with_unix(&self.host, BOLLARD_TIMEOUT_S, API_DEFAULT_VERSION)?
        } else {
            Docker::connect_with_http(&self.host, BOLLARD_TIMEOUT_S, API_DEFAULT_VERSION)?
        };
        Ok(slot.insert(fresh.negotiate_version().await?).clone())
    }

    /// Runs one call within its deadline, connection included.
    pub(super) async fn call<T, F>(
        &self,
        what: &str,
        deadline: Duration,
        operation: impl FnOnce(Docker) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, bollard::errors::Error>>,
    {
        let outcome = tokio::time::timeout(deadline, async { operation(self.client().await?).await }).await;
        let failure = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::read(what, error),
            Err(_) => Failure::timed_out(what, deadline),
        };
        if failure.cause == Cause::Unreachable {
            *self.client.lock().await = None;
        }
        Err(failure)
    }

    pub(super) async fn read<T, F>(&self, what: &str, operation: impl FnOnce(Docker) -> F) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, bollard::errors::Error>>,
    {
        self.call(what, self.deadlines.read, operation).await
    }

    pub(super) async fn change<T, F>(&self, what: &str, operation: impl FnOnce(Docker) -> F) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, bollard::errors::Error>>,
    {
        self.call(what, self.deadlines.change, operation).await
    }

    pub(super) async fn engine_info(&self) -> Result<EngineInfo> {
        let (version, info, spoken) = self
            .read("version and info", |docker| async move {
                let (version, info) = futures_util::try_join!(docker.version(), docker.info())?;
                Ok((version, info, docker.client_version()))
            })
            .await?;
        Ok(EngineInfo {
            version: version.version.unwrap_or_default(),
            api_version: spoken.to_string(),
            api_version_max: version.api_version.unwrap_or_default(),
            cpus: info.ncpu.unwrap_or_default(),
            memory_bytes: info.mem_total.unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_form_names_the_forms() {
        for good in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "http://engine:2375"] {
            assert!(DockerBackend::connect(Some(good)).is_ok(), "{good}");
        }
        for bad in ["ssh://a", "/var/run/docker.sock", "unix://", "fd://x", "https://a"] {
            let error = DockerBackend::connect(Some(bad)).err().unwrap().to_string();
            assert!(error.contains("tcp://host:port"), "{bad}: {error}");
        }
    }
}

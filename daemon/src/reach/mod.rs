//! The way from the daemon to the services of one project: resolved by container at every call, or 200 ms before it,
//! bounded, never following redirects. Probes, host imports and the owner's password all go through here (decision 27).

mod database;
mod egress;
mod http;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::time::Instant;

use crate::backend::{Backend, BackendError, ContainerState, EngineHealth, ErrorClass, ObservedContainer};
use crate::domain::{InstallationId, ProjectRef, Secret, ServiceName, TemplateSet};
use crate::plugin_host::hooks::{AccessError, ServiceAccess, ServiceRequest, ServiceResponse};
use crate::secrets::ProjectSecrets;

pub use egress::Outside;
pub use wire::{Network, Wire};

/// Hears what a post-create hook says of its progress.
pub type ProgressSink = Arc<dyn Fn(String) + Send + Sync>;

/// An address that was just asked for need not be asked for again: one probe may log in with ten roles, one after the other.
const JUST_NOW: Duration = Duration::from_millis(200);

/// Makes ways to projects.
#[derive(Clone)]
pub struct Reach {
    backend: Arc<dyn Backend>,
    installation: InstallationId,
    wire: Arc<dyn Wire>,
}

impl Reach {
    /// Ways to the containers of `backend`, spoken over `wire`.
    pub fn new(backend: Arc<dyn Backend>, installation: InstallationId, wire: Arc<dyn Wire>) -> Self {
        Self { backend, installation, wire }
    }

    /// The way to one project.
    pub fn project(&self, project: &ProjectRef, set: &TemplateSet, secrets: Arc<ProjectSecrets>) -> ProjectReach {
        let roles = set.secrets.iter().filter_map(|secret| Some((secret.role.clone()?, secret.name.clone())));
        ProjectReach {
            reach: self.clone(),
            project: project.clone(),
            services: set.services.iter().map(|service| service.name.clone()).collect(),
            roles: roles.collect(),
            secrets,
            containers: Mutex::default(),
            blind_at: Mutex::default(),
            just_now: Mutex::default(),
            progress: None,
        }
    }
}

/// The way to one project's services.
pub struct ProjectReach {
    reach: Reach,
    project: ProjectRef,
    services: Vec<ServiceName>,
    roles: BTreeMap<String, String>,
    secrets: Arc<ProjectSecrets>,
    /// Service -> container id as last listed; only a hint, proved by an inspect at every call.
    containers: Mutex<BTreeMap<ServiceName, String>>,
    /// Service -> its address, and when the engine said so.
    just_now: Mutex<BTreeMap<ServiceName, (Instant, Ipv4Addr)>>,
    progress: Option<ProgressSink>,
    /// When the engine last failed to say where a service is.
    blind_at: Mutex<Option<Instant>>,
}

impl ProjectReach {
    /// Whether the engine failed since then: whatever was asked through here says nothing about a service.
    pub fn was_blind_since(&self, begun: Instant) -> bool {
        self.blind_at.lock().unwrap_or_else(|poison| poison.into_inner()).is_some_and(|at| at >= begun)
    }

    /// The same way, with the containers of a listing: where they are is asked at every call all the same, but nobody has
    /// to list them first.
    #[must_use]
    pub fn with_containers(self, containers: Vec<(ServiceName, String)>) -> Self {
        *self.containers.lock().unwrap_or_else(|poison| poison.into_inner()) = containers.into_iter().collect();
        self
    }

    /// The same way, telling `sink` what hooks say.
    #[must_use]
    pub fn with_progress(mut self, sink: ProgressSink) -> Self {
        self.progress = Some(sink);
        self
    }

    /// The service's container as it is now.
    async fn container(&self, service: &ServiceName) -> Result<ObservedContainer, AccessError> {
        if !self.services.contains(service) {
            return Err(AccessError::Denied(format!("this project has no service `{service}`")));
        }
        let failed = |error: BackendError| {
            *self.blind_at.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(Instant::now());
            match error.class() {
                // It passes, so trying again may help.
                ErrorClass::Retry => AccessError::Refused(error.to_string()),
                _ => AccessError::Failed(error.to_string()),
            }
        };
        let hint = self.containers.lock().unwrap_or_else(|poison| poison.into_inner()).get(service).cloned();
        if let Some(id) = hint
            && let Some(container) = self.reach.backend.inspect(&id).await.map_err(failed)?
        {
            return Ok(container);
        }
        let observed = self.reach.backend.list_project(&self.reach.installation, &self.project).await.map_err(failed)?;
        let mut ids = BTreeMap::new();
        for container in &observed.containers {
            if let Some(name) = container.labels.as_ref().and_then(|labels| labels.service.clone()) {
                ids.insert(name, container.id.clone());
            }
        }
        let id = ids.get(service).cloned();
        *self.containers.lock().unwrap_or_else(|poison| poison.into_inner()) = ids;
        let gone = || AccessError::Refused(format!("{service} has no container"));
        self.reach.backend.inspect(&id.ok_or_else(gone)?).await.map_err(failed)?.ok_or_else(gone)
    }

    async fn address(&self, service: &ServiceName) -> Result<Ipv4Addr, AccessError> {
        let just_now = || self.just_now.lock().unwrap_or_else(|poison| poison.into_inner());
        let known = just_now().get(service).copied().filter(|(at, _)| at.elapsed() < JUST_NOW);
        if let Some((_, address)) = known {
            return Ok(address);
        }
        let begun = Instant::now();
        let container = self.container(service).await?;
        match (&container.state, container.address) {
            (ContainerState::Running, Some(address)) => {
                just_now().insert(service.clone(), (begun, address));
                Ok(address)
            }
            (ContainerState::Exited { code, .. }, _) => {
                Err(AccessError::Refused(format!("{service} has exited with code {code}")))
            }
            (ContainerState::Restarting, _) => Err(AccessError::Refused(format!(
                "{service} restarts after a failure ({} times so far)",
                container.restart_count
            ))),
            _ => Err(AccessError::Refused(format!("{service} does not run"))),
        }
    }

    fn password(&self, role: &str) -> Result<&Secret<String>, AccessError> {
        let secret = self.roles.get(role).and_then(|name| self.secrets.get(name));
        secret.ok_or_else(|| AccessError::Denied(format!("the template set declares no password for role `{role}`")))
    }

    /// Sets a role's password over a login as another role. What travels is a SCRAM verifier, so that the password
    /// itself is in no statement and no log of the database.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn set_password(
        &self,
        service: &ServiceName,
        admin_role: &str,
        role: &str,
        password: &Secret<String>,
        deadline: Duration,
    ) -> Result<(), AccessError> {
        let address = self.address(service).await?;
        let (admin_password, verifier) = (self.password(admin_role)?, database::verifier(password));
        self.reach.wire.set_password(address, admin_role, admin_password, role, &verifier, deadline).await
    }

    /// Runs the template set's own statements in order as one of its roles, a superuser too.
    ///
    /// # Errors
    /// [`AccessError`]; some of them may have run.
    pub async fn admin(
        &self,
        service: &ServiceName,
        role: &str,
        statements: &[String],
        deadline: Duration,
    ) -> Result<(), AccessError> {
        let address = self.address(service).await?;
        self.reach.wire.admin(address, role, self.password(role)?, statements, deadline).await
    }

    /// The whole number that one of the template set's own queries answers.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn number(&self, service: &ServiceName, role: &str, query: &str, deadline: Duration) -> Result<i64, AccessError> {
        let address = self.address(service).await?;
        self.reach.wire.number(address, role, self.password(role)?, query, deadline).await
    }
}

#[async_trait]
impl ServiceAccess for ProjectReach {
    async fn http(&self, request: ServiceRequest) -> Result<ServiceResponse, AccessError> {
        let address = self.address(&request.service).await?;
        http::exchange(self.reach.wire.as_ref(), address, request, &self.secrets).await
    }

    async fn tcp(&self, service: &ServiceName, port: u16, deadline: Duration) -> Result<Duration, AccessError> {
        let address = SocketAddr::from((self.address(service).await?, port));
        match self.reach.wire.tcp(address, deadline).await {
            Ok(took) => Ok(took),
            Err(AccessError::TimedOut(_)) => {
                Err(AccessError::TimedOut(format!("{service}:{port} did not answer within {} ms", deadline.as_millis())))
            }
            Err(error) => Err(AccessError::Refused(format!("{service}:{port}: {error}"))),
        }
    }

    async fn engine_health(&self, service: &ServiceName) -> Result<EngineHealth, AccessError> {
        Ok(self.container(service).await?.health)
    }

    async fn db_login(&self, service: &ServiceName, port: u16, role: &str, deadline: Duration) -> Result<Duration, AccessError> {
        let address = self.address(service).await?;
        self.reach.wire.login(SocketAddr::from((address, port)), role, self.password(role)?, deadline).await
    }

    async fn sql(&self, service: &ServiceName, role: &str, statement: &str, deadline: Duration) -> Result<u64, AccessError> {
        let address = self.address(service).await?;
        self.reach.wire.sql(address, role, self.password(role)?, statement, deadline).await
    }

    async fn progress(&self, text: &str) {
        if let Some(sink) = &self.progress {
            sink(self.secrets.redact(text));
        }
    }

    async fn hmac_sha256(&self, secret: &str, bytes: &[u8]) -> Result<Vec<u8>, AccessError> {
        let unknown = || AccessError::Denied(format!("this project has no secret `{secret}`"));
        let key = self.secrets.get(secret).ok_or_else(unknown)?;
        let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes());
        let mac = mac.map_err(|error| AccessError::Failed(error.to_string()))?;
        Ok(mac.chain_update(bytes).finalize().into_bytes().to_vec())
    }
}

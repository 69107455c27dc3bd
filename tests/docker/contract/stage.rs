//! What a manner is shown on: one engine, the fake or a real one, and one project's part of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use supamanager::backend::docker::{Deadlines, DockerBackend};
use supamanager::backend::{Backend, BackendError, ContainerSpec, ContainerState, Labels, NetworkSpec, VolumeSpec};
use supamanager::domain::{InstallationId, Limits, OperationId, ProjectRef, ServiceName};
use supamanager::stack::Service;
use supamanager_tests::fake::{FakeEngine, Fault};

use crate::proxy::{Act, Manner, Proxy};
use crate::world::{World, model_network, model_service, model_volume};

/// One engine, and one project's part of it.
pub(super) struct Stage {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) labels: Labels,
    pub(super) folder: PathBuf,
    pub(super) digest: String,
    pub(super) subnet: String,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Fake(FakeEngine),
    Real,
}

/// What goes wrong with the next call.
#[derive(Clone, Copy)]
pub(super) enum Wrong {
    /// It is done, and its answer is lost.
    LostReply,
    /// A 500.
    Refused,
    /// It is done after the caller has given up.
    Late,
}

/// The calls that change something.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Network,
    Volume,
    Container,
    Start,
    Stop,
    Remove,
}

impl Change {
    pub(super) const ALL: [Self; 6] = [Self::Network, Self::Volume, Self::Container, Self::Start, Self::Stop, Self::Remove];

    pub(super) fn request(self) -> (&'static str, &'static str) {
        match self {
            Self::Network => ("POST", "/networks/create"),
            Self::Volume => ("POST", "/volumes/create"),
            Self::Container => ("POST", "/containers/create"),
            Self::Start => ("POST", "/start"),
            Self::Stop => ("POST", "/stop"),
            Self::Remove => ("DELETE", "/containers/"),
        }
    }
}

/// Fakes of this process, each with a folder of its own.
static FAKES: AtomicU32 = AtomicU32::new(0);

impl Drop for Stage {
    fn drop(&mut self) {
        // A real engine's is the world's.
        if matches!(self.kind, Kind::Fake(_)) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Stage {
    pub(super) fn fake() -> Self {
        let begun = tokio::time::Instant::now();
        let engine = FakeEngine::new(7, Arc::new(move || i64::try_from(begun.elapsed().as_millis()).unwrap()));
        engine.look().images.insert("supamanager-test/tiny:1".into(), "sha256:tiny".into());
        let number = FAKES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("supamanager-contract-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("volumes/config")).unwrap();
        Self {
            backend: Arc::new(engine.clone()),
            labels: Labels {
                installation: InstallationId::parse(&"a".repeat(32)).unwrap(),
                project: ProjectRef::parse(&"a".repeat(20)).unwrap(),
                service: None,
                generation: 1,
                operation: OperationId::parse(&format!("op_{}", "a".repeat(24))).unwrap(),
                spec_hash: String::new(),
            },
            folder,
            digest: "sha256:tiny".to_owned(),
            subnet: "10.199.1.0/27".to_owned(),
            kind: Kind::Fake(engine),
        }
    }

    pub(super) fn real(world: &World) -> Self {
        let host = std::env::var("DOCKER_HOST").ok();
        std::fs::create_dir_all(world.folder.join("volumes/config")).unwrap();
        Self {
            backend: Arc::new(DockerBackend::connect(host.as_deref()).unwrap()),
            labels: world.labels.clone(),
            folder: world.folder.clone(),
            digest: world.image_digest.clone(),
            subnet: world.network.subnet.clone(),
            kind: Kind::Real,
        }
    }

    /// The same engine, on which the next call of this kind goes wrong. The proxy lives as long as its answer.
    pub(super) async fn wrong(&self, change: Change, wrong: Wrong) -> (Arc<dyn Backend>, Option<Proxy>) {
        let Kind::Fake(engine) = &self.kind else {
            let act = match wrong {
                Wrong::LostReply => Act::LoseReply,
                Wrong::Refused => Act::Answer(500, "some daemon trouble"),
                Wrong::Late => Act::Late(2_500),
            };
            let (method, path) = change.request();
            let proxy = Proxy::start(vec![Manner { method, path, times: 1, act }]).await;
            let limits = Deadlines { change: Duration::from_secs(1), stop_extra: Duration::from_secs(1), ..Deadlines::default() };
            let backend = DockerBackend::with_deadlines(Some(&proxy.host), limits).unwrap();
            return (Arc::new(backend), Some(proxy));
        };
        let fault = match wrong {
            Wrong::LostReply => Fault::LoseReply,
            Wrong::Refused => Fault::Refuse,
            Wrong::Late => Fault::Late,
        };
        engine.look().manners.arm(fault, true, 1);
        (self.backend.clone(), None)
    }

    pub(super) async fn network(&self, backend: &dyn Backend) -> Result<String, BackendError> {
        let network = model_network(&self.labels.project, &self.subnet);
        backend.ensure_network(&NetworkSpec { network: &network, labels: self.labels.clone() }).await
    }

    pub(super) async fn volume(&self, backend: &dyn Backend) -> Result<(), BackendError> {
        let volume = model_volume(&self.labels.project);
        let labels = self.labels.clone();
        backend.ensure_volume(&VolumeSpec { key: "config", volume: &volume, folder: &self.folder, labels }).await
    }

    pub(super) async fn container(
        &self,
        backend: &dyn Backend,
        service: &Service,
        hash: &str,
        generation: i64,
    ) -> Result<String, BackendError> {
        let name = ServiceName::parse(service.container_name.rsplit('-').next().unwrap()).unwrap();
        let network = model_network(&self.labels.project, &self.subnet).name;
        let volume = model_volume(&self.labels.project).name;
        let spec = ContainerSpec {
            service,
            environment: Vec::new(),
            folder: &self.folder,
            network: &network,
            volumes: BTreeMap::from([("config".to_owned(), volume)]),
            limits: Limits::default(),
            parent: None,
            image_digest: self.digest.clone(),
            labels: Labels { service: Some(name), spec_hash: hash.to_owned(), generation, ..self.labels.clone() },
        };
        backend.ensure_container(&spec).await
    }

    pub(super) fn service(&self, name: &str, script: &str) -> Service {
        model_service(&self.labels.project, name, script)
    }

    /// Network and container, started.
    pub(super) async fn running(&self, service: &Service) -> String {
        self.network(&*self.backend).await.unwrap();
        let id = self.container(&*self.backend, service, "h1", 1).await.unwrap();
        self.backend.start_container(&id).await.unwrap();
        id
    }

    pub(super) async fn state(&self, id: &str) -> Option<ContainerState> {
        self.backend.inspect(id).await.unwrap().map(|container| container.state)
    }

    /// Containers, networks and volumes of the installation.
    pub(super) async fn counts(&self) -> (usize, usize, usize) {
        let seen = self.backend.list(&self.labels.installation).await.unwrap();
        (seen.containers.len(), seen.networks.len(), seen.volumes.len())
    }

    pub(super) async fn change(
        &self,
        change: Change,
        backend: &dyn Backend,
        service: &Service,
        id: &str,
    ) -> Result<(), BackendError> {
        match change {
            Change::Network => self.network(backend).await.map(drop),
            Change::Volume => self.volume(backend).await,
            Change::Container => self.container(backend, service, "h1", 1).await.map(drop),
            Change::Start => backend.start_container(id).await,
            Change::Stop => backend.stop_container(id, 1).await,
            Change::Remove => backend.remove_container(id).await,
        }
    }
}

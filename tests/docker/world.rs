//! One test's part of a real engine: a random installation, a project, a folder, and the proof that nothing is left.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use futures_util::StreamExt;
use supamanager::backend::docker::DockerBackend;
use supamanager::backend::{Backend, ContainerSpec, Labels, NetworkSpec, VolumeSpec};
use supamanager::domain::{InstallationId, Limits, OperationId, ProjectRef, Secret, ServiceName};
use supamanager::stack::{Logging, Network, Service, Volume};

pub const IMAGE: &str = "supamanager-test/tiny:1";

pub struct World {
    pub backend: DockerBackend,
    pub raw: Docker,
    pub labels: Labels,
    pub folder: PathBuf,
    pub network: Network,
    pub image_digest: String,
}

/// Runs a test in a world of its own; afterwards, also when it panicked, everything of the world is removed, and
/// what the test itself left over fails it.
pub async fn with_world<F, Fut>(test: F)
where
    F: FnOnce(Arc<World>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let world = Arc::new(World::new().await);
    let outcome = tokio::spawn(test(world.clone())).await;
    let left = world.sweep().await;
    world.empty_by_hand();
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
    assert!(left.is_empty(), "left on the engine: {left:?}");
}

fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut buffer).unwrap();
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    async fn new() -> Self {
        static SUBNETS: AtomicU8 = AtomicU8::new(0);
        let host = std::env::var("DOCKER_HOST").ok();
        let backend = DockerBackend::connect(host.as_deref()).unwrap();
        if let Err(error) = backend.info().await {
            panic!("these tests need a container engine ({error}): start one with tests/setup/engine.sh");
        }
        let raw = match host.as_deref() {
            Some(host) => Docker::connect_with_host(host).unwrap(),
            None => Docker::connect_with_unix("unix:///var/run/docker.sock", 60, bollard::API_DEFAULT_VERSION).unwrap(),
        };
        let raw = raw.negotiate_version().await.unwrap();
        let image_digest = tiny_image(&backend, &raw).await;
        let letters: String = random_hex(10).bytes().map(|byte| char::from(b'a' + byte % 26)).collect();
        let project = ProjectRef::parse(&letters).unwrap();
        let folder = std::env::temp_dir().join(format!("supamanager-docker-test/{letters}"));
        std::fs::create_dir_all(folder.join("volumes/data")).unwrap();
        // The first /27 of a /26 of 10.199.0.0/16 each (a test makes a network that covers its whole /26), from a
        // random place on, so that two runs on one engine rarely meet.
        static BASE: LazyLock<u8> = LazyLock::new(|| u8::from_str_radix(&random_hex(1), 16).unwrap() % 200);
        let number = SUBNETS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("10.199.{}", *BASE + number / 4);
        let first = u16::from(number % 4) * 64;
        Self {
            backend,
            raw,
            labels: Labels {
                installation: InstallationId::parse(&random_hex(16)).unwrap(),
                project: project.clone(),
                service: None,
                generation: 1,
                operation: OperationId::parse(&format!("op_{}", random_hex(12))).unwrap(),
                spec_hash: String::new(),
            },
            folder,
            network: model_network(&project, &format!("{prefix}.{first}/27")),
            image_digest,
        }
    }

    pub fn name(&self, service: &str) -> String {
        format!("supamanager-{}-{service}", self.labels.project)
    }

    /// A service that runs this shell line. It is the image's only interpreter.
    pub fn service(&self, name: &str, script: &str) -> Service {
        model_service(&self.labels.project, name, script)
    }

    pub fn spec<'a>(&'a self, service: &'a Service, spec_hash: &str) -> ContainerSpec<'a> {
        let name = service.container_name.rsplit('-').next().unwrap();
        ContainerSpec {
            service,
            environment: vec![("TOKEN".into(), Secret::new("s3cret".to_owned()))],
            folder: &self.folder,
            network: &self.network.name,
            volumes: BTreeMap::from([("config".to_owned(), self.name("config"))]),
            limits: Limits::default(),
            parent: None,
            image_digest: self.image_digest.clone(),
            labels: Labels {
                service: Some(ServiceName::parse(name).unwrap()),
                spec_hash: spec_hash.to_owned(),
                ..self.labels.clone()
            },
        }
    }

    pub fn network_spec(&self) -> NetworkSpec<'_> {
        NetworkSpec { network: &self.network, labels: self.labels.clone() }
    }

    pub fn volume(&self) -> Volume {
        model_volume(&self.labels.project)
    }

    pub fn volume_spec<'a>(&'a self, volume: &'a Volume) -> VolumeSpec<'a> {
        VolumeSpec { key: "config", volume, folder: &self.folder, labels: self.labels.clone() }
    }

    /// Network, container, started.
    pub async fn running(&self, service: &Service) -> String {
        self.backend.ensure_network(&self.network_spec()).await.unwrap();
        let id = self.backend.ensure_container(&self.spec(service, "h1")).await.unwrap();
        self.backend.start_container(&id).await.unwrap();
        id
    }

    /// Waits until a container has written this line, at most ten seconds: its end would not do, for it is restarted.
    pub async fn written(&self, id: &str, line: &str) {
        for _ in 0..100 {
            if self.backend.logs(id, 100, None).await.unwrap().iter().any(|found| found.text == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the container never wrote {line:?}");
    }

    /// Removes everything that the test made, by the backend's own calls.
    pub async fn remove_all(&self) {
        let seen = self.backend.list(&self.labels.installation).await.unwrap();
        for container in seen.containers {
            self.backend.remove_container(&container.id).await.unwrap();
        }
        for network in seen.networks {
            self.backend.remove_network(&network.id).await.unwrap();
        }
        for volume in seen.volumes {
            self.backend.remove_volume(&volume.name).await.unwrap();
        }
    }

    /// Removes, without the backend, what carries the installation's label, and says what there was.
    async fn sweep(&self) -> Vec<String> {
        let filters =
            HashMap::from([("label".to_owned(), vec![format!("io.supamanager.installation={}", self.labels.installation)])]);
        let mut left = Vec::new();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for found in self.raw.list_containers(Some(options)).await.unwrap() {
            left.push(format!("container {:?}", found.names));
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let _ = self.raw.remove_container(&found.id.unwrap(), Some(options)).await;
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        for found in self.raw.list_networks(Some(options)).await.unwrap() {
            left.push(format!("network {:?}", found.name));
            let _ = self.raw.remove_network(&found.id.unwrap()).await;
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        for found in self.raw.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default() {
            left.push(format!("volume {}", found.name));
            let _ = self.raw.remove_volume(&found.name, Some(RemoveVolumeOptionsBuilder::new().force(true).build())).await;
        }
        left
    }

    fn empty_by_hand(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The network of a project on a /27: the gateway is its first address, dynamic ones come from the lower half.
pub fn model_network(project: &ProjectRef, subnet: &str) -> Network {
    let first = subnet.trim_end_matches("/27");
    let (prefix, last) = first.rsplit_once('.').unwrap();
    Network {
        name: format!("supamanager-{project}"),
        subnet: subnet.to_owned(),
        gateway: Some(format!("{prefix}.{}", last.parse::<u16>().unwrap() + 1)),
        ip_range: Some(format!("{first}/28")),
        labels: BTreeMap::new(),
    }
}

/// A project's one named volume.
pub fn model_volume(project: &ProjectRef) -> Volume {
    Volume { name: format!("supamanager-{project}-config"), folder: "volumes/config".into(), labels: BTreeMap::new() }
}

/// A service that runs this shell line.
pub fn model_service(project: &ProjectRef, name: &str, script: &str) -> Service {
    Service {
        image: IMAGE.into(),
        container_name: format!("supamanager-{project}-{name}"),
        hostname: None,
        entrypoint: Some(vec!["/bin/sh".into(), "-c".into()]),
        command: Some(vec![script.into()]),
        environment: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        aliases: vec![name.into()],
        ipv4_address: None,
        depends_on: Vec::new(),
        healthcheck: None,
        labels: BTreeMap::from([("io.supamanager.name".into(), "Café $5".into())]),
        logging: Logging {
            driver: "json-file".into(),
            options: BTreeMap::from([("max-size".into(), "1m".into()), ("max-file".into(), "2".into())]),
        },
        ulimits: Vec::new(),
        user: None,
        stop_signal: None,
        stop_grace_s: Some(1),
        pids_limit: Some(32),
        init: true,
    }
}

/// An image with a shell and a few programs, made from this machine's own files: nothing is downloaded.
async fn tiny_image(backend: &DockerBackend, raw: &Docker) -> String {
    static ONCE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = ONCE.lock().await;
    if let Some(digest) = backend.image_digest(IMAGE).await.unwrap() {
        return digest;
    }
    let stage = std::env::temp_dir().join(format!("supamanager-tiny-{}", std::process::id()));
    for folder in ["bin", "tmp", "etc"] {
        std::fs::create_dir_all(stage.join(folder)).unwrap();
    }
    std::fs::write(stage.join("etc/from-image"), "filled from the image\n").unwrap();
    for program in ["sh", "cat", "sleep", "find", "head", "touch", "mkdir", "chown", "seq"] {
        let path = ["/bin", "/usr/bin"].iter().map(|d| Path::new(d).join(program)).find(|p| p.exists()).unwrap();
        std::fs::copy(&path, stage.join("bin").join(program)).unwrap();
        let listed = Command::new("ldd").arg(&path).output().unwrap().stdout;
        for library in String::from_utf8(listed).unwrap().split_whitespace().filter(|word| word.starts_with('/')) {
            let inside = stage.join(&library[1..]);
            std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
            std::fs::copy(library, inside).unwrap();
        }
    }
    let tar = Command::new("tar")
        .args(["-c", "--numeric-owner", "--owner=0", "--group=0", "-C"])
        .arg(&stage)
        .arg(".")
        .output()
        .unwrap();
    assert!(tar.status.success(), "tar: {}", String::from_utf8_lossy(&tar.stderr));
    std::fs::remove_dir_all(&stage).unwrap();
    let options = CreateImageOptionsBuilder::new().from_src("-").repo("supamanager-test/tiny").tag("1").build();
    let body = bollard::body_full(tar.stdout.into());
    let mut stream = std::pin::pin!(raw.create_image(Some(options), Some(body), None));
    while let Some(item) = stream.next().await {
        item.unwrap();
    }
    backend.image_digest(IMAGE).await.unwrap().unwrap()
}

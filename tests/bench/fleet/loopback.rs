//! What one HTTP probe costs, the product's whole way (plugin, address from the engine, request, verdict), against a bare
//! loop of the same HTTP client that asks the same of the same server in the same run.
//!
//! The server is a process of its own. Both ways take turns, so that a slow moment of the machine meets both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use reqwest::header::HeaderMap;
use supamanager::app::{self, Lock};
use supamanager::backend::Labels;
use supamanager::clock::Clock;
use supamanager::domain::{OperationId, PluginChoices, ProjectRef, Secret, ServiceName, ServiceState};
use supamanager::lifecycle::{Failpoints, Foundations, Parts, probing};
use supamanager::plugin_host::hooks::{AccessError, ServiceRequest, ServiceResponse};
use supamanager::plugin_host::{HostConfig, PluginHost};
use supamanager::reach::{Network, ProjectReach, Wire};
use supamanager::templates::{LoadedSet, Templates};
use supamanager_tests::fake::{Container, FakeEngine, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Latencies;
use crate::process::Process;
use crate::world;

/// The service that is probed: its probe is of kind `http` and looks into the answer.
const SERVICE: &str = "auth";
const ANSWER: &str =
    r#"{"name":"GoTrue","version":"v2.99.0","description":"GoTrue is a user registration and authentication API"}"#;
/// Probes under way at once.
const AT_ONCE: usize = 10;
/// Of each, in one turn.
const PROBES: usize = 3_000;
const TURNS: usize = 4;

/// One way to ask.
#[derive(Default)]
pub struct Way {
    pub name: &'static str,
    pub cpu_s: f64,
    pub latencies: Latencies,
}

/// Both ways, and more.
pub struct Compared {
    pub ways: Vec<Way>,
    pub note: String,
}

impl Compared {
    /// CPU and p50 of the first way to the second.
    pub fn ratios(&self) -> (f64, f64) {
        let cpu = |way: &Way| way.cpu_s / way.latencies.count() as f64;
        let p50 = |way: &Way| way.latencies.at(500).as_secs_f64();
        let (probe, bare) = (&self.ways[0], &self.ways[1]);
        (cpu(probe) / cpu(bare), p50(probe) / p50(bare))
    }
}

pub async fn measure() -> anyhow::Result<Compared> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = Process::begin(&["loopback", &port.to_string()])?;
    ensure!(server.line()? == "listens");
    let product = Product::new(port).await?;
    let bare = supamanager::web::plain().build()?;
    let url = format!("http://127.0.0.1:{port}/health");
    let mut took = [Vec::new(), Vec::new()];
    let mut cpu = [0.0; 2];
    for turn in 0..=TURNS {
        for way in [turn % 2, (turn + 1) % 2] {
            let before = own_cpu()?;
            let looks: Vec<Duration> = match way {
                0 => many(|| product.probe()).await?,
                _ => many(|| get(&bare, &url)).await?,
            };
            // The first turn warms both.
            if turn > 0 {
                cpu[way] += own_cpu()? - before;
                took[way].extend(looks);
            }
        }
    }
    let [probes, bares] = took;
    Ok(Compared {
        ways: vec![
            Way { name: "probe", cpu_s: cpu[0], latencies: Latencies::of(probes) },
            Way { name: "bare reqwest loop", cpu_s: cpu[1], latencies: Latencies::of(bares) },
        ],
        note: format!(
            "{} of each in {TURNS} turns, {AT_ONCE} under way at once, a connection per request on both sides; CPU of the asking process only.",
            PROBES * TURNS
        ),
    })
}

async fn many<F: Future<Output = anyhow::Result<Duration>>>(look: impl Fn() -> F) -> anyhow::Result<Vec<Duration>> {
    let looks: Vec<_> = stream::iter(0..PROBES).map(|_| look()).buffer_unordered(AT_ONCE).collect().await;
    looks.into_iter().collect()
}

async fn get(client: &reqwest::Client, url: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let answer = client.get(url).timeout(Duration::from_secs(3)).send().await?;
    ensure!(answer.status().as_u16() == 200 && answer.bytes().await?.starts_with(b"{\"name\":\"GoTrue\""));
    Ok(begun.elapsed())
}

fn own_cpu() -> anyhow::Result<f64> {
    // Nanoseconds that this process's threads were on a processor: `stat` has only hundredths of a second.
    let mut sum = 0_u64;
    for task in std::fs::read_dir("/proc/self/task")?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum as f64 / 1e9)
}

/// The daemon's side of a probe.
struct Product {
    parts: Parts,
    set: Arc<LoadedSet>,
    project: ProjectRef,
    service: ServiceName,
    reach: Arc<ProjectReach>,
    folder: std::path::PathBuf,
}

impl Product {
    async fn new(port: u16) -> anyhow::Result<Self> {
        let folder = world::root().join("target/bench/fleet/loopback");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let config = world::config(&folder);
        let clock = Clock::system();
        let opened = app::open(&config, None, &clock, Lock::Take).await?;
        let engine = world::engine(&config)?;
        // The engine's calls take no time here: what is compared is the daemon's own way.
        engine.look().manners.instant = true;
        let parse = |what: &str| anyhow::anyhow!("{what}");
        let project = ProjectRef::parse(&"a".repeat(20)).map_err(|_| parse("a ref"))?;
        let service = ServiceName::parse(SERVICE).map_err(|_| parse("a name"))?;
        let labels = Labels {
            installation: opened.installation.clone(),
            project: project.clone(),
            service: Some(service.clone()),
            generation: 1,
            operation: OperationId::parse(&format!("op_{}", "0".repeat(24))).map_err(|_| parse("an id"))?,
            spec_hash: String::new(),
        };
        engine.look().containers.insert("container".to_owned(), container(labels));
        let parts = Parts::new(Foundations {
            installation: opened.installation,
            store: opened.store,
            key: opened.key,
            backend: Arc::new(engine.clone()),
            wire: Arc::new(OnePort { network: Network::new().map_err(anyhow::Error::msg)?, engine, port }),
            plugins: Arc::new(PluginHost::load(HostConfig::new(&config.plugins_dir, &config.data_dir)).await?),
            templates: Templates::load(&config.templates_dir)?,
            clock,
            failpoints: Failpoints::new("", &config.data_dir),
            config,
        });
        let set = parts.templates.set(&parts.config.template_set).ok().context("the set")?;
        // What comes back is searched for all of them.
        let secrets = supamanager::secrets::generate(&set.spec.secrets, None, parts.clock.now())?;
        let reach = Arc::new(parts.reach.project(&project, &set.spec, Arc::new(secrets)));
        Ok(Self { set, project, service, reach, folder, parts })
    }

    async fn probe(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let seen =
            probing::probe(&self.parts, &self.set, (&self.project, &PluginChoices::default()), &self.service, self.reach.clone())
                .await?;
        ensure!(seen.state == ServiceState::Healthy, "{}: {}", seen.state.as_str(), seen.reason);
        Ok(begun.elapsed())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn container(labels: Labels) -> Container {
    Container {
        id: "container".to_owned(),
        name: "container".to_owned(),
        labels: Some(labels),
        state: State::Running { since: 0 },
        address: Some(Ipv4Addr::LOCALHOST),
        ..Container::default()
    }
}

/// The product's own network, on another port: the set's may be taken on this host.
struct OnePort {
    network: Network,
    engine: FakeEngine,
    port: u16,
}

#[async_trait]
impl Wire for OnePort {
    async fn http(&self, address: Ipv4Addr, request: ServiceRequest, headers: HeaderMap) -> Result<ServiceResponse, AccessError> {
        self.network.http(address, ServiceRequest { port: self.port, ..request }, headers).await
    }

    async fn tcp(&self, address: SocketAddr, deadline: Duration) -> Result<Duration, AccessError> {
        self.engine.tcp(address, deadline).await
    }

    async fn login(&self, to: SocketAddr, role: &str, password: &Secret<String>, d: Duration) -> Result<Duration, AccessError> {
        self.engine.login(to, role, password, d).await
    }

    async fn sql(&self, to: Ipv4Addr, role: &str, p: &Secret<String>, sql: &str, d: Duration) -> Result<u64, AccessError> {
        self.engine.sql(to, role, p, sql, d).await
    }

    async fn admin(&self, to: Ipv4Addr, role: &str, p: &Secret<String>, sql: &[String], d: Duration) -> Result<(), AccessError> {
        self.engine.admin(to, role, p, sql, d).await
    }

    async fn number(&self, to: Ipv4Addr, role: &str, p: &Secret<String>, sql: &str, d: Duration) -> Result<i64, AccessError> {
        self.engine.number(to, role, p, sql, d).await
    }

    async fn set_password(
        &self,
        to: Ipv4Addr,
        admin: &str,
        p: &Secret<String>,
        role: &str,
        verifier: &str,
        d: Duration,
    ) -> Result<(), AccessError> {
        self.engine.set_password(to, admin, p, role, verifier, d).await
    }
}

/// The server: the same answer to everything, until it is told to end.
pub async fn run(port: u16) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listens");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let answer: Arc<str> = answer.into();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            while stream.read_buf(&mut asked).await? > 0 {
                if asked.ends_with(b"\r\n\r\n") {
                    asked.clear();
                    stream.write_all(answer.as_bytes()).await?;
                }
            }
            std::io::Result::Ok(())
        });
    }
}

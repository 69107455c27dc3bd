//! One installation on the fake engine, over any number of lives of its daemon.
//!
//! Its store is a file of SQLite, or a database on the server of `SUPAMANAGER_TEST_DATABASE_URL`.
//!
//! Time: tokio's paused clock jumps to the next timer whenever nothing can run. SQLite works in threads of its own,
//! PostgreSQL in other processes, and plugins compute in other threads, which tokio does not know of: it would jump
//! while a statement is on its way, and every deadline would be over. So before the runtime parks, a look at the
//! store's connections and at the plugins decides: while one is at work, a task goes round and round, and the runtime
//! is not idle.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use supamanager::clock::Clock;
use supamanager::config::Config;
use supamanager::domain::{InstallationId, OperationId, Project, ProjectName, ProjectRef, ProjectStatus, Secret, ServiceState};
use supamanager::lifecycle::{CreateRequest, Created, Failpoints, Foundations, Lifecycle, LifecycleError, Parts};
use supamanager::plugin_host::{HostConfig, PluginHost};
use supamanager::secrets::MasterKey;
use supamanager::store::{Lease, ListFilter, Occupied, Store, StoreError};
use supamanager::templates::Templates;
use supamanager_tests::databases::TestDatabase;
use supamanager_tests::fake::{FakeEngine, World};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::listener::Script;

/// Between two looks whether all is at rest: each is some five queries.
const LOOKS: Duration = Duration::from_secs(5);
/// When every stand begins: some day of 2026.
const BEGINNING: i64 = 1_780_000_000_000;

/// The clock of the test: what earlier lives took, and the paused clock of this one.
#[derive(Default)]
struct Time {
    before: AtomicI64,
    begun: Mutex<Option<Instant>>,
}

impl Time {
    fn now(&self) -> i64 {
        let elapsed = self.begun.lock().unwrap().map_or(Duration::ZERO, |begun| begun.elapsed());
        self.before.load(Ordering::SeqCst) + i64::try_from(elapsed.as_millis()).unwrap()
    }

    fn begin(&self) {
        *self.begun.lock().unwrap() = Some(Instant::now());
    }

    fn end(&self) {
        let now = self.now();
        *self.begun.lock().unwrap() = None;
        self.before.store(now, Ordering::SeqCst);
    }
}

/// What works in threads that tokio does not know of.
struct Outside {
    /// `None` while it is being opened.
    store: Mutex<Option<Store>>,
    plugins: Arc<PluginHost>,
    wanted: Notify,
}

impl Outside {
    fn at_work(&self) -> bool {
        self.plugins.computing() > 0 || self.store.lock().unwrap().as_ref().is_none_or(|store| store.in_use() > 0)
    }

    /// Never idle while something outside is at work.
    async fn hold_time(self: Arc<Self>) {
        loop {
            self.wanted.notified().await;
            while self.at_work() {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The installation.
pub struct Stand {
    pub engine: FakeEngine,
    pub data: PathBuf,
    pub script: Arc<Script>,
    time: Arc<Time>,
    config: Config,
    /// `None`: a file in the data folder.
    database: Option<TestDatabase>,
}

/// In memory where there is such a place: a commit waits for the disk, and nobody cuts the power here.
fn folder(name: &str) -> PathBuf {
    let base = Some(PathBuf::from("/dev/shm")).filter(|shared| shared.is_dir()).unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("supamanager-sim-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file of SQLite after all migrations: made once, so that no stand pays for them.
fn empty_store() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = folder("empty");
        let url = format!("sqlite://{}/supamanager.db", folder.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, lease) = Store::open_leased(&url, Occupied::Fail, BEGINNING).await.unwrap();
            drop(lease);
            store.close().await;
        });
        drop(runtime);
        wait_until_closed(&folder);
        let file = std::fs::read(folder.join("supamanager.db")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        file
    })
}

/// A killed process has no statement on its way; SQLite's threads may still hold one for a moment.
fn wait_until_closed(data: &Path) {
    let begun = std::time::Instant::now();
    let ours = |link: PathBuf| link.starts_with(data) && link.extension().is_some_and(|e| e == "db" || e == "db-wal");
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(ours)
    };
    while open() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the store of {} stays open", data.display());
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// The work was done.
    Done(T),
    /// The daemon was dropped at its failpoint.
    Crashed,
}

/// One life of the daemon.
pub struct Life {
    pub lifecycle: Lifecycle,
    pub parts: Arc<Parts>,
}

impl Stand {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| ())
    }

    /// Ports for twenty projects at most, unless the configuration is changed.
    pub fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let data = folder(&number.to_string());
        let time = Arc::new(Time::default());
        time.before.store(BEGINNING, Ordering::SeqCst);
        let now = {
            let time = time.clone();
            Arc::new(move || time.now())
        };
        let engine = FakeEngine::new(seed, now);
        engine.answer_like(&templates().set("sim").unwrap().spec);
        // The host's own sockets are asked for free ports: two test threads must not ask for the same.
        let first = 20_000 + u16::try_from(number % 64).unwrap() * 40;
        let mut config =
            Config { data_dir: data.clone(), template_set: "sim".into(), image_set: "sim".into(), ..Config::default() };
        // Looks cost real time and change nothing here.
        config.limits.probe_interval_s = 30;
        // In memory there may be little room.
        config.limits.disk_free_min = "8MiB".to_owned();
        // Half of all stands have limits, half of those an engine without groups.
        if seed % 2 == 1 {
            config.resources.default_cpu = "0.5".to_owned();
            config.resources.default_memory = "512MB".to_owned();
            config.resources.cpu_overcommit_percent = 100_000;
            config.resources.memory_overcommit_percent = 100_000;
            engine.look().allows_groups = seed % 4 == 1;
        }
        config.ports.api = format!("{first}-{}", first + 19);
        config.ports.db = format!("{}-{}", first + 20, first + 39);
        change(&mut config);
        let database = TestDatabase::on_postgres().then(TestDatabase::postgres);
        if database.is_none() {
            std::fs::write(data.join("supamanager.db"), empty_store()).unwrap();
        }
        Self { engine, data, script: Arc::default(), time, config, database }
    }

    /// An installation of the same configuration, at the same time and in the same place, on an engine of its own.
    pub fn again(&self, world: World) -> Self {
        let time = Arc::new(Time::default());
        time.before.store(self.time.now(), Ordering::SeqCst);
        let now = {
            let time = time.clone();
            Arc::new(move || time.now())
        };
        let engine = FakeEngine::with_world(world, now);
        Self { engine, data: self.data.clone(), script: Arc::default(), time, config: self.config.clone(), database: None }
    }

    /// Milliseconds on the clock of the test.
    pub fn now(&self) -> i64 {
        self.time.now()
    }

    /// The same, for use inside a life.
    pub fn clock(&self) -> impl Fn() -> i64 + use<> {
        let time = self.time.clone();
        move || time.now()
    }

    /// Runs a life until the work is done or a failpoint crashes it.
    pub fn live<T, F>(&mut self, work: impl FnOnce(Life) -> F) -> Ended<T>
    where
        F: Future<Output = T>,
    {
        let outside = Arc::new(Outside { store: Mutex::new(None), plugins: plugins(), wanted: Notify::new() });
        let runtime = {
            let outside = outside.clone();
            let hook = move || {
                if outside.at_work() {
                    outside.wanted.notify_one();
                }
            };
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).on_thread_park(hook).build().unwrap()
        };
        let ended = runtime.block_on(async {
            self.time.begin();
            tokio::spawn(outside.clone().hold_time());
            let (opened, _lease) = self.open().await;
            *outside.store.lock().unwrap() = Some(opened.clone());
            let stop = CancellationToken::new();
            let (parts, lifecycle) = self.daemon(opened, &stop).await;
            let tasks = supamanager::app::watch(&lifecycle, &stop);
            let life = Life { lifecycle, parts };
            let crash = self.script.begin();
            let ended = tokio::select! {
                biased;
                () = crash.notified() => Ended::Crashed,
                out = work(life) => Ended::Done(out),
            };
            if matches!(ended, Ended::Done(_)) {
                stop.cancel();
                tasks.wait().await;
            }
            self.time.end();
            ended
        });
        // The runtime keeps its hook, and the hook would keep the store.
        *outside.store.lock().unwrap() = None;
        drop(runtime);
        wait_until_closed(&self.data);
        ended
    }

    /// A life that is expected to end well.
    pub fn lived<T, F: Future<Output = T>>(&mut self, work: impl FnOnce(Life) -> F) -> T {
        match self.live(work) {
            Ended::Done(done) => done,
            Ended::Crashed => panic!("no crash was planned"),
        }
    }

    /// Where the store is.
    pub fn url(&self) -> String {
        let file = || format!("sqlite://{}/supamanager.db", self.data.display());
        self.database.as_ref().map_or_else(file, |database| database.url.clone())
    }

    /// As a daemon opens it. PostgreSQL frees the lease of a life that crashed when it has seen its connections end.
    async fn open(&self) -> (Store, Lease) {
        let url = self.url();
        let begun = std::time::Instant::now();
        loop {
            match Store::open_leased(&url, Occupied::Fail, self.now()).await {
                Err(StoreError::Held) if begun.elapsed() < Duration::from_secs(10) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                opened => return opened.unwrap(),
            }
        }
    }

    async fn daemon(&self, store: Store, stop: &CancellationToken) -> (Arc<Parts>, Lifecycle) {
        let now = {
            let time = self.time.clone();
            Clock::from_fn(move || time.now())
        };
        store.found(&installation(), key().id(), &self.config.regions, now.now()).await.unwrap();
        let parts = Arc::new(Parts::new(Foundations {
            config: self.config.clone(),
            installation: installation(),
            store,
            key: key().clone(),
            backend: Arc::new(self.engine.clone()),
            wire: Arc::new(self.engine.clone()),
            plugins: plugins(),
            templates: templates().clone(),
            clock: now,
            failpoints: Failpoints::heard_by(self.script.clone()),
        }));
        let lifecycle = Lifecycle::new(parts.clone(), stop.clone());
        (parts, lifecycle)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

impl Life {
    /// Waits until the first listing has been read.
    pub async fn ready(&self) {
        while !self.parts.sight.listed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A create whose name is its idempotency key.
    pub async fn create(&self, name: &str) -> Result<Created, LifecycleError> {
        let request = CreateRequest {
            name: ProjectName::parse(name).unwrap(),
            organization_id: "default".to_owned(),
            region: "us-east".to_owned(),
            template_set: None,
            image_set: None,
            services: BTreeMap::new(),
            plugins: Default::default(),
            db_pass: None,
            resources: self.parts.config.resources.of_a_project().unwrap(),
            caller: "test".to_owned(),
            idempotency: Some((name.to_owned(), format!("the body of {name}"))),
        };
        self.lifecycle.create(request).await
    }

    pub async fn project(&self, id: &ProjectRef) -> Project {
        self.parts.store.project(id).await.unwrap().expect("a project")
    }

    pub async fn projects(&self) -> Vec<Project> {
        let filter = ListFilter { deleted: true, limit: 10_000, ..ListFilter::default() };
        let mut projects = self.parts.store.projects(&filter).await.unwrap().projects;
        // Refs are random, also under one seed: the order of their creation is not.
        projects.sort_by_key(|project| project.created_at);
        projects
    }

    /// Waits until the operation has ended.
    pub async fn ended(&self, operation: &OperationId) {
        while self.parts.store.operation(operation).await.unwrap().expect("an operation").ended_at.is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the project has this status, an hour at most.
    pub async fn settled(&self, id: &ProjectRef, status: ProjectStatus) {
        let begun = Instant::now();
        while self.project(id).await.status != status {
            assert!(begun.elapsed() < Duration::from_secs(3600), "it is {:?}", self.project(id).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until nothing is under way and nothing waits to be repaired, and stays so for as long as the loops need for
    /// a look or two. What is still restless after `at_most` is for the caller to judge.
    pub async fn quiet(&self, at_most: Duration) {
        let begun = Instant::now();
        loop {
            while !self.at_rest().await && begun.elapsed() < at_most {
                tokio::time::sleep(LOOKS).await;
            }
            tokio::time::sleep(Duration::from_secs(45)).await;
            if self.at_rest().await || begun.elapsed() >= at_most {
                return;
            }
        }
    }

    async fn at_rest(&self) -> bool {
        for project in self.projects().await.iter().filter(|project| project.status.is_active()) {
            // It takes three looks, thirty seconds apart, until a service that does not come back makes its project unhealthy.
            let seen = self.parts.store.observations(&project.id).await.unwrap();
            let well = seen.iter().all(|seen| seen.state == ServiceState::Healthy);
            if project.status == ProjectStatus::ActiveUnhealthy || !well {
                return false;
            }
        }
        self.parts.store.unfinished_operations().await.unwrap().is_empty()
    }

    /// Every secret of every project that still has some, in clear.
    pub async fn secrets(&self) -> BTreeMap<ProjectRef, Vec<(String, String)>> {
        let mut all = BTreeMap::new();
        for project in self.projects().await {
            if project.status != ProjectStatus::Deleted {
                let secrets = self.lifecycle.secrets(&project.id).await.unwrap();
                let values = secrets.iter().map(|(name, value)| (name.to_owned(), value.expose().clone()));
                all.insert(project.id, values.collect());
            }
        }
        all
    }
}

pub fn installation() -> InstallationId {
    InstallationId::parse(&"5".repeat(32)).unwrap()
}

/// Deriving it takes 50 ms on purpose, once.
fn key() -> &'static MasterKey {
    static KEY: OnceLock<MasterKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let secret = Secret::new("a secret of thirty-two characters".to_owned());
        MasterKey::derive(&secret, &installation()).unwrap_or_else(|error| panic!("{error}"))
    })
}

pub fn templates() -> &'static Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES.get_or_init(|| Templates::load(&root().join("tests/fixtures/sim")).unwrap())
}

/// The shipped plugins, loaded once for every thread: two stands at once would hold each other's clocks.
fn plugins() -> Arc<PluginHost> {
    thread_local!(static HOST: OnceLock<Arc<PluginHost>> = const { OnceLock::new() });
    let load = || {
        let folder = root().join("target/plugins");
        assert!(folder.is_dir(), "{} is missing: make plugins", folder.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Every thread loads, and the kept versions are one daemon's.
        let config = HostConfig { versions: None, ..HostConfig::new(&folder, &root().join("target/sim")) };
        // On a thread of its own: the caller is inside a runtime already.
        std::thread::spawn(move || Arc::new(runtime.block_on(PluginHost::load(config)).unwrap())).join().unwrap()
    };
    HOST.with(|host| host.get_or_init(load).clone())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

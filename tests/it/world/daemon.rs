//! The real binary, started, killed and stopped like an operator's.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use supamanager_tests::databases::TestDatabase;

use super::{Api, Engine, User, compiled, copy_folder, root, scratch};

/// How a daemon differs from the usual one.
#[derive(Default, Clone)]
pub struct Options {
    /// Extra environment.
    pub environment: BTreeMap<String, String>,
    /// Parts of WARN and ERROR lines that this test provokes.
    pub expected: Vec<String>,
    /// Another user to run it as, in that user's folder.
    pub user: Option<User>,
}

impl Options {
    /// The set of two small containers, whose image is made when the engine does not have it.
    pub fn tiny() -> Self {
        Engine.tiny_image();
        Self::default()
            .set("SUPAMANAGER_TEMPLATES_DIR", root().join("tests/fixtures/tiny").display().to_string())
            .set("SUPAMANAGER_TEMPLATE_SET", "tiny")
            .set("SUPAMANAGER_IMAGE_SET", "tiny")
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    /// Expects log lines that hold this.
    #[must_use]
    pub fn expecting(mut self, part: &str) -> Self {
        self.expected.push(part.to_owned());
        self
    }
}

/// A daemon with a folder, ports and subnets of its own.
pub struct Daemon {
    pub data: PathBuf,
    pub api: Api,
    pub engine: Engine,
    /// First port of its ten API ports; its ten database ports follow.
    pub first_port: u16,
    options: Options,
    child: Option<Child>,
    /// A second process that waits for the first one's end.
    standby: Option<Child>,
    listen: u16,
    /// With `SUPAMANAGER_TEST_DATABASE_URL`; else the store is a file in the data folder.
    database: Option<TestDatabase>,
}

/// Daemons of all tests on this machine share the engine: each has twenty-one ports and a /24 that nobody else has, also
/// of those in another process. A lock says so until this process ends.
fn slot() -> u16 {
    let free = |slot: &u16| {
        let file = std::env::temp_dir().join(format!("supamanager-test-slot-{slot}"));
        let file = File::options().create(true).append(true).open(file).expect("the file of a slot");
        // Never closed: that would be the end of the lock.
        file.try_lock().is_ok().then(|| std::mem::forget(file)).is_some()
    };
    (0..250).find(free).expect("a free slot")
}

impl Daemon {
    /// The first of twenty-one ports that nobody else has.
    pub fn next_port() -> u16 {
        21_000 + slot() * 21
    }

    /// Starts one and makes a token.
    pub async fn start(name: &str, options: Options) -> Self {
        let mut daemon = Self::at_rest(name, options);
        daemon.launch(&[]);
        daemon.reachable("/healthz").await;
        let token = daemon.command(&["token", "create", "--name", "test"]);
        daemon.api = Api::new(&daemon.api.url, token.trim());
        daemon
    }

    /// One that has not been started yet.
    pub fn at_rest(name: &str, options: Options) -> Self {
        let slot = slot();
        let first_port = 21_000 + slot * 21;
        let mut options = options;
        let (home, plugins) = match &options.user {
            Some(user) => (user.home.clone(), user.home.join("plugins")),
            None => (root(), plugins_dir()),
        };
        let defaults = [
            ("SUPAMANAGER_PORTS_API", format!("{}-{}", first_port, first_port + 9)),
            ("SUPAMANAGER_PORTS_DB", format!("{}-{}", first_port + 10, first_port + 19)),
            ("SUPAMANAGER_PORTS_REST_S", "0".to_owned()),
            ("SUPAMANAGER_SUBNETS_POOL", format!("10.212.{slot}.0/24")),
            ("SUPAMANAGER_IMAGE_SET", image_set()),
            ("SUPAMANAGER_TEMPLATES_DIR", home.join("templates").display().to_string()),
            ("SUPAMANAGER_PLUGINS_DIR", plugins.display().to_string()),
        ];
        for (key, value) in defaults {
            options.environment.entry(key.to_owned()).or_insert(value);
        }
        let database = TestDatabase::on_postgres().then(TestDatabase::postgres);
        if let Some(database) = &database {
            options.environment.entry("SUPAMANAGER_DATABASE_URL".to_owned()).or_insert_with(|| database.url.clone());
        }
        let data = options.user.as_ref().map_or_else(|| scratch(name), |user| user.home.join("data"));
        if options.user.is_none() {
            compiled::give(&data);
        }
        Self {
            api: Api::new(&format!("http://127.0.0.1:{}", first_port + 20), ""),
            engine: Engine,
            child: None,
            standby: None,
            database,
            listen: first_port + 20,
            data,
            first_port,
            options,
        }
    }

    /// The same, waiting until changes are taken.
    pub async fn ready(name: &str, options: Options) -> Self {
        let daemon = Self::start(name, options).await;
        daemon.reachable("/readyz").await;
        if daemon.options.environment["SUPAMANAGER_PLUGINS_DIR"] == plugins_dir().display().to_string() {
            compiled::keep(&daemon.data);
        }
        daemon
    }

    /// Launches the process, with extra environment for this run only.
    pub fn launch(&mut self, extra: &[(&str, &str)]) {
        self.child = Some(self.serve(&[], extra));
    }

    fn serve(&self, arguments: &[&str], extra: &[(&str, &str)]) -> Child {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log");
        let mut command = self.binary();
        for (key, value) in extra {
            command.env(key, value);
        }
        command.arg("serve").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the daemon")
    }

    /// Launches a second one that waits, and waits until it says so.
    pub async fn stand_by(&mut self) {
        let waiting = |log: &str| log.matches("stands by").count();
        let before = waiting(&self.log());
        self.standby = Some(self.serve(&["--standby"], &[]));
        let begun = Instant::now();
        while waiting(&self.log()) == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "no standby\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the standby takes changes, within 30 s, and is the daemon from then on. The first one must be gone.
    pub async fn taken_over(&mut self) {
        assert!(self.child.is_none(), "the first one lives");
        self.child = Some(self.standby.take().expect("a standby"));
        let begun = Instant::now();
        self.reachable("/readyz").await;
        assert!(begun.elapsed() < Duration::from_secs(30), "it took over after {:?}", begun.elapsed());
    }

    /// Waits until the first one has ended by itself, within 30 s; whether it said that all was well.
    pub async fn ended(&mut self) -> bool {
        let mut child = self.child.take().expect("a daemon");
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("waited") {
                return status.success();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the daemon does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the store is opened with, on PostgreSQL.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|database| database.url.as_str())
    }

    /// Waits until a path answers 200.
    pub async fn reachable(&self, path: &str) {
        let begun = Instant::now();
        let url = format!("{}{path}", self.api.url);
        while !supamanager_tests::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{url} does not answer\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs another command of the binary on the same folder; its standard output.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.binary().args(arguments).stdin(Stdio::null()).output().expect("the binary");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The binary with this daemon's environment and no other SUPAMANAGER variable.
    pub fn binary(&self) -> Command {
        let own = self.options.user.as_ref().map(|user| user.home.join("supamanager"));
        let mut command = Command::new(own.unwrap_or_else(binary_path));
        command.env_clear();
        for key in ["PATH", "HOME", "DOCKER_HOST"] {
            if let Ok(value) = std::env::var(key) {
                command.env(key, value);
            }
        }
        command.env("SUPAMANAGER_LISTEN", format!("127.0.0.1:{}", self.listen)).env("SUPAMANAGER_DATA_DIR", &self.data);
        command.env("SUPAMANAGER_URL", &self.api.url).env("SUPAMANAGER_TOKEN", &self.api.token);
        command.envs(&self.options.environment);
        if let Some(user) = &self.options.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// SIGKILL, and nothing else.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
    }

    /// SIGTERM, as an operator would, with a limit of 30 s.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill").success());
        let begun = Instant::now();
        while child.try_wait().expect("waited").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the daemon does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again with a failpoint set.
    pub async fn arm(&mut self, place: &str) {
        self.stop();
        self.launch(&[("SUPAMANAGER_FAILPOINT", place)]);
        self.reachable("/readyz").await;
    }

    /// Kills it at its failpoint, which must be hit, and leaves it dead.
    pub async fn killed_at(&mut self, place: &str) {
        let marker = self.data.join("failpoint");
        let begun = Instant::now();
        while std::fs::read_to_string(&marker).ok().as_deref() != Some(place) {
            assert!(begun.elapsed() < Duration::from_secs(60), "failpoint {place} was not hit\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill();
        std::fs::remove_file(&marker).expect("the marker");
    }

    /// Starts it again without a failpoint.
    pub async fn revive(&mut self) {
        self.launch(&[]);
        self.reachable("/readyz").await;
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The id on every object of its engine.
    pub fn installation(&self) -> String {
        std::fs::read_to_string(self.data.join("installation")).expect("an installation").trim().to_owned()
    }

    /// What the engine has of this daemon.
    pub fn objects(&self) -> Vec<String> {
        let mut objects = self.engine.labelled(&format!("io.supamanager.installation={}", self.installation()));
        // Control groups have no labels: those of the projects that this daemon has ever spoken of.
        let log = self.log();
        objects.extend(self.engine.groups().into_iter().filter(|project| log.contains(project)).map(|p| format!("group of {p}")));
        objects
    }

    /// Stops it, looks for leaks and unexpected lines, and removes its folder.
    pub fn finish(mut self) {
        self.stop();
        assert_eq!(self.objects(), Vec::<String>::new(), "leaked on the engine");
        let projects = std::fs::read_dir(self.data.join("projects")).map(|entries| entries.count()).unwrap_or(0);
        assert_eq!(projects, 0, "leaked in the data folder");
        let log = self.log();
        let loud: Vec<&str> = (log.lines())
            .filter(|line| line.contains(" WARN ") || line.contains("ERROR "))
            .filter(|line| !self.options.expected.iter().any(|part| line.contains(part)))
            .collect();
        assert!(loud.is_empty(), "unexpected lines:\n{}", loud.join("\n"));
        std::fs::remove_dir_all(&self.data).expect("the folder goes");
    }

    fn log_path(&self) -> PathBuf {
        self.data.join("daemon.log")
    }
}

impl Drop for Daemon {
    /// A test that panicked leaves its folder for a look, but no process and nothing on the engine.
    fn drop(&mut self) {
        let standby = self.standby.take();
        if self.child.is_none() && standby.is_none() {
            return;
        }
        // The standby first: it would take over.
        if let Some(mut standby) = standby {
            let _ = standby.kill();
            let _ = standby.wait();
        }
        self.kill();
        let Ok(installation) = std::fs::read_to_string(self.data.join("installation")) else { return };
        let label = format!("io.supamanager.installation={}", installation.trim());
        for object in self.engine.labelled(&label) {
            let (kind, name) = object.split_once(' ').unwrap_or_default();
            let arguments: &[&str] = match kind {
                "container" => &["rm", "-f", name],
                "network" => &["network", "rm", name],
                _ => &["volume", "rm", name],
            };
            let _ = self.engine.try_docker(arguments);
        }
    }
}

/// The image set of the engine tests: the sandbox here, the design's pins on a machine with a registry.
pub fn image_set() -> String {
    std::env::var("SUPAMANAGER_TEST_IMAGE_SET").unwrap_or_else(|_| "sandbox".to_owned())
}

/// The program under test.
pub fn binary_path() -> PathBuf {
    // target/<profile>/deps/it-... -> target/<profile>/supamanager
    let this = std::env::current_exe().expect("this binary");
    let path = this.parent().and_then(Path::parent).expect("a profile folder").join("supamanager");
    assert!(path.is_file(), "{} is missing: make build", path.display());
    path
}

/// The shipped plugins, built.
pub fn plugins_dir() -> PathBuf {
    let folder = root().join("target/plugins");
    assert!(folder.is_dir(), "{} is missing: make plugins", folder.display());
    folder
}

/// The shipped plugins without what their build left beside them.
pub fn copy_plugins(to: &Path) {
    for plugin in ["render-supabase", "probe-service", "post-create-sql"] {
        copy_folder(&plugins_dir().join(plugin), &to.join(plugin));
    }
    let record = "shipped.toml";
    std::fs::copy(plugins_dir().join(record), to.join(record)).expect("what the build recorded");
}

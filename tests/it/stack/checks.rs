//! What is true of one healthy project, each seen from outside the daemon.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::world::{Daemon, Engine, root, run};

/// One project and everything needed to connect to it.
pub struct Project {
    pub id: String,
    pub endpoint: String,
    pub credentials: Value,
    pub folder: PathBuf,
    engine: Engine,
}

impl Project {
    pub async fn of(daemon: &Daemon, id: &str) -> Self {
        let endpoint = daemon.api.project(id).await["endpoint"].as_str().expect("an endpoint").to_owned();
        let credentials = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
        Self { id: id.to_owned(), endpoint, credentials, folder: daemon.data.join("projects").join(id), engine: daemon.engine }
    }

    pub fn key(&self, name: &str) -> &str {
        self.credentials["api_keys"][name].as_str().expect("a key")
    }

    pub fn database_url(&self) -> &str {
        self.credentials["database_url"].as_str().expect("a URL")
    }

    pub fn container(&self, service: &str) -> String {
        format!("supamanager-{}-{service}", self.id)
    }

    /// One request through the gateway with the anon key: status and body.
    pub async fn request(&self, path: &str) -> (u16, String) {
        self.request_as("anon", path).await
    }

    /// The same with the key of this role.
    pub async fn request_as(&self, role: &str, path: &str) -> (u16, String) {
        let client = supamanager::web::plain().timeout(Duration::from_secs(20)).build().expect("a client");
        let key = self.key(role);
        let request = client.get(format!("{}{path}", self.endpoint)).header("apikey", key).bearer_auth(key);
        let answer = request.send().await.expect("the gateway answers");
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    pub fn the_gateway_answers_its_smoke_table(&self) {
        let script = root().join("tests/sandbox/smoke.py");
        let table = run(Command::new("python3").arg(script).args([&self.endpoint, self.key("anon"), self.key("service_role")]));
        println!("{table}");
    }

    pub fn the_database_answers_over_the_published_port(&self, password: &str) {
        assert_eq!(self.credentials["db_password"].as_str(), Some(password), "the owner's own password");
        assert_eq!(
            self.sql("select current_user || ' ' || rolsuper from pg_roles where rolname = current_user"),
            "postgres false"
        );
        let wrong = self.database_url().replacen("postgres:", "postgres:wrong", 2).replacen("postgres:wrong//", "postgres://", 1);
        let refused = Command::new("psql").args([&wrong, "-XAtc", "select 1"]).stdin(Stdio::null()).output().expect("psql");
        assert!(!refused.status.success(), "another password is refused");
    }

    pub async fn a_row_written_through_sql_is_read_through_the_gateway(&self) {
        self.sql("create table public.notes (id int primary key, words text); grant select on public.notes to anon; insert into public.notes values (1, 'ja')");
        for _ in 0..50 {
            let (status, body) = self.request("/rest/v1/notes?select=words&id=eq.1").await;
            if status == 200 {
                assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON"), json!([{"words": "ja"}]));
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the row did not come");
    }

    /// The containers' addresses may be others afterwards; the gateway must find them, and the row must be there.
    pub async fn comes_back_from_a_pause_and_a_restart_with_its_rows(&self, daemon: &Daemon) {
        let rows = self.sql("select count(*) from public.notes");
        for (verb, status) in [("pause", "PAUSED"), ("resume", "ACTIVE_HEALTHY"), ("restart", "ACTIVE_HEALTHY")] {
            let answer = daemon.api.post(&format!("/platform/projects/{}/{verb}", self.id), json!({})).await;
            assert_eq!(answer.status, 202, "{verb}: {}", answer.body);
            let settled = daemon.api.settled(&self.id, &[status], Duration::from_secs(200)).await;
            let running = self.engine.docker(&["ps", "-q", "--filter", &format!("label=io.supamanager.project={}", self.id)]);
            let (running, wanted) = (running.lines().count(), if verb == "pause" { 0 } else { 10 });
            assert_eq!(running, wanted, "{verb}: {:#}", settled["health_checks"]);
        }
        self.the_gateway_answers_its_smoke_table();
        assert_eq!(self.sql("select count(*) from public.notes"), rows);
        let (status, body) = self.request("/rest/v1/notes?select=words&id=eq.1").await;
        assert_eq!((status, body.contains("ja")), (200, true), "{body}");
    }

    pub fn names_survive_yaml_env_sql_and_labels(&self, name: &str) {
        let labels = &self.engine.inspect(&self.container("kong"))["Config"]["Labels"];
        assert_eq!(labels["io.supamanager.name"], name, "the label");
        let environment = self.engine.inspect(&self.container("auth"))["Config"]["Env"].to_string();
        let quoted = serde_json::to_string(name).expect("JSON");
        let inner = quoted.trim_matches('"');
        assert!(environment.contains(inner), "the environment of auth: {environment}");
    }

    /// Our labels on everything, Compose's for its own tools, and no container without limits.
    pub fn the_containers_are_labelled_and_limited(&self, daemon: &Daemon) {
        assert_eq!(daemon.objects().len(), 12, "ten containers, a network and a volume: {:?}", daemon.objects());
        for service in super::SERVICES {
            let container = self.engine.inspect(&self.container(service));
            let label = |key: &str| container["Config"]["Labels"][key].as_str().unwrap_or_default().to_owned();
            assert_eq!(label("io.supamanager.installation"), daemon.installation());
            assert_eq!((label("io.supamanager.project"), label("io.supamanager.service")), (self.id.clone(), service.to_owned()));
            assert_eq!(label("io.supamanager.generation"), "1");
            assert!(label("io.supamanager.operation").starts_with("op_") && label("io.supamanager.spec-hash").len() >= 32);
            assert_eq!(
                (label("com.docker.compose.project"), label("com.docker.compose.service")),
                (self.id.clone(), service.to_owned())
            );
            let host = &container["HostConfig"];
            assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{service}");
            assert!(host["PidsLimit"].as_i64().is_some_and(|limit| limit > 0), "{service} has no pids limit");
            let log = &host["LogConfig"];
            let bounded = log["Config"]["max-size"].is_string() || log["Config"]["cache-max-size"].is_string();
            assert!(bounded, "{service} may fill the disk: {log}");
            assert_eq!(host["Privileged"], false, "{service}");
            let mounts = container["Mounts"].to_string();
            assert!(!mounts.contains("docker.sock"), "{service} has the engine's socket");
            for binding in
                container["NetworkSettings"]["Ports"].as_object().into_iter().flatten().flat_map(|(_, b)| b.as_array()).flatten()
            {
                assert_eq!(binding["HostIp"], "127.0.0.1", "{service}");
            }
        }
    }

    /// 0700, the secrets 0600, and closed to another user (decision 36).
    pub fn the_folder_is_private(&self) {
        let mode = |name: &str| self.folder.join(name).metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("."), mode(".env"), mode("docker-compose.yml"), mode("kong.yml")), (0o700, 0o600, 0o600, 0o644));
        for name in ["volumes/db", "volumes/storage", "volumes/db-config", "vector.yml"] {
            assert!(self.folder.join(name).exists(), "{name}");
        }
        if run(Command::new("id").arg("-u")) == "0" {
            let other = Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
                .arg(self.folder.join("kong.yml"))
                .output();
            assert!(!other.expect("setpriv").status.success(), "another user reads the folder");
        }
    }

    /// Also keeps the rendered files for the mutation score (tests/sandbox/contract.sh).
    pub fn the_rendered_stack_meets_its_contract(&self) {
        let kept = root().join("target/rendered");
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::create_dir_all(&kept).expect("a folder");
        for entry in std::fs::read_dir(&self.folder).expect("the folder").flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), kept.join(entry.file_name())).expect("copied");
        }
        let script = root().join("tests/sandbox/check.py");
        run(Command::new("python3").arg(script).arg(&self.folder).args(["--images", &crate::world::image_set()]));
    }

    pub async fn logs_are_served(&self, daemon: &Daemon) {
        for service in ["db", "kong", "vector"] {
            let answer = daemon.api.get(&format!("/platform/projects/{}/logs?service={service}&tail=5", self.id)).await;
            let lines = answer.body.as_str().unwrap_or_default().lines().count();
            assert!(answer.status == 200 && (1..=5).contains(&lines), "{service}: {}", answer.body);
        }
        let answer = daemon.api.get(&format!("/platform/projects/{}/logs?service=nobody", self.id)).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (422, Some("service")));
    }

    pub async fn usage_is_sampled(&self, daemon: &Daemon) {
        for _ in 0..120 {
            let usage = &daemon.api.project(&self.id).await["resource_usage"];
            if usage["observed_at"].is_string() {
                let number = |key: &str| usage[key].as_f64().expect("a number");
                assert!(number("memory") > 0.05 && number("storage") > 0.01 && number("cpu") >= 0.0, "{usage}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("no sample within a minute");
    }

    /// `docker compose -p <ref> ps` works on our containers; and the folder alone, without us, is the same stack.
    pub fn the_rendered_folder_stands_on_its_own(&self) {
        let compose = run(Command::new("sh").arg(root().join("tests/setup/compose.sh")));
        let compose = compose.lines().last().expect("a path").to_owned();
        let here =
            |arguments: &[&str]| run(Command::new(&compose).args(["-p", &self.id]).args(arguments).current_dir(&self.folder));
        assert_eq!(here(&["ps", "--services"]).lines().count(), 10, "our containers show in Compose's own list");
        assert!(!here(&["logs", "--tail", "1", "db"]).is_empty());
        for service in super::SERVICES {
            self.engine.docker(&["rm", "-f", &self.container(service)]);
        }
        self.engine.docker(&["network", "rm", &format!("supamanager-{}", self.id)]);
        here(&["up", "-d", "--wait", "--wait-timeout", "240"]);
        self.the_gateway_answers_its_smoke_table();
        assert_eq!(self.sql("select words from public.notes"), "ja", "the same data");
        here(&["down"]);
    }

    pub fn nothing_is_left(&self, daemon: &Daemon) {
        let label = format!("io.supamanager.project={}", self.id);
        assert_eq!(daemon.engine.labelled(&label), Vec::<String>::new());
        assert!(!self.folder.exists(), "the folder is still there");
        let port = |url: &str| {
            url.rsplit(':')
                .next()
                .and_then(|tail| tail.split('/').next())
                .and_then(|port| port.parse::<u16>().ok())
                .expect("a port")
        };
        for port in [port(&self.endpoint), port(self.database_url())] {
            TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port}: {error}"));
        }
    }

    /// Everything that must be a project's own: container names, ports, subnet and secrets.
    pub fn identity(&self) -> BTreeSet<String> {
        let mut own: BTreeSet<String> = super::SERVICES.iter().map(|service| self.container(service)).collect();
        own.extend([
            self.id.clone(),
            self.endpoint.clone(),
            self.database_url().rsplit('@').next().unwrap_or_default().to_owned(),
        ]);
        let network = self.engine.inspect(&format!("supamanager-{}", self.id));
        own.insert(network["IPAM"]["Config"][0]["Subnet"].to_string());
        own.extend(self.secrets());
        own
    }

    /// Every secret value of the project that is written anywhere: `.env`, the other files, `/credentials`.
    pub fn secrets(&self) -> Vec<String> {
        let env = std::fs::read_to_string(self.folder.join(".env")).expect(".env");
        let mut secrets: Vec<String> = env.lines().filter_map(|line| Some(line.split_once('=')?.1.to_owned())).collect();
        secrets.push(std::fs::read_to_string(self.folder.join("pgsodium_root.key")).expect("the key").trim().to_owned());
        for pointer in ["/db_password", "/jwt_secret", "/api_keys/anon", "/api_keys/service_role"] {
            secrets.push(self.credentials.pointer(pointer).and_then(Value::as_str).expect("a credential").to_owned());
        }
        assert!(secrets.len() >= 20 && secrets.iter().all(|secret| secret.len() >= 16), "{} secrets", secrets.len());
        secrets
    }

    /// Every container that is not vector itself logs to this project's vector and to no other.
    pub fn logs_go_to_its_own_vector(&self) {
        let address = self.vector_address();
        let listed = self.engine.docker(&["ps", "-aq", "--filter", &format!("label=io.supamanager.project={}", self.id)]);
        let drivers = listed.lines().map(|id| self.engine.inspect(id)["HostConfig"]["LogConfig"].clone());
        let forwarding: Vec<Value> = drivers.filter(|config| config["Type"] == "fluentd").collect();
        assert!(forwarding.len() >= 8, "{} containers forward their logs", forwarding.len());
        for config in forwarding {
            let target = config["Config"]["fluentd-address"].as_str().expect("an address");
            assert!(target.contains(&format!("{address}:")), "{target} is not this project's vector at {address}");
        }
    }

    fn vector_address(&self) -> String {
        let container = self.engine.inspect(&self.container("vector"));
        let networks = container["NetworkSettings"]["Networks"].as_object().expect("networks");
        networks.values().find_map(|network| network["IPAddress"].as_str()).expect("an address").to_owned()
    }

    /// What the vector stand-in remembers, once the mark has come or 60 s have passed: the engine's log driver backs
    /// off while vector is not there yet (measured: up to 9 s after vector has started).
    pub async fn vector_events_with(&self, mark: &str) -> String {
        let address = self.vector_address();
        let mut seen = String::new();
        for _ in 0..300 {
            let answer = supamanager_tests::get(format!("http://{address}:9001/sandbox/events")).await.expect("vector answers");
            seen = answer.text().await.expect("text");
            if seen.contains(mark) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        seen
    }

    pub fn sql(&self, statement: &str) -> String {
        run(Command::new("psql").args([self.database_url(), "-XAtqc", statement]))
    }
}

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

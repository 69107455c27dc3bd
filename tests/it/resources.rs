//! What a project may use: held by the kernel, refused when it does not fit, and what happens when its storage fills up,
//! on the real database.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Daemon, Engine, Options, User, copy_folder, root, run, scratch};

/// A look at the storage or at the limits comes every 30 s; statements and a restarted daemon come on top.
const SOON: Duration = Duration::from_secs(150);

fn id_of(project: &Value) -> String {
    project["id"].as_str().expect("an id").to_owned()
}

async fn resources(daemon: &Daemon, id: &str) -> Value {
    let answer = daemon.api.get(&format!("/platform/projects/{id}/resources")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Asks until it is so.
async fn until(daemon: &Daemon, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let seen = resources(daemon, id).await;
        if is_so(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < SOON, "not {what}: {seen:#}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The files that hold a project's group to its CPU, in whichever version of control groups this host has.
fn cpu_of_group(id: &str) -> Vec<(PathBuf, &'static str)> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let trees = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let files = trees.flat_map(|tree| {
        let group = PathBuf::from(tree).join(format!("supamanager-{id}"));
        [(group.join("cpu.cfs_quota_us"), "-1"), (group.join("cpu.max"), "max")]
    });
    files.filter(|(path, _)| path.exists()).collect()
}

#[tokio::test]
async fn a_project_is_held_to_what_was_asked_for() {
    for parent in ["auto", "off"] {
        let options = Options::tiny().set("SUPAMANAGER_RESOURCES_PARENT_CGROUP", parent);
        let daemon = Daemon::ready("held", options).await;
        let asked = json!({"cpu": "0.5", "memory": "64MiB", "storage": "1GB"});
        let project = daemon.api.healthy(json!({"name": "held", "resources": asked})).await;
        let id = id_of(&project);
        assert_eq!(project["resources"], asked);
        let seen = resources(&daemon, &id).await;
        assert_eq!(
            (&seen["asked"], &seen["effective"]["cpu"], &seen["effective"]["memory"]),
            (&asked, &json!("0.5"), &json!("64MiB"))
        );
        let group = cpu_of_group(&id);
        let grouped = parent == "auto" && Engine.docker(&["info", "--format", "{{.CgroupDriver}}"]) == "cgroupfs";
        assert_eq!(
            (group.len(), seen["effective"]["read_from"].as_str()),
            if grouped { (1, Some("group")) } else { (0, Some("kernel")) }
        );
        for service in ["back", "front"] {
            let own = &seen["services"][service];
            assert_eq!((own["read_from"].as_str(), own["pids"].as_u64()), (Some("kernel"), Some(32)), "{service}");
            let part = if grouped { ("none", "none") } else { ("0.25", "32MiB") };
            assert_eq!((own["cpu"].as_str(), own["memory"].as_str()), (Some(part.0), Some(part.1)), "{service}");
        }
        // A host that restarts forgets its groups; somebody may change a container by hand.
        for (path, nothing) in &group {
            std::fs::write(path, nothing).expect("written");
        }
        if !grouped {
            Engine.docker(&["update", "--cpus", "0.4", &format!("supamanager-{id}-back")]);
        }
        assert_ne!(resources(&daemon, &id).await["effective"]["cpu"], "0.5");
        let again = until(&daemon, &id, "held again", |seen| seen["effective"]["cpu"] == "0.5").await;
        assert_eq!(again["services"], seen["services"]);
        assert_eq!(daemon.api.project(&id).await["containers"], project["containers"], "nothing was made anew");
        daemon.api.gone(&id).await;
        assert!(cpu_of_group(&id).is_empty(), "the group went with the project");
        daemon.finish();
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_sum() {
    let options = Options::tiny().set("SUPAMANAGER_RESOURCES_CPU_OVERCOMMIT_PERCENT", "100");
    let daemon = Daemon::ready("admission", options).await;
    let create = |resources: Value| daemon.api.post("/platform/projects", json!({"name": "big", "resources": resources}));
    for (given, status, code, field) in [
        (json!({"memory": "64TiB"}), 507, "insufficient_resources", "resources.memory"),
        (json!({"memory": "2G"}), 400, "invalid_request", "resources.memory"),
        (json!({"cpu": "much"}), 400, "invalid_request", "resources.cpu"),
        (json!({"memory": "16MiB"}), 422, "too_little", "resources.memory"),
    ] {
        let answer = create(given.clone()).await;
        let said = (answer.status, answer.body["code"].as_str(), answer.body["field"].as_str());
        assert_eq!(said, (status, Some(code), Some(field)), "{given}: {}", answer.body);
    }
    let cores = Engine.docker(&["info", "--format", "{{.NCPU}}"]);
    let first = daemon.api.healthy(json!({"name": "first", "resources": {"cpu": cores}})).await;
    let refused = create(json!({"cpu": "0.1"})).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (507, Some("insufficient_resources")), "{}", refused.body);
    let said = refused.body["message"].as_str().expect("a message");
    assert!(said.contains(&format!("1 projects were promised {cores}.0")) && said.contains("cpu_overcommit_percent"), "{said}");
    // What is paused holds nothing.
    let paused = daemon.api.post(&format!("/platform/projects/{}/pause", id_of(&first)), json!({})).await;
    assert_eq!(paused.status, 202, "{}", paused.body);
    daemon.api.settled(&id_of(&first), &["PAUSED"], SOON).await;
    let second = daemon.api.healthy(json!({"name": "second", "resources": {"cpu": "0.1"}})).await;
    daemon.api.gone(&id_of(&first)).await;
    daemon.api.gone(&id_of(&second)).await;
    daemon.finish();

    let daemon = Daemon::ready("disk", Options::tiny().set("SUPAMANAGER_LIMITS_DISK_FREE_MIN", "1024TiB")).await;
    let answer = daemon.api.post("/platform/projects", json!({"name": "no room"})).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (507, Some("insufficient_resources")), "{}", answer.body);
    assert!(answer.body["message"].as_str().is_some_and(|said| said.contains("limits.disk_free_min")), "{}", answer.body);
    daemon.finish();
}

/// One project of the lean set whose log tables are purged every second, and everything to look at it with.
struct Full {
    daemon: Daemon,
    id: String,
    url: String,
    endpoint: String,
    key: String,
    limit: u64,
}

impl Full {
    fn sql(&self, statement: &str) -> Result<String, String> {
        self.in_one_session(&[statement])
    }

    /// Each in a transaction of its own.
    fn in_one_session(&self, statements: &[&str]) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args([&self.url, "-XAtq", "-v", "ON_ERROR_STOP=1"]).args(statements.iter().flat_map(|statement| ["-c", statement]));
        let output = psql.stdin(Stdio::null()).output().expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    async fn storage_api(&self, method: Method, path: &str) -> u16 {
        let client = supamanager::web::plain().timeout(Duration::from_secs(20)).build().expect("a client");
        let request = client.request(method, format!("{}/storage/v1{path}", self.endpoint)).header("apikey", &self.key);
        request.bearer_auth(&self.key).body("text").send().await.expect("the gateway answers").status().as_u16()
    }

    /// A file beside the uploads that makes the whole folder so full. What the database itself takes and gives back
    /// meanwhile is a per cent or two.
    fn fill(&self, percent: u64) {
        let path = self.daemon.data.join("projects").join(&self.id).join("volumes/storage/filler");
        let _ = std::fs::remove_file(&path);
        let before = run(Command::new("du").args(["-s", "-B1"]).arg(self.daemon.data.join("projects").join(&self.id)));
        let before: u64 = before.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("bytes");
        let missing = (self.limit / 100 * percent).checked_sub(before).expect("an empty database takes less");
        // Blocks are taken, nothing is written.
        run(Command::new("fallocate").args(["-l", &missing.to_string()]).arg(&path));
    }

    async fn state(&self, state: &str) {
        let is_so = |seen: &Value| seen["storage"]["state"] == state && seen["storage"]["settled"] == true;
        let seen = until(&self.daemon, &self.id, state, is_so).await;
        assert_eq!(seen["storage"]["limit_bytes"], self.limit, "{seen:#}");
    }

    /// The states that watchers were told, in order.
    async fn told(&self) -> Vec<String> {
        let address = format!("{}/platform/projects/{}/events", self.daemon.api.url, self.id);
        let request = supamanager_tests::http().get(address).bearer_auth(&self.daemon.api.token).header("Last-Event-ID", "0");
        let mut stream = request.send().await.expect("a stream").bytes_stream();
        let mut text = String::new();
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(Duration::from_secs(3), stream.next()).await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        let budget = text.split("\n\n").filter(|event| event.lines().any(|line| line.trim() == "event: budget"));
        let data = budget.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data:")).map(str::to_owned));
        let data = data.map(|data| serde_json::from_str::<Value>(&data).expect("JSON"));
        data.map(|data| data["state"].as_str().expect("a state").to_owned()).collect()
    }

    fn writes(&self) -> Result<String, String> {
        self.sql("insert into public.notes values ('more')")
    }
}

/// By age the old rows go, by size the older half; and the disk gets its space back.
async fn the_log_store_is_purged(full: &Full) {
    full.sql(
        "create table _analytics.log_events_test (id bigserial, timestamp timestamptz, body text); \
         insert into _analytics.log_events_test (timestamp, body) select now() - interval '30 days', 'old' from generate_series(1, 100)",
    )
    .expect("a table");
    let begun = Instant::now();
    while full.sql("select count(*) from _analytics.log_events_test") != Ok("0".to_owned()) {
        assert!(begun.elapsed() < SOON, "not purged by age\n{}", full.daemon.log());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Rounds come by while the rows are there and not committed: their space is counted, themselves they are not seen.
    full.sql(
        "insert into _analytics.log_events_test (timestamp, body) \
         select now() - g * interval '1 second', repeat(md5(g::text), 30) from generate_series(1, 40000) g; \
         select from pg_sleep(3)",
    )
    .expect("rows");
    let size = "select pg_total_relation_size('_analytics.log_events_test') <= 16000000";
    while full.sql(size) != Ok("t".to_owned()) {
        assert!(begun.elapsed() < SOON * 2, "not purged by size\n{}", full.daemon.log());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let newest =
        full.sql("select max(timestamp) > now() - interval '10 minutes' and count(*) > 1000 from _analytics.log_events_test");
    assert_eq!(newest, Ok("t".to_owned()), "the newest stay");
}

#[tokio::test]
async fn a_full_project_is_told_frozen_and_released_on_the_real_database() {
    let templates = scratch("budget-templates");
    copy_folder(&root().join("templates"), &templates);
    let file = templates.join("sets/supabase/set.toml");
    let text = std::fs::read_to_string(&file).expect("the set");
    let often = text.replace("of = \"analytics\"\n", "").replace("every_s = 3600", "every_s = 1");
    assert_eq!(text.len() - often.len(), "of = \"analytics\"\n".len() + 3, "both were there");
    std::fs::write(&file, often).expect("written");
    let options = Options::default()
        .set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string())
        .set("SUPAMANAGER_RESOURCES_PURGE_SIZE", "16MB");
    let daemon = Daemon::ready("budget", options).await;
    let body = json!({"name": "full", "template_set": "lean", "resources": {"storage": "8GB"}});
    let project = daemon.api.healthy(body).await;
    let id = id_of(&project);
    let credentials = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    let mut full = Full {
        url: credentials["database_url"].as_str().expect("a URL").to_owned(),
        key: credentials["api_keys"]["service_role"].as_str().expect("a key").to_owned(),
        endpoint: project["endpoint"].as_str().expect("an endpoint").to_owned(),
        limit: 8_000_000_000,
        daemon,
        id,
    };
    full.sql("create table public.notes (words text); insert into storage.buckets (id, name) values ('b', 'b')")
        .expect("a table");
    the_log_store_is_purged(&full).await;
    assert_eq!(full.storage_api(Method::POST, "/object/b/before").await, 200);

    full.fill(86);
    full.state("warned").await;
    full.writes().expect("a warning stops nobody");

    full.fill(98);
    full.state("frozen").await;
    let refused = full.writes().expect_err("read-only");
    assert!(refused.contains("read-only transaction"), "{refused}");
    assert!(full.storage_api(Method::POST, "/object/b/more").await >= 400, "no upload");
    assert_eq!(full.storage_api(Method::GET, "/object/b/before").await, 200, "reading goes on");
    let own = full.in_one_session(&["set default_transaction_read_only = off", "delete from public.notes"]);
    assert_eq!(own, Ok(String::new()), "the owner can make room");
    assert_eq!(full.daemon.api.project(&full.id).await["status"], "ACTIVE_HEALTHY", "a full project is not a sick one");

    // Room is made while nobody looks: the next life sees it.
    full.daemon.kill();
    full.fill(82);
    full.daemon.revive().await;
    let seen = until(&full.daemon, &full.id, "released", |seen| seen["storage"]["state"] != "frozen").await;
    assert_ne!(seen["storage"]["state"], "frozen");
    until(&full.daemon, &full.id, "settled", |seen| seen["storage"]["settled"] == true).await;
    full.writes().expect("writing goes on");
    assert_eq!(full.storage_api(Method::POST, "/object/b/after").await, 200);

    full.fill(50);
    full.state("ok").await;
    assert_eq!(full.told().await, ["warned", "frozen", "warned", "ok"]);
    full.daemon.api.gone(&full.id).await;
    full.daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_daemon_that_is_not_root_asks_the_database_how_large_it_is() {
    let user = User::nobody("nobody-budget");
    let daemon = Daemon::ready("nobody-budget", Options { user: Some(user.clone()), ..Options::default() }).await;
    let body = json!({"name": "of nobody", "template_set": "lean", "resources": {"storage": "8GB"}});
    let id = id_of(&daemon.api.healthy(body).await);
    let measured = |seen: &Value| seen["storage"]["used_bytes"].as_i64().is_some_and(|bytes| bytes > 20_000_000);
    let seen = until(&daemon, &id, "measured", measured).await;
    assert_eq!(seen["storage"]["complete"], true, "{seen:#}");
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(user.home).expect("the copies go");
}

/// The update verb's part that touches limits: what runs goes on.
#[tokio::test]
async fn a_resize_changes_the_limits_of_what_runs_and_restarts_nothing() {
    for parent in ["auto", "off"] {
        let options = Options::tiny()
            .set("SUPAMANAGER_RESOURCES_PARENT_CGROUP", parent)
            .set("SUPAMANAGER_RESOURCES_MEMORY_OVERCOMMIT_PERCENT", "100");
        let daemon = Daemon::ready("resize", options).await;
        let project = daemon.api.healthy(json!({"name": "growing", "resources": {"cpu": "0.5", "memory": "64MiB"}})).await;
        let id = id_of(&project);
        let started = |service: &str| Engine.inspect(&format!("supamanager-{id}-{service}"))["State"]["StartedAt"].to_string();
        let before = (started("back"), started("front"));
        let path = format!("/platform/projects/{id}");
        for (cpu, memory) in [("1.0", "128MiB"), ("0.25", "48MiB")] {
            let wanted = json!({"resources": {"cpu": cpu, "memory": memory}});
            let answer = daemon.api.call(Method::PATCH, &path, Some(wanted), &[]).await;
            assert_eq!((answer.status, answer.body["operation_id"].is_null()), (200, true), "{}", answer.body);
            let is_so = |seen: &Value| seen["effective"]["cpu"] == cpu && seen["effective"]["memory"] == memory;
            let seen = until(&daemon, &id, "resized", is_so).await;
            assert_eq!((&seen["asked"]["cpu"], &seen["asked"]["memory"]), (&json!(cpu), &json!(memory)));
            daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
        }
        assert_eq!((started("back"), started("front")), before, "nothing was restarted");
        assert_eq!(daemon.api.project(&id).await["containers"], project["containers"], "nothing was made anew");
        let refused = daemon.api.call(Method::PATCH, &path, Some(json!({"resources": {"memory": "64TiB"}})), &[]).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (507, Some("insufficient_resources")), "{}", refused.body);
        daemon.api.gone(&id).await;
        daemon.finish();
    }
}

//! What goes wrong, and how it is said: a clear error within its deadline, nothing left, the way on open.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Daemon, Decoys, Engine, ForeignNetwork, Options, SlowEngine, broken_images, copy_folder, root, scratch};

#[tokio::test]
async fn a_database_that_never_becomes_healthy_fails_with_its_last_lines_and_can_be_retried() {
    let decoys = Decoys::make(Engine, "-failures", 2);
    let templates =
        broken_images(&root().join("templates"), "sandbox", "supamanager-sandbox/db:1", "supamanager-sandbox/db-unhealthy:1");
    let options = Options::default()
        .set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string())
        .set("SUPAMANAGER_IMAGE_SET", "broken")
        .set("SUPAMANAGER_DEADLINES_HEALTHY_S", "12");
    let daemon = Daemon::ready("unhealthy", options).await;
    let begun = Instant::now();
    let created = daemon.api.create(json!({"name": "unlucky"})).await;
    let id = created["id"].as_str().expect("an id");
    let project = daemon.api.settled(id, &["FAILED", "ACTIVE_HEALTHY"], Duration::from_secs(90)).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "the deadline is 12 s, it took {:?}", begun.elapsed());
    let error = &project["error"];
    assert_eq!((project["status"].as_str(), error["code"].as_str()), (Some("FAILED"), Some("not_healthy")), "{error:#}");
    assert!(
        error["message"].as_str().is_some_and(|message| message.starts_with("db did not become healthy within 12 s")),
        "{error:#}"
    );
    assert!(error["log_tail"].as_array().is_some_and(|lines| !lines.is_empty()), "{error:#}");
    assert_eq!(daemon.objects(), Vec::<String>::new(), "a failed create leaves nothing");
    assert!(!daemon.data.join("projects").join(id).exists());
    // Its identity is kept: a retry answers with the same keys, and fails the same way.
    let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    assert_eq!(keys["api_keys"], created["api_keys"]);
    assert_eq!(daemon.api.post(&format!("/platform/projects/{id}/retry"), json!({})).await.status, 202);
    daemon.api.settled(id, &["FAILED"], Duration::from_secs(90)).await;
    let operations = daemon.api.get(&format!("/platform/projects/{id}/operations")).await.body;
    assert_eq!(operations["operations"].as_array().map(Vec::len), Some(2), "both tries are on record");
    daemon.api.gone(id).await;
    decoys.untouched(Engine);
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_service_that_crashes_is_named_before_the_deadline() {
    let templates =
        broken_images(&root().join("templates"), "sandbox", "supamanager-sandbox/auth:1", "supamanager-sandbox/auth-crash:1");
    let options = Options::default()
        .set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string())
        .set("SUPAMANAGER_IMAGE_SET", "broken");
    let daemon = Daemon::ready("crash", options).await;
    let created = daemon.api.create(json!({"name": "crashing"})).await;
    let id = created["id"].as_str().expect("an id");
    let project = daemon.api.settled(id, &["FAILED", "ACTIVE_HEALTHY"], Duration::from_secs(200)).await;
    let error = &project["error"];
    assert_eq!((project["status"].as_str(), error["code"].as_str()), (Some("FAILED"), Some("service_crashes")), "{error:#}");
    assert!(error["message"].as_str().is_some_and(|message| message.starts_with("auth ended")), "{error:#}");
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_port_taken_by_someone_else_is_passed_over_or_replaced() {
    let mut daemon = Daemon::ready("ports", Options::tiny()).await;
    // Taken before: passed over.
    let _held = TcpListener::bind(("127.0.0.1", daemon.first_port)).expect("free");
    let first = daemon.api.healthy(json!({"name": "passed over"})).await;
    assert_eq!(first["endpoint"], format!("http://127.0.0.1:{}", daemon.first_port + 1));
    // Taken between reservation and start: replaced, and said so.
    daemon.arm("create.start.2.before_intent").await;
    let created = daemon.api.create(json!({"name": "replaced"})).await;
    let id = created["id"].as_str().expect("an id").to_owned();
    daemon.killed_at("create.start.2.before_intent").await;
    let reserved = daemon.first_port + 2;
    let _thief = TcpListener::bind(("127.0.0.1", reserved)).expect("not yet published");
    daemon.revive().await;
    let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
    assert_eq!(project["status"], "ACTIVE_HEALTHY", "{:#}", project["error"]);
    assert_eq!(created["endpoint"], format!("http://127.0.0.1:{reserved}"));
    assert_eq!(project["endpoint"], format!("http://127.0.0.1:{}", reserved + 1));
    let answer = supamanager_tests::get(project["endpoint"].as_str().expect("a URL")).await.expect("the new port answers");
    assert_eq!(answer.status().as_u16(), 404, "busybox has no page there");
    for id in [first["id"].as_str().expect("an id"), &id] {
        daemon.api.gone(id).await;
    }
    daemon.finish();
}

#[tokio::test]
async fn a_full_port_range_answers_507_and_names_itself() {
    let port = Daemon::next_port();
    let daemon = Daemon::ready("full", Options::tiny().set("SUPAMANAGER_PORTS_API", format!("{port}-{port}"))).await;
    let held = TcpListener::bind(("127.0.0.1", port)).expect("free");
    let answer = daemon.api.post("/platform/projects", json!({"name": "no room"})).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (507, Some("port_range_full")), "{}", answer.body);
    assert!(
        answer.body["message"].as_str().is_some_and(|message| message.contains(&format!("`api` ({port}-{port})"))),
        "{}",
        answer.body
    );
    drop(held);
    let project = daemon.api.healthy(json!({"name": "room"})).await;
    daemon.api.gone(project["id"].as_str().expect("an id")).await;
    daemon.finish();
}

#[tokio::test]
async fn a_subnet_that_another_network_holds_is_replaced() {
    let daemon = Daemon::ready("subnet", Options::tiny().set("SUPAMANAGER_SUBNETS_POOL", "10.213.80.0/26")).await;
    let foreign = ForeignNetwork::holding("supamanager-foreign-subnet", "10.213.80.0/27");
    let project = daemon.api.healthy(json!({"name": "moved"})).await;
    let network = Engine.inspect(&format!("supamanager-{}", project["id"].as_str().expect("an id")));
    assert_eq!(network["IPAM"]["Config"][0]["Subnet"], "10.213.80.32/27");
    drop(foreign);
    daemon.api.gone(project["id"].as_str().expect("an id")).await;
    daemon.finish();
}

#[tokio::test]
async fn an_engine_that_is_down_answers_503_and_reads_go_on() {
    let options = Options::tiny().set("DOCKER_HOST", "unix:///nowhere/docker.sock").expecting("the container engine is away");
    let daemon = Daemon::start("engine-down", options).await;
    let begun = Instant::now();
    let answer = daemon.api.post("/platform/projects", json!({"name": "x"})).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (503, Some("engine_away")), "{}", answer.body);
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert_eq!(daemon.api.get("/platform/projects").await.status, 200);
    assert_eq!((daemon.api.get("/readyz").await.status, daemon.api.get("/healthz").await.status), (503, 200));
    daemon.finish();
}

/// Begins a create, kills the daemon before it makes the containers, and takes the name of one of them: the project's
/// id and that name.
async fn killed_with_a_name_taken(daemon: &mut Daemon) -> (String, String) {
    daemon.arm("create.containers.before_intent").await;
    let created = daemon.api.create(json!({"name": "robbed of a name"})).await;
    let id = created["id"].as_str().expect("an id").to_owned();
    daemon.killed_at("create.containers.before_intent").await;
    let foreign = format!("supamanager-{id}-front");
    Engine.docker(&["create", "--name", &foreign, "supamanager-sandbox/tiny:1", "true"]);
    (id, foreign)
}

#[tokio::test]
async fn a_name_held_by_somebody_else_is_said_and_left_alone() {
    let mut daemon = Daemon::ready("name-taken", Options::tiny()).await;
    let (id, foreign) = killed_with_a_name_taken(&mut daemon).await;
    daemon.revive().await;
    let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
    assert_eq!(
        (project["status"].as_str(), project["error"]["code"].as_str()),
        (Some("FAILED"), Some("name_taken")),
        "{:#}",
        project["error"]
    );
    assert_eq!(Engine.inspect(&foreign)["State"]["Status"], "created", "it is still there");
    Engine.docker(&["rm", &foreign]);
    // With the name free again, a retry brings it up.
    assert_eq!(daemon.api.post(&format!("/platform/projects/{id}/retry"), json!({})).await.status, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_container_that_arrives_late_is_not_left_behind() {
    let folder = scratch("late");
    // One container is refused while the other, which holds the volume, is still on its way; it is there when the
    // volume is to be removed.
    const LATE: [(&str, Duration); 3] = [
        ("-front", Duration::from_millis(500)),
        ("-back", Duration::from_millis(1500)),
        ("DELETE /volumes", Duration::from_secs(2)),
    ];
    let engine = SlowEngine::start(&folder, &LATE);
    let mut daemon = Daemon::ready("late-container", Options::tiny().set("DOCKER_HOST", engine.host())).await;
    let (id, foreign) = killed_with_a_name_taken(&mut daemon).await;
    daemon.revive().await;
    let project = daemon.api.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(60)).await;
    assert_eq!(project["error"]["code"], "name_taken", "{:#}", project["error"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(daemon.objects(), Vec::<String>::new(), "nothing may arrive after the end of the operation");
    Engine.docker(&["rm", &foreign]);
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[tokio::test]
async fn a_container_that_appears_during_the_unwinding_goes_with_the_rest() {
    let mut daemon = Daemon::ready("appears", Options::tiny()).await;
    let (id, foreign) = killed_with_a_name_taken(&mut daemon).await;
    daemon.arm("create.undo.containers.after_record").await;
    daemon.killed_at("create.undo.containers.after_record").await;
    // As an engine makes it that was asked before the kill.
    let volume = format!("supamanager-{id}-kept:/var/lib/kept");
    let installation = format!("io.supamanager.installation={}", daemon.installation());
    let labels = ["--label", &installation, "--label", &format!("io.supamanager.project={id}")];
    Engine.docker(&[&["create", "-v", &volume], &labels[..], &["supamanager-sandbox/tiny:1", "true"]].concat());
    daemon.revive().await;
    daemon.api.settled(&id, &["FAILED"], Duration::from_secs(60)).await;
    assert_eq!(daemon.objects(), Vec::<String>::new(), "it was left behind");
    Engine.docker(&["rm", &foreign]);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_create_that_runs_out_of_time_is_undone_all_the_same() {
    // The services never answer as the probe wants it, and the whole create has less time than waiting for them.
    let folder = scratch("late-templates");
    copy_folder(&root().join("tests/fixtures/tiny"), &folder);
    let set = folder.join("sets/tiny/set.toml");
    let text = std::fs::read_to_string(&set).expect("set.toml");
    std::fs::write(&set, text.replace("[404]", "[200]")).expect("written");
    let options =
        Options::tiny().set("SUPAMANAGER_TEMPLATES_DIR", folder.display().to_string()).set("SUPAMANAGER_DEADLINES_CREATE_S", "4");
    let daemon = Daemon::ready("out-of-time", options).await;
    let created = daemon.api.create(json!({"name": "out of time"})).await;
    let id = created["id"].as_str().expect("an id");
    let project = daemon.api.settled(id, &["FAILED", "ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    assert_eq!(project["status"], "FAILED", "{project:#}");
    assert_eq!(daemon.objects(), Vec::<String>::new(), "it is undone");
    assert!(!daemon.data.join("projects").join(id).exists(), "with its folder");
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(folder).expect("the templates go");
}

#[tokio::test]
async fn reads_answer_while_the_engine_is_away_and_say_how_old_they_are() {
    let folder = scratch("away");
    let engine = SlowEngine::start(&folder, &[]);
    let options = Options::tiny().set("DOCKER_HOST", engine.host()).set("SUPAMANAGER_LIMITS_PROBE_INTERVAL_S", "1");
    let daemon = Daemon::ready("engine-away", options.expecting("the container engine is away")).await;
    let project = daemon.api.healthy(json!({"name": "seen before"})).await;
    let id = project["id"].as_str().expect("an id");
    engine.away();
    let begun = Instant::now();
    let mut project = daemon.api.project(id).await;
    while project["services"]["front"] != "unknown" {
        assert!(begun.elapsed() < Duration::from_secs(60), "{project:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        project = daemon.api.project(id).await;
    }
    assert_eq!(project["status"], "ACTIVE_HEALTHY", "an engine that is away says nothing about services: {project:#}");
    assert!(project["observed_at"].is_string(), "{project:#}");
    assert_eq!(daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.status, 200);
    let answer = daemon.api.delete(id).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (503, Some("engine_away")), "{}", answer.body);
    engine.back();
    daemon.reachable("/readyz").await;
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[tokio::test]
async fn a_project_whose_template_set_is_gone_can_be_deleted() {
    let folder = scratch("spare");
    copy_folder(&root().join("tests/fixtures/tiny"), &folder);
    let (tiny, spare) = (folder.join("sets/tiny"), folder.join("sets/spare"));
    copy_folder(&tiny, &spare);
    let text = std::fs::read_to_string(spare.join("set.toml")).expect("set.toml");
    std::fs::write(spare.join("set.toml"), text.replace("name = \"tiny\"\n", "name = \"spare\"\n")).expect("written");
    let options = Options::tiny().set("SUPAMANAGER_TEMPLATES_DIR", folder.display().to_string());
    let mut daemon = Daemon::ready("spare", options.set("SUPAMANAGER_TEMPLATE_SET", "spare")).await;
    let project = daemon.api.healthy(json!({"name": "of a set that goes"})).await;
    let id = project["id"].as_str().expect("an id");
    daemon.stop();
    std::fs::remove_dir_all(&spare).expect("the set goes");
    let refused = daemon.binary().arg("serve").output().expect("the binary");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("template_set is `spare`: use one of tiny"), "{message}");
    daemon.launch(&[("SUPAMANAGER_TEMPLATE_SET", "tiny")]);
    daemon.reachable("/readyz").await;
    daemon.api.gone(id).await;
    daemon.finish();
    std::fs::remove_dir_all(folder).expect("the templates go");
}

#[tokio::test]
async fn a_port_that_cannot_be_replaced_ends_the_create_with_its_number() {
    let port = Daemon::next_port();
    let mut daemon = Daemon::ready("port-taken", Options::tiny().set("SUPAMANAGER_PORTS_API", format!("{port}-{port}"))).await;
    daemon.arm("create.start.2.before_intent").await;
    let created = daemon.api.create(json!({"name": "robbed"})).await;
    let id = created["id"].as_str().expect("an id");
    daemon.killed_at("create.start.2.before_intent").await;
    let thief = TcpListener::bind(("127.0.0.1", port)).expect("not yet published");
    daemon.revive().await;
    let project = daemon.api.settled(id, &["FAILED", "ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    let error = &project["error"];
    assert_eq!((error["code"].as_str(), error["step"].as_str()), (Some("port_taken"), Some("start.2")), "{error:#}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(&port.to_string())), "{error:#}");
    assert_eq!(daemon.objects(), Vec::<String>::new(), "it is undone");
    drop(thief);
    assert_eq!(daemon.api.post(&format!("/platform/projects/{id}/retry"), json!({})).await.status, 202);
    daemon.api.settled(id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    daemon.api.gone(id).await;
    daemon.finish();
}

#[tokio::test]
async fn the_reaper_takes_what_an_ended_project_left_and_nothing_else() {
    let daemon = Daemon::ready("reaper", Options::tiny().expecting("of a project that the store does not know")).await;
    let project = daemon.api.healthy(json!({"name": "ended"})).await;
    let id = project["id"].as_str().expect("an id");
    daemon.api.gone(id).await;
    // As an engine makes them that was asked before the delete, and one of a project that nobody knows.
    let left = late_container(&daemon, id);
    let unknown = late_container(&daemon, "bbbbbbbbbbbbbbbbbbbb");
    let begun = Instant::now();
    while daemon.objects().contains(&format!("container {left}")) {
        assert!(begun.elapsed() < Duration::from_secs(90), "it is looked for every 30 s\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(daemon.objects(), [format!("container {unknown}")], "an unknown project's object is left alone");
    assert!(daemon.log().contains("bbbbbbbbbbbbbbbbbbbb"), "and named");
    Engine.docker(&["rm", &unknown]);
    daemon.finish();
}

/// A container with every label of ours, made behind the daemon's back; its name.
fn late_container(daemon: &Daemon, project: &str) -> String {
    let name = format!("supamanager-{project}-late");
    let installation = format!("installation={}", daemon.installation());
    let labels = [installation.as_str(), &format!("project={project}"), "generation=1", "operation=op_000000000000000000000000"];
    let labels: Vec<String> = labels.iter().map(|label| format!("--label=io.supamanager.{label}")).collect();
    let mut arguments = vec!["create", "--name", &name];
    arguments.extend(labels.iter().map(String::as_str));
    arguments.extend(["supamanager-sandbox/tiny:1", "true"]);
    Engine.docker(&arguments);
    name
}

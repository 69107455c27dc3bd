//! The verbs after a create, by HTTP and by the command line, on two small containers of the real engine; and what the
//! daemon puts right when somebody works on the engine by hand.

mod inside;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Api, Daemon, Engine, Options, SlowEngine, copy_folder, root, scratch};

const SOON: Duration = Duration::from_secs(60);

fn name(id: &str, service: &str) -> String {
    format!("supamanager-{id}-{service}")
}

fn id_of(project: &Value) -> String {
    project["id"].as_str().expect("an id").to_owned()
}

/// Running, exited, ...
fn state(id: &str, service: &str) -> String {
    Engine.inspect(&name(id, service))["State"]["Status"].as_str().unwrap_or("gone").to_owned()
}

fn started_at(id: &str, service: &str) -> String {
    Engine.inspect(&name(id, service))["State"]["StartedAt"].to_string()
}

async fn verb(api: &Api, id: &str, verb: &str) -> Value {
    let answer = api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await;
    assert_eq!(answer.status, 202, "{verb}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn pause_keeps_the_data_and_resume_brings_the_same_project_back() {
    let daemon = Daemon::ready("pause", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "sleepy"})).await;
    let id = id_of(&project);
    Engine.docker(&["exec", &name(&id, "back"), "/bin/busybox", "sh", "-c", "echo precious > /var/lib/kept/row"]);
    let accepted = verb(&daemon.api, &id, "pause").await;
    let paused = daemon.api.settled(&id, &["PAUSED"], SOON).await;
    assert_eq!((state(&id, "front").as_str(), state(&id, "back").as_str()), ("exited", "exited"));
    assert_eq!(paused["services"], json!({"back": "stopped", "front": "stopped"}));
    let operation = daemon.api.get(&format!("/platform/operations/{}", accepted["operation_id"].as_str().unwrap())).await.body;
    let steps: Vec<_> = operation["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["stop.2", "stop.1"], "the gateway first, the database last");
    assert!(operation["requested_by"].as_str().is_some_and(|by| !by.is_empty()) && !operation["deadline_at"].is_null());
    let refused = daemon.api.post(&format!("/platform/projects/{id}/restart"), json!({})).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("wrong_state")), "{}", refused.body);
    assert!(refused.body["message"].as_str().unwrap().contains("PAUSED"), "{}", refused.body);
    verb(&daemon.api, &id, "resume").await;
    let resumed = daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert_eq!((&resumed["endpoint"], &resumed["containers"]), (&project["endpoint"], &project["containers"]));
    assert_eq!(supamanager_tests::get(resumed["endpoint"].as_str().unwrap()).await.expect("an answer").status(), 404);
    let row = Engine.docker(&["exec", &name(&id, "back"), "/bin/busybox", "cat", "/var/lib/kept/row"]);
    assert_eq!(row, "precious");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn one_service_or_all_are_restarted() {
    let daemon = Daemon::ready("restart", Options::tiny()).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "restless"})).await);
    let path = format!("/platform/projects/{id}/restart");
    let before = (started_at(&id, "back"), started_at(&id, "front"));
    assert_eq!(daemon.api.post(&path, json!({"services": ["front"]})).await.status, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    let between = (started_at(&id, "back"), started_at(&id, "front"));
    assert!(before.0 == between.0 && before.1 != between.1, "only the one that was named");
    assert_eq!(daemon.api.call(Method::POST, &path, None, &[]).await.status, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    let after = (started_at(&id, "back"), started_at(&id, "front"));
    assert!(between.0 != after.0 && between.1 != after.1, "all");
    let wrong = daemon.api.post(&path, json!({"services": ["databse"]})).await;
    assert_eq!((wrong.status, wrong.body["field"].as_str()), (422, Some("services")), "{}", wrong.body);
    assert!(wrong.body["message"].as_str().unwrap().contains("back, front"), "{}", wrong.body);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_create_that_does_not_get_healthy_is_cancelled_at_once() {
    let templates = never_healthy("cancel-templates");
    let options = Options::tiny().set("SUPAMANAGER_TEMPLATES_DIR", templates.display().to_string());
    let daemon = Daemon::ready("cancel", options).await;
    let id = id_of(&daemon.api.create(json!({"name": "endless"})).await);
    daemon.api.step_is(&id, "healthy", "started", SOON).await;
    let refused = daemon.api.delete(&id).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body["message"].as_str().unwrap().contains("cancel it"), "{}", refused.body);
    let begun = Instant::now();
    verb(&daemon.api, &id, "cancel").await;
    let failed = daemon.api.settled(&id, &["FAILED"], SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "the deadline for health is 300 s: {:?}", begun.elapsed());
    assert_eq!(failed["error"]["code"], "cancelled", "{:#}", failed["error"]);
    assert!(failed["error"]["message"].as_str().unwrap().contains("token test"), "{:#}", failed["error"]);
    assert_eq!(daemon.objects(), Vec::<String>::new());
    let nothing = daemon.api.post(&format!("/platform/projects/{id}/cancel"), json!({})).await;
    assert_eq!(nothing.status, 409, "{}", nothing.body);
    daemon.api.gone(&id).await;
    daemon.finish();
    std::fs::remove_dir_all(templates).expect("the templates go");
}

#[tokio::test]
async fn a_delete_that_hangs_is_forced_and_the_rest_goes_when_the_engine_is_back() {
    let folder = scratch("force-engine");
    let engine = SlowEngine::start(&folder, &[]);
    let options = Options::tiny()
        .set("DOCKER_HOST", engine.host())
        .expecting("the container engine is away")
        .expecting("a delete is not done yet")
        .expecting("ended by force");
    let daemon = Daemon::ready("force", options).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "stuck"})).await);
    let refused = daemon.api.post(&format!("/platform/projects/{id}/force"), json!({})).await;
    assert_eq!(refused.status, 409, "nothing is under way: {}", refused.body);
    assert_eq!(daemon.api.delete(&id).await.status, 202);
    engine.away();
    let refused = daemon.api.post(&format!("/platform/projects/{id}/cancel"), json!({})).await;
    assert_eq!(refused.status, 409, "a delete has no way back: {}", refused.body);
    assert!(refused.body["message"].as_str().unwrap().contains("force"), "{}", refused.body);
    let forced = verb(&daemon.api, &id, "force").await;
    assert_eq!(forced["status"], "DELETED");
    engine.back();
    let begun = Instant::now();
    while !daemon.objects().is_empty() || daemon.data.join("projects").join(&id).exists() {
        assert!(begun.elapsed() < Duration::from_secs(90), "the reaper has left {:?}", daemon.objects());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    daemon.finish();
    std::fs::remove_dir_all(folder).expect("the folder goes");
}

#[tokio::test]
async fn what_somebody_did_by_hand_is_put_right() {
    let daemon = Daemon::ready("reconcile", Options::tiny()).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "meddled with"})).await);
    // Removed, stopped: made again, started again. The operation says who asked for it.
    for act in [["rm", "-f"].as_slice(), ["stop", "-t", "0"].as_slice()] {
        let repaired = count(&daemon.api, &id, "repair").await + 1;
        Engine.docker(&[act, &[name(&id, "front").as_str()]].concat());
        let begun = Instant::now();
        while count(&daemon.api, &id, "repair").await < repaired || daemon.api.project(&id).await["status"] != "ACTIVE_HEALTHY" {
            assert!(begun.elapsed() < SOON, "{act:?} was not put right\n{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(state(&id, "front"), "running", "{act:?}");
    }
    // Under a paused project nothing may run.
    verb(&daemon.api, &id, "pause").await;
    daemon.api.settled(&id, &["PAUSED"], SOON).await;
    let pauses = count(&daemon.api, &id, "pause").await;
    Engine.docker(&["start", &name(&id, "back")]);
    let begun = Instant::now();
    while count(&daemon.api, &id, "pause").await == pauses || daemon.api.project(&id).await["status"] != "PAUSED" {
        assert!(begun.elapsed() < SOON, "it was not paused again\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state(&id, "back"), "exited");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_person_need_not_wait_for_a_repair() {
    let daemon = Daemon::ready("gives-way", Options::tiny()).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "impatient"})).await);
    // The repair makes the front again and waits for the back, which does not answer.
    Engine.docker(&["kill", "--signal", "STOP", &name(&id, "back")]);
    Engine.docker(&["rm", "--force", &name(&id, "front")]);
    let path = format!("/platform/projects/{id}/operations");
    let begun = Instant::now();
    let repair = loop {
        let newest = daemon.api.get(&path).await.body["operations"][0].clone();
        if newest["kind"] == "repair" {
            break newest;
        }
        assert!(begun.elapsed() < SOON, "nothing is repaired: {newest:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(repair["ended_at"].is_null(), "{repair:#}");
    daemon.api.gone(&id).await;
    let ended = daemon.api.get(&format!("/platform/operations/{}", repair["id"].as_str().expect("an id"))).await.body;
    assert_eq!(
        (ended["state"].as_str(), ended["error"].as_str()),
        (Some("failed"), Some("it gave way to a delete")),
        "{ended:#}"
    );
    daemon.finish();
}

#[tokio::test]
async fn the_command_line_has_every_verb() {
    let daemon = Daemon::ready("verbs", Options::tiny()).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "typed"})).await);
    let run = |arguments: &[&str]| daemon.command(&[&["project"], arguments].concat());
    assert!(run(&["pause", &id]).contains("PAUSED"));
    assert!(run(&["resume", &id]).contains("ACTIVE_HEALTHY"));
    assert!(run(&["restart", &id, "--service", "front"]).contains("ACTIVE_HEALTHY"));
    assert!(run(&["restart", &id]).contains("ACTIVE_HEALTHY"));
    let output = daemon.binary().args(["project", "cancel", &id]).output().expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nothing is under way"), "{said}");
    assert!(run(&["delete", &id, "--confirm", &id]).contains("DELETED"));
    daemon.finish();
}

#[tokio::test]
async fn commands_run_without_a_shell_within_their_bounds() {
    let options = Options::tiny().set("SUPAMANAGER_LIMITS_EXEC_OUTPUT_BYTES", "1000");
    let daemon = Daemon::ready("exec", options).await;
    let id = id_of(&daemon.api.healthy(json!({"name": "commanded"})).await);
    let path = format!("/platform/projects/{id}/exec");
    let run = async |body: Value| daemon.api.post(&path, body).await;
    let busybox = |rest: &[&str]| {
        let argv = [&["/bin/busybox"], rest].concat();
        json!({"service": "back", "argv": argv})
    };
    let said = run(busybox(&["echo", "$HOME; true", "*"])).await;
    assert_eq!(said.body, json!({"exit_code": 0, "stdout": "$HOME; true *\n", "stderr": "", "truncated": false}));
    let failed = run(busybox(&["sh", "-c", "echo no >&2; exit 7"])).await;
    assert_eq!((&failed.body["exit_code"], &failed.body["stderr"]), (&json!(7), &json!("no\n")));
    let long = run(busybox(&["seq", "1", "10000"])).await.body;
    assert_eq!((long["truncated"].as_bool(), long["stdout"].as_str().map(str::len)), (Some(true), Some(1000)));
    let mut slow = busybox(&["sleep", "30"]);
    slow["timeout_ms"] = json!(300);
    let late = run(slow).await;
    assert_eq!((late.status, late.body["code"].as_str()), (504, Some("exec_timeout")), "{}", late.body);
    for (body, status, field) in [
        (json!({"service": "back", "argv": []}), 400, "argv"),
        (json!({"service": "back", "argv": ["x".repeat(16 * 1024 + 1)]}), 400, "argv"),
        (json!({"service": "back", "argv": ["a"], "timeout_ms": 0}), 400, "timeout_ms"),
        (json!({"service": "nothing", "argv": ["a"]}), 422, "service"),
        (json!({"service": "back", "argv": ["a"], "shell": true}), 400, "shell"),
    ] {
        let refused = run(body.clone()).await;
        assert_eq!((refused.status, refused.body["field"].as_str()), (status, Some(field)), "{body}: {}", refused.body);
    }
    let output =
        daemon.binary().args(["project", "exec", &id, "back", "--", "/bin/busybox", "sh", "-c", "echo hi; exit 3"]).output();
    let output = output.expect("the binary");
    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), ("hi\n", Some(3)));
    verb(&daemon.api, &id, "pause").await;
    daemon.api.settled(&id, &["PAUSED"], SOON).await;
    let stopped = run(busybox(&["true"])).await;
    assert_eq!((stopped.status, stopped.body["code"].as_str()), (409, Some("wrong_state")), "{}", stopped.body);
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn lines_are_followed_across_a_restart_and_looked_up_since_a_moment() {
    let daemon = Daemon::ready("follow", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "talkative"})).await;
    let id = id_of(&project);
    let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    let anon = keys["api_keys"]["anon"].as_str().expect("a key").to_owned();
    let say = |words: &str| {
        let script = format!("echo {words} > /proc/1/fd/1");
        Engine.docker(&["exec", &name(&id, "back"), "/bin/busybox", "sh", "-c", &script]);
    };
    say("before");
    let mut following = daemon.binary();
    following.args(["project", "logs", &id, "back", "--follow"]).stdout(std::process::Stdio::piped());
    let mut following = following.spawn().expect("the binary");
    let lines = std::io::BufReader::new(following.stdout.take().expect("a pipe"));
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(lines).map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let hear = |words: &str| {
        let line = heard.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("{words} was never heard"));
        assert!(line.ends_with(words), "{line} is not {words}");
    };
    hear("before");
    say("during");
    hear("during");
    // A secret that a service prints is taken out; the container's restart is waited for.
    say(&anon);
    hear("[ANON_KEY]");
    verb(&daemon.api, &id, "restart").await;
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    say("after");
    hear("after");
    following.kill().expect("killed");
    following.wait().expect("reaped");
    let path = format!("/platform/projects/{id}/logs?service=back");
    let all = daemon.api.get(&format!("{path}&since=10m")).await.body;
    assert!(all.as_str().is_some_and(|text| text.lines().count() == 4 && !text.contains(&anon)), "{all}");
    let none = daemon.api.get(&format!("{path}&since=2100-01-01T00:00:00Z")).await;
    assert_eq!((none.status, none.body), (200, json!("")));
    let wrong = daemon.api.get(&format!("{path}&since=yesterday")).await;
    assert_eq!((wrong.status, wrong.body["field"].as_str()), (400, Some("since")), "{}", wrong.body);
    daemon.api.gone(&id).await;
    daemon.finish();
}

/// Operations of a kind so far, among the newest fifty.
async fn count(api: &Api, id: &str, kind: &str) -> usize {
    let operations = api.get(&format!("/platform/projects/{id}/operations")).await.body;
    operations["operations"].as_array().unwrap().iter().filter(|operation| operation["kind"] == kind).count()
}

/// The tiny set, with a probe of `front` that never succeeds.
fn never_healthy(folder: &str) -> std::path::PathBuf {
    let templates = scratch(folder);
    copy_folder(&root().join("tests/fixtures/tiny"), &templates);
    let set = templates.join("sets/tiny/set.toml");
    let text = std::fs::read_to_string(&set).expect("set.toml");
    let (head, tail) = text.split_at(text.find("name = \"front\"\nimage").expect("the service"));
    std::fs::write(&set, format!("{head}{}", tail.replace("[404]", "[200]"))).expect("written");
    templates
}

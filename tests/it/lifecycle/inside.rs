//! Looking inside a project over REST and by the command line: lines that are followed without a gap, and commands
//! whose end is on record. The verbs' own tests have the ordinary cases.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::world::{Api, Daemon, Engine, Options};

const SOON: Duration = Duration::from_secs(30);

/// An event: id, kind, data.
type Event = (String, String, Value);

/// Runs a shell line in the container of `back`, as a person would.
fn shell(id: &str, script: &str) {
    Engine.docker(&["exec", &format!("supamanager-{id}-back"), "/bin/busybox", "sh", "-c", script]);
}

/// The answer to a request for lines to come.
async fn opened(api: &Api, id: &str, query: &str, last: Option<&str>) -> reqwest::Response {
    let url = format!("{}/platform/projects/{id}/logs?follow=true&{query}", api.url);
    let mut request = supamanager_tests::http().get(url).bearer_auth(&api.token);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    request.send().await.expect("an answer")
}

/// Events until one of this kind, or a line with this text.
async fn heard(answer: reqwest::Response, last: &str) -> Vec<Event> {
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let (mut text, mut events): (String, Vec<Event>) = Default::default();
    loop {
        let chunk = tokio::time::timeout(SOON, stream.next()).await;
        let Ok(Some(Ok(chunk))) = chunk else { panic!("{last} never came after {events:?}") };
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((block, rest)) = text.split_once("\n\n").map(|(block, rest)| (block.to_owned(), rest.to_owned())) {
            text = rest;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
            if field("event:").is_empty() {
                continue;
            }
            let data: Value = serde_json::from_str(&field("data:")).expect("JSON");
            let done = field("event:") == last || data["text"] == last;
            events.push((field("id:"), field("event:"), data));
            if done {
                return events;
            }
        }
    }
}

fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|(_, _, data)| data["text"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn both_streams_of_a_service_are_followed_on_from_any_line() {
    let daemon = Daemon::ready("streams", Options::tiny()).await;
    let id = daemon.api.healthy(json!({"name": "mixed"})).await["id"].as_str().expect("an id").to_owned();
    shell(
        &id,
        "for i in 1 2 3 4; do echo out $i > /proc/1/fd/1; echo err $i > /proc/1/fd/2; done; sleep 1; echo last > /proc/1/fd/1",
    );
    let all = heard(opened(&daemon.api, &id, "service=back", None).await, "last").await;
    let mut sorted = texts(&all);
    sorted.sort_unstable();
    assert_eq!(sorted, ["err 1", "err 2", "err 3", "err 4", "last", "out 1", "out 2", "out 3", "out 4"]);
    for (cut, (event, ..)) in all.iter().enumerate().take(all.len() - 1) {
        let rest = heard(opened(&daemon.api, &id, "service=back", Some(event)).await, "last").await;
        assert_eq!(texts(&rest), texts(&all[cut + 1..]), "after {event}");
    }
    // A mere time, and with fewer digits than the engine's: all of that time and before is left out.
    let time = all[7].2["timestamp"].as_str().expect("a time");
    let (second, _) = time.split_once('.').expect("digits");
    let moment = format!("{second}.999Z");
    let rest = heard(opened(&daemon.api, &id, "service=back", Some(&moment)).await, "last").await;
    let later = |event: &&Event| event.2["timestamp"].as_str() > Some(&format!("{second}.999000000Z"));
    let later: Vec<Event> = all.iter().filter(later).cloned().collect();
    assert_eq!(texts(&rest), texts(&later), "after {moment}");
    for (query, last, status, field) in [
        ("service=nothing", None, 422, "service"),
        ("service=nothing", Some(time), 422, "service"),
        ("service=back", Some("yesterday"), 400, "Last-Event-ID"),
        ("service=back&tail=0", None, 400, "tail"),
    ] {
        let refused = opened(&daemon.api, &id, query, last).await;
        let answered = refused.status().as_u16();
        let body: Value = refused.json().await.expect("JSON");
        assert_eq!((answered, body["field"].as_str()), (status, Some(field)), "{query} {last:?}: {body}");
    }
    let long_ago = daemon.api.get(&format!("/platform/projects/{id}/logs?service=back&since=200y")).await.body;
    assert_eq!(long_ago.as_str().map(|text| text.lines().count()), Some(9), "{long_ago}");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn following_ends_with_the_project_and_quietly_with_its_reader() {
    let daemon = Daemon::ready("follow-ends", Options::tiny()).await;
    let id = daemon.api.healthy(json!({"name": "passing"})).await["id"].as_str().expect("an id").to_owned();
    shell(&id, "echo first > /proc/1/fd/1");
    let follower = || {
        let mut command = daemon.binary();
        command.args(["project", "logs", &id, "back", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert!(line.ends_with("first\n"), "{line}");
        (child, lines)
    };
    // Its reader goes away, like `head`: the next line ends it without a word.
    let (mut child, lines) = follower();
    drop(lines);
    let begun = Instant::now();
    while child.try_wait().expect("waited").is_none() {
        assert!(begun.elapsed() < SOON, "it goes on for nobody");
        shell(&id, "echo more > /proc/1/fd/1");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let output = child.wait_with_output().expect("its output");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    // The project goes: both kinds of follower are told.
    let (child, _lines) = follower();
    let stream = opened(&daemon.api, &id, "service=back", None).await;
    let (events, ()) = tokio::join!(heard(stream, "end"), daemon.api.gone(&id));
    assert_eq!(events.last().map(|(_, _, data)| data["status"].clone()), Some(json!("DELETED")));
    let output = child.wait_with_output().expect("its output");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the project is deleted"));
    assert_eq!(opened(&daemon.api, &id, "service=back", None).await.status(), 409);
    daemon.finish();
}

#[tokio::test]
async fn a_key_where_a_long_line_is_cut_is_not_shown_in_part() {
    let daemon = Daemon::ready("redacted", Options::tiny()).await;
    let id = daemon.api.healthy(json!({"name": "discreet"})).await["id"].as_str().expect("an id").to_owned();
    let keys = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    let anon = keys["api_keys"]["anon"].as_str().expect("a key").to_owned();
    // Cut by the engine into parts of sixteen kilobytes, the key over the joint, and again where a line ends for us.
    let line = |before: usize| format!("/bin/busybox printf '%{before}s%s\\n' x {anon} > /proc/1/fd/1");
    for before in [16 * 1024 - 20, 24 * 1024 - 20] {
        shell(&id, &line(before));
    }
    let text = daemon.api.get(&format!("/platform/projects/{id}/logs?service=back")).await.body;
    let text = text.as_str().expect("text");
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains(&anon[..10]), "the beginning of a key is shown");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn commands_at_once_are_bounded_and_how_they_ended_is_on_record() {
    let daemon = Daemon::ready("exec-record", Options::tiny().set("SUPAMANAGER_LIMITS_COMMANDS", "1")).await;
    let id = daemon.api.healthy(json!({"name": "recorded"})).await["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}/exec");
    let sleep = |seconds: &str, timeout_ms: u32| json!({"service": "back", "argv": ["/bin/busybox", "sleep", seconds], "timeout_ms": timeout_ms});
    let second = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let request = supamanager_tests::http().post(format!("{}{path}", daemon.api.url)).bearer_auth(&daemon.api.token);
        request.json(&sleep("0", 1_000)).send().await.expect("an answer")
    };
    let (first, second) = tokio::join!(daemon.api.post(&path, sleep("4", 20_000)), second);
    assert_eq!((first.status, first.body["exit_code"].as_i64()), (200, Some(0)), "{}", first.body);
    assert_eq!((second.status().as_u16(), second.headers().contains_key("retry-after")), (429, true));
    let late = daemon.api.post(&path, sleep("30", 300)).await;
    assert_eq!((late.status, late.body["code"].as_str()), (504, Some("exec_timeout")), "{}", late.body);
    // A caller who goes away leaves the record.
    let client = supamanager::web::plain().timeout(Duration::from_millis(500)).build().expect("a client");
    let cut = client.post(format!("{}{path}", daemon.api.url)).bearer_auth(&daemon.api.token).json(&sleep("2", 20_000));
    assert!(cut.send().await.is_err_and(|error| error.is_timeout()));
    sqlx::any::install_default_drivers();
    let file = format!("sqlite://{}", daemon.data.join("supamanager.db").display());
    let mut store = sqlx::AnyConnection::connect(daemon.database_url().unwrap_or(&file)).await.expect("the store");
    let audit = "SELECT action, detail FROM audit WHERE action LIKE 'project.exec%' ORDER BY at, action";
    let begun = Instant::now();
    let rows = loop {
        let rows = sqlx::query_as::<_, (String, String)>(audit).fetch_all(&mut store).await.expect("the audit");
        if rows.len() >= 6 || begun.elapsed() > Duration::from_secs(60) {
            break rows;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    store.close().await.expect("closed");
    let rows: Vec<Value> =
        (rows.iter()).map(|(action, detail)| json!([action, serde_json::from_str::<Value>(detail).expect("JSON")])).collect();
    let actions: Vec<_> = rows.iter().map(|row| row[0].as_str().unwrap_or_default()).collect();
    assert_eq!(actions, ["project.exec", "project.exec.ended"].repeat(3), "{rows:?}");
    assert_eq!((&rows[1][1]["exit_code"], &rows[5][1]["exit_code"]), (&json!(0), &json!(0)));
    assert!(rows[3][1]["error"].as_str().is_some_and(|error| error.contains("did not end within 300 ms")), "{}", rows[3]);
    assert_eq!(rows[3][1]["argv"], json!(["/bin/busybox", "sleep", "30"]));
    daemon.api.gone(&id).await;
    daemon.finish();
}

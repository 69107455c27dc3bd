//! What is seen of a project that runs: a container that ends, and what its services use.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Daemon, Engine, Options};

/// The stated bound is a second; a test asserts it with slack (decision 37).
const SEEN: Duration = Duration::from_secs(10);

/// Every `health` event of a service so far.
async fn health_events(daemon: &Daemon, id: &str, service: &str) -> Vec<Value> {
    let events = daemon.api.events_so_far(id).await;
    let of = |(_, kind, data): &(i64, String, Value)| kind == "health" && data["service"] == service;
    events.into_iter().filter(of).map(|(_, _, data)| data).collect()
}

/// Until an event of the service says this.
async fn told(daemon: &Daemon, id: &str, service: &str, words: &str) -> Value {
    let begun = Instant::now();
    loop {
        let events = health_events(daemon, id, service).await;
        if let Some(found) = events.iter().find(|data| data["reason"].as_str().is_some_and(|reason| reason.contains(words))) {
            return found.clone();
        }
        assert!(begun.elapsed() < SEEN, "`{words}` was not told of {service}: {events:#?}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_container_that_ended_and_runs_again_is_told_at_once() {
    let daemon = Daemon::ready("deaths", Options::tiny().set("SUPAMANAGER_LIMITS_PROBE_INTERVAL_S", "2")).await;
    let id = daemon.api.healthy(json!({"name": "mortal"})).await["id"].as_str().expect("an id").to_owned();
    assert!(health_events(&daemon, &id, "front").await.iter().all(|data| !data["reason"].to_string().contains("ended at")));
    // The first process of a container hears no signal from inside that it does not handle, so from outside, by its pid;
    // to the engine that is an end of its own.
    let pid = Engine.inspect(&format!("supamanager-{id}-front"))["State"]["Pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
    let event = told(&daemon, &id, "front", "restarted once, last ended at 20").await;
    assert_eq!(event["state"], "starting", "{event:#}");
    let check = &daemon.api.get(&format!("/platform/projects/{id}/health")).await.body["health_checks"]["front"];
    assert!(check["since"].is_string() && check["last_check"].is_string(), "{check:#}");
    // Nothing had to be put right, and after so many good looks it is healthy again.
    let begun = Instant::now();
    while daemon.api.project(&id).await["services"]["front"] != "healthy" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:#}", daemon.api.project(&id).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(daemon.api.project(&id).await["status"], "ACTIVE_HEALTHY");
    // One that stays down: it is seen, the project with it, and a repair brings it back.
    Engine.docker(&["kill", &format!("supamanager-{id}-front")]);
    told(&daemon, &id, "front", "its container does not run").await;
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    // What an operation of ours ends is no death.
    let before = health_events(&daemon, &id, "back").await.len();
    assert_eq!(daemon.api.post(&format!("/platform/projects/{id}/restart"), json!({})).await.status, 202);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = health_events(&daemon, &id, "back").await;
    assert!(after[before..].iter().all(|data| !data["reason"].to_string().contains("ended at")), "{after:#?}");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn usage_is_a_series_of_the_project_and_of_each_service() {
    let daemon = Daemon::ready("usage", Options::tiny().set("SUPAMANAGER_USAGE_EVERY_S", "10")).await;
    let id = daemon.api.healthy(json!({"name": "measured"})).await["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}/usage?window=1h");
    let begun = Instant::now();
    let used = loop {
        let used = daemon.api.get(&path).await;
        assert_eq!(used.status, 200, "{}", used.body);
        let samples = used.body["points"].as_array().into_iter().flatten().filter_map(|point| point["samples"].as_i64());
        if samples.sum::<i64>() >= 2 {
            break used.body;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no samples: {}\n{}", used.body, daemon.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!((&used["window_s"], &used["step_s"]), (&json!(3600), &json!(60)));
    assert!(used["now"]["observed_at"].is_string() && used["now"]["memory"].is_number(), "{used:#}");
    for service in ["back", "front"] {
        let point = &used["services"][service]["points"][0];
        assert!(point["cpu"].as_f64().is_some_and(|cpu| (0.0..2.0).contains(&cpu)), "{service}: {used:#}");
        assert!(point["memory_max"].is_number() && point["rx_bytes"].is_i64(), "{service}: {used:#}");
    }
    assert_eq!((&used["gateway"]["counts"], &used["gateway"]["requests"]), (&json!("bytes"), &Value::Null), "no invented figure");
    let wrong = daemon.api.get(&format!("/platform/projects/{id}/usage?window=1y")).await;
    assert_eq!((wrong.status, wrong.body["field"].as_str()), (400, Some("window")), "{}", wrong.body);
    let table = daemon.command(&["project", "usage", &id, "--window", "30m"]);
    assert!(table.contains("CPU P50") && table.contains("front") && table.contains("(all)"), "{table}");
    daemon.api.gone(&id).await;
    daemon.finish();
}

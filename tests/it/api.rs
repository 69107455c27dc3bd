//! The native dialect on the wire: shapes, bounds and refusals. Projects here are the two small containers.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use supamanager::http::{NATIVE, Route};

use crate::world::{Daemon, Options};

#[test]
fn the_specification_and_the_router_have_the_same_routes() {
    let document = serde_json::to_value(supamanager::http::document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| item.as_object().expect("methods").keys().filter(|key| *key != "parameters").count();
    let said: usize = paths.values().map(methods).sum();
    for Route { method, path, .. } in NATIVE {
        assert!(document["paths"][path].get(method).is_some(), "{method} {path} is not in the specification");
    }
    assert_eq!(said, NATIVE.len(), "the specification has what is not served");
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_the_field_and_nothing_is_made() {
    let daemon = Daemon::ready("bodies", Options::tiny()).await;
    let api = &daemon.api;
    let refused: [(Value, u16, &str); 11] = [
        (json!({"nme": "x"}), 400, "nme"),
        (json!({"region": "us-east"}), 400, "name"),
        (json!({"name": "  "}), 400, "name"),
        (json!({"name": "x".repeat(257)}), 400, "name"),
        (json!({"name": "a\nb"}), 400, "name"),
        (json!({"name": "x", "db_pass": ""}), 400, "db_pass"),
        (json!({"name": "x", "db_pass": "a\u{0}b"}), 400, "db_pass"),
        (json!({"name": "x", "region": "mars"}), 422, "region"),
        (json!({"name": "x", "organization_id": "org_123"}), 422, "organization_id"),
        (json!({"name": "x", "template_set": "none"}), 422, "template_set"),
        (json!({"name": "x", "image_set": "none"}), 422, "image_set"),
    ];
    for (body, status, field) in refused {
        let answer = api.post("/platform/projects", body.clone()).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (status, Some(field)), "{body}: {}", answer.body);
        assert!(!answer.body["message"].as_str().unwrap_or_default().is_empty(), "{body}");
    }
    let large = api.post("/platform/projects", json!({"name": "x".repeat(70_000)})).await;
    assert_eq!((large.status, large.body["code"].as_str()), (413, Some("body_too_large")));
    let header = "x".repeat(20_000);
    let large = daemon.api.call(Method::GET, "/platform/projects", None, &[("x-large", &header)]).await;
    assert_eq!((large.status, large.body["code"].as_str()), (431, Some("headers_too_large")), "{}", large.body);
    let key = "k".repeat(256);
    let body = json!({"name": "a long key"});
    let large = daemon.api.call(Method::POST, "/platform/projects", Some(body), &[("idempotency-key", &key)]).await;
    assert!(large.status == 422 || large.status == 400, "an Idempotency-Key has at most 255 bytes: {}", large.body);
    for path in ["?limit=0", "?limit=201", "?status=MARS", "?cursor=abc", "?sort=up"] {
        assert_eq!(api.get(&format!("/platform/projects{path}")).await.status, 400, "{path}");
    }
    for path in ["/platform/projects/abc123", "/platform/projects/abcdefghijklmnopqrst", "/platform/operations/op_1", "/nothing"]
    {
        assert_eq!(api.get(path).await.status, 404, "{path}");
    }
    assert_eq!(api.get("/platform/projects").await.body, json!({"projects": [], "next_cursor": null}));
    daemon.finish();
}

#[tokio::test]
async fn an_idempotency_key_gives_one_project() {
    let daemon = Daemon::ready("idempotency", Options::tiny()).await;
    let api = &daemon.api;
    let body = json!({"name": "once"});
    let key = [("Idempotency-Key", "7b1c")];
    // Ten at once: the transaction decides, not the order of arrival.
    let calls = (0..10).map(|_| api.call(Method::POST, "/platform/projects", Some(body.clone()), &key));
    let answers = futures_util::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<String> = answers.iter().map(|answer| answer.body["id"].to_string()).collect();
    assert_eq!((ids.len(), answers.iter().all(|answer| answer.status == 201)), (1, true), "{answers:?}");
    let keys: std::collections::BTreeSet<String> = answers.iter().map(|answer| answer.body["operation_id"].to_string()).collect();
    assert_eq!(keys.len(), 1, "the same operation");
    let other = api.call(Method::POST, "/platform/projects", Some(json!({"name": "twice"})), &key).await;
    assert_eq!((other.status, other.body["code"].as_str()), (422, Some("idempotency_key_reused")));
    let id = answers[0].body["id"].as_str().expect("an id");
    api.settled(id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    api.gone(id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_delete_wants_a_confirmation_and_leaves_a_tombstone() {
    let daemon = Daemon::ready("confirm", Options::tiny()).await;
    let api = &daemon.api;
    let project = api.healthy(json!({"name": "Mine"})).await;
    let path = format!("/platform/projects/{}", project["id"].as_str().expect("an id"));
    for body in [None, Some(json!({})), Some(json!({"confirm": "mine"}))] {
        let answer = api.call(Method::DELETE, &path, body, &[]).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (428, Some("confirm")), "{}", answer.body);
    }
    let answer = api.call(Method::DELETE, &path, Some(json!({"confirm": "Mine"})), &[]).await;
    assert_eq!((answer.status, answer.body["status"].as_str()), (202, Some("DELETING")));
    let again = api.call(Method::DELETE, &path, Some(json!({"confirm": "Mine"})), &[]).await;
    assert_eq!((again.status, again.body["code"].as_str()), (409, Some("wrong_state")), "one operation at a time");
    let id = project["id"].as_str().expect("an id");
    let gone = api.settled(id, &["DELETED"], Duration::from_secs(60)).await;
    assert_eq!(gone["services"], json!({}));
    assert_eq!(api.get("/platform/projects").await.body["projects"], json!([]), "gone from the list at once");
    assert_eq!(api.get(&format!("{path}/credentials")).await.status, 409, "its secrets are gone");
    let retry = api.post(&format!("{path}/retry"), json!({})).await;
    assert_eq!(retry.status, 409);
    daemon.finish();
}

#[tokio::test]
async fn events_are_replayed_after_an_id_and_end_with_the_operation() {
    let daemon = Daemon::ready("events", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "watched"})).await;
    let id = project["id"].as_str().expect("an id");
    let all = daemon.api.events_until_end(id, "0").await;
    let ids: Vec<i64> = all.iter().map(|(id, ..)| *id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "ids rise: {ids:?}");
    let kinds: std::collections::BTreeSet<&str> = all.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["end", "health", "status", "step"].into());
    let done: Vec<&str> = all
        .iter()
        .filter(|(_, kind, data)| kind == "step" && data["state"] == "succeeded")
        .filter_map(|(.., data)| data["step"].as_str())
        .collect();
    let planned = supamanager::lifecycle::plan(supamanager::domain::OperationKind::Create, &[0, 1]);
    assert_eq!(done, planned.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), "every step is told, in order");
    let half = ids[ids.len() / 2];
    let rest = daemon.api.events_until_end(id, &half.to_string()).await;
    assert_eq!(
        rest.iter().map(|(id, ..)| *id).collect::<Vec<_>>(),
        ids.iter().copied().filter(|id| *id > half).collect::<Vec<_>>()
    );
    daemon.api.gone(id).await;
    daemon.finish();
}

#[tokio::test]
async fn an_open_event_stream_ends_with_the_daemon() {
    let mut daemon = Daemon::ready("stream-stop", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "watched"})).await;
    let id = project["id"].as_str().expect("an id");
    let url = format!("{}/platform/projects/{id}/events", daemon.api.url);
    let open = supamanager_tests::http().get(url).bearer_auth(&daemon.api.token).send().await.expect("a stream");
    let begun = std::time::Instant::now();
    daemon.stop();
    // deadlines.stop_s is 10, and nothing has to be waited for.
    assert!(begun.elapsed() < Duration::from_secs(8), "the stop took {:?}", begun.elapsed());
    drop(open);
    daemon.revive().await;
    daemon.api.gone(id).await;
    daemon.finish();
}

#[tokio::test]
async fn lists_are_paged() {
    let daemon = Daemon::ready("pages", Options::tiny()).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "a"] {
        ids.push(daemon.api.create(json!({"name": name})).await["id"].as_str().expect("an id").to_owned());
    }
    for id in &ids {
        daemon.api.settled(id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    }
    ids.sort();
    let first = daemon.api.get("/platform/projects?limit=2&status=ACTIVE_HEALTHY").await.body;
    let cursor = first["next_cursor"].as_str().expect("a second page");
    let second = daemon.api.get(&format!("/platform/projects?limit=2&cursor={cursor}")).await.body;
    let listed: Vec<&str> = [&first, &second]
        .iter()
        .flat_map(|page| page["projects"].as_array().expect("a page"))
        .filter_map(|p| p["id"].as_str())
        .collect();
    assert_eq!(listed, ids, "names may repeat, every project is listed once");
    assert_eq!(second["next_cursor"], Value::Null);
    for id in &ids {
        daemon.api.gone(id).await;
    }
    daemon.finish();
}

#[tokio::test]
async fn metrics_count_projects_requests_and_steps() {
    let daemon = Daemon::ready("metrics", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "counted"})).await;
    let text = daemon.api.get("/metrics").await.body;
    let text = text.as_str().expect("text");
    for line in [
        "supamanager_operations_total{kind=\"create\",outcome=\"succeeded\"} 1",
        "supamanager_projects{status=\"ACTIVE_HEALTHY\"} 1",
        "supamanager_step_duration_seconds_count{kind=\"create\",step=\"network\"} 1",
        "supamanager_http_requests_total{method=\"POST\",route=\"/platform/projects\",status=\"201\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(project["id"].as_str().expect("an id")), "a ref is no label");
    daemon.api.gone(project["id"].as_str().expect("an id")).await;
    daemon.finish();
}

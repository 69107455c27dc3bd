//! A REST client that keeps what the daemon says.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Client, Method};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub location: Option<String>,
}

/// A client of one daemon.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    pub token: String,
    client: Client,
}

impl Api {
    pub fn new(url: &str, token: &str) -> Self {
        let client = supamanager::web::plain().timeout(Duration::from_secs(60)).build().expect("a client");
        Self { url: url.to_owned(), token: token.to_owned(), client }
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the daemon answers");
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = answer.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, body, location }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    pub async fn create(&self, body: Value) -> Value {
        let answer = self.post("/platform/projects", body).await;
        assert_eq!(answer.status, 201, "create: {}", answer.body);
        answer.body
    }

    pub async fn delete(&self, id: &str) -> Answer {
        self.call(Method::DELETE, &format!("/platform/projects/{id}"), Some(serde_json::json!({"confirm": id})), &[]).await
    }

    pub async fn project(&self, id: &str) -> Value {
        self.get(&format!("/platform/projects/{id}")).await.body
    }

    /// Waits until the project is in one of the states; returns it as it is then.
    pub async fn settled(&self, id: &str, states: &[&str], limit: Duration) -> Value {
        let begun = Instant::now();
        loop {
            let project = self.project(id).await;
            let status = project["status"].as_str().unwrap_or_default().to_owned();
            if states.contains(&status.as_str()) {
                return project;
            }
            if begun.elapsed() > limit {
                let operations = self.get(&format!("/platform/projects/{id}/operations")).await.body;
                panic!("{id} is {status} after {limit:?}, wanted {states:?}\n{project:#}\n{operations:#}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a step of the project's newest operation is in a state.
    pub async fn step_is(&self, id: &str, step: &str, state: &str, limit: Duration) {
        let begun = Instant::now();
        loop {
            let operations = self.get(&format!("/platform/projects/{id}/operations")).await.body;
            let steps = operations["operations"][0]["steps"].as_array().cloned().unwrap_or_default();
            if steps.iter().any(|found| found["name"] == step && found["state"] == state) {
                return;
            }
            assert!(begun.elapsed() < limit, "{step} of {id} is not {state} after {limit:?}\n{operations:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Creates a project and waits until it is healthy.
    pub async fn healthy(&self, body: Value) -> Value {
        let created = self.create(body).await;
        let id = created["id"].as_str().expect("an id").to_owned();
        let project = self.settled(&id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(300)).await;
        assert_eq!(project["status"], "ACTIVE_HEALTHY", "{:#}", project["error"]);
        project
    }

    /// Deletes a project and waits until it is gone.
    pub async fn gone(&self, id: &str) {
        let answer = self.delete(id).await;
        assert_eq!(answer.status, 202, "delete: {}", answer.body);
        self.settled(id, &["DELETED"], Duration::from_secs(180)).await;
    }

    /// Every event so far: what the stream replays until it falls silent.
    pub async fn events_so_far(&self, project: &str) -> Vec<(i64, String, Value)> {
        let request = self.client.get(format!("{}/platform/projects/{project}/events", self.url)).bearer_auth(&self.token);
        let answer = request.header("Last-Event-ID", "0").send().await.expect("a stream");
        let mut stream = answer.bytes_stream();
        let mut text = String::new();
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(Duration::from_millis(300), stream.next()).await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        let field = |block: &str, name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        let whole = text.split("\n\n").filter(|block| !field(block, "event:").is_empty() && block.contains("data:"));
        let parsed = whole.filter_map(|block| {
            let data = serde_json::from_str(&field(block, "data:")).ok()?;
            Some((field(block, "id:").parse().ok()?, field(block, "event:"), data))
        });
        parsed.collect()
    }

    /// Events until the first `end`.
    pub async fn events_until_end(&self, project: &str, after: &str) -> Vec<(i64, String, Value)> {
        let request =
            supamanager_tests::http().get(format!("{}/platform/projects/{project}/events", self.url)).bearer_auth(&self.token);
        let answer = request.header("Last-Event-ID", after).send().await.expect("a stream");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.bytes_stream();
        let (mut text, mut events) = (String::new(), Vec::new());
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout(Duration::from_secs(30), stream.next()).await {
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some((block, rest)) = text.split_once("\n\n").map(|(block, rest)| (block.to_owned(), rest.to_owned())) {
                text = rest;
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
                let kind = field("event:");
                if kind.is_empty() {
                    continue;
                }
                events.push((
                    field("id:").parse().expect("an id"),
                    kind.clone(),
                    serde_json::from_str(&field("data:")).expect("JSON"),
                ));
                if kind == "end" {
                    return events;
                }
            }
        }
        panic!("no end in {events:?}");
    }
}

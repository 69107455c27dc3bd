//! A project that is a list of questions and answers, for an author's trials: what a plugin asks is looked up there, and
//! written down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::hooks::{AccessError, Egress, Memory, MemoryOf, OutsideRequest, ServiceAccess, ServiceRequest, ServiceResponse};
use crate::backend::EngineHealth;
use crate::domain::ServiceName;

/// A question to the project, and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `{"http": "GET auth:9999/health", "headers": {}, "body": ""}`, `{"egress": "POST https://hooks.example.org/x"}`, `{"tcp": "db:5432"}`, `{"engine": "db"}`,
    /// `{"login": "postgres@db:5432"}` or `{"sql": "select 1", "as": "postgres@db"}`.
    pub ask: Value,
    /// `{"status": 200, "headers": {}, "body": ""}`, `{"ms": 1}`, `{"health": "healthy"}`, `{"rows": 1}`, or one of
    /// `{"refused": "why"}`, `{"timed_out": "why"}`, `{"denied": "why"}`, `{"failed": "why"}`.
    pub answer: Value,
}

/// A project that answers out of a list.
pub struct Scripted {
    left: Mutex<Vec<Exchange>>,
    asked: Mutex<Vec<Value>>,
    progress: Mutex<Vec<String>>,
}

impl Scripted {
    /// These, each given once.
    pub fn new(exchanges: &[Exchange]) -> Self {
        Self { left: Mutex::new(exchanges.to_vec()), asked: Mutex::default(), progress: Mutex::default() }
    }

    /// What was asked, and what was said of progress, in order.
    pub fn heard(&self) -> (Vec<Value>, Vec<String>) {
        (std::mem::take(&mut *lock(&self.asked)), std::mem::take(&mut *lock(&self.progress)))
    }

    fn answer(&self, ask: Value) -> Result<Value, AccessError> {
        lock(&self.asked).push(ask.clone());
        let mut left = lock(&self.left);
        let Some(position) = left.iter().position(|exchange| exchange.ask == ask) else {
            return Err(AccessError::Denied(format!("`host` of the fixture has no (more) answer to {ask}")));
        };
        let answer = left.remove(position).answer;
        let why = |key: &str| answer[key].as_str().map(str::to_owned);
        Err(match (why("refused"), why("timed_out"), why("denied"), why("failed")) {
            (Some(why), ..) => AccessError::Refused(why),
            (_, Some(why), ..) => AccessError::TimedOut(why),
            (.., Some(why), _) => AccessError::Denied(why),
            (.., Some(why)) => AccessError::Failed(why),
            _ => return Ok(answer),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

fn took(answer: &Value) -> Duration {
    Duration::from_millis(answer["ms"].as_u64().unwrap_or(1))
}

fn texts(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

impl Scripted {
    fn answer_http(&self, mut ask: Value, headers: &[(String, String)], body: &[u8]) -> Result<ServiceResponse, AccessError> {
        if !headers.is_empty() {
            ask["headers"] = texts(headers);
        }
        if !body.is_empty() {
            ask["body"] = json!(String::from_utf8_lossy(body));
        }
        let answer = self.answer(ask)?;
        let headers = answer["headers"].as_object().cloned().unwrap_or_default();
        Ok(ServiceResponse {
            status: answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
            headers: headers.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned())).collect(),
            body: match &answer["body"] {
                Value::String(text) => text.clone().into_bytes(),
                Value::Null => Vec::new(),
                json => json.to_string().into_bytes(),
            },
        })
    }
}

#[async_trait]
impl Egress for Scripted {
    async fn send(&self, request: OutsideRequest) -> Result<ServiceResponse, AccessError> {
        let ask = json!({ "egress": format!("{} {}", request.method, request.url) });
        self.answer_http(ask, &request.headers, &request.body)
    }
}

#[async_trait]
impl ServiceAccess for Scripted {
    async fn http(&self, request: ServiceRequest) -> Result<ServiceResponse, AccessError> {
        let ServiceRequest { service, port, method, path, headers, body, .. } = request;
        self.answer_http(json!({ "http": format!("{method} {service}:{port}{path}") }), &headers, &body)
    }

    async fn tcp(&self, service: &ServiceName, port: u16, _: Duration) -> Result<Duration, AccessError> {
        self.answer(json!({ "tcp": format!("{service}:{port}") })).map(|answer| took(&answer))
    }

    async fn engine_health(&self, service: &ServiceName) -> Result<EngineHealth, AccessError> {
        let answer = self.answer(json!({ "engine": service }))?;
        Ok(match answer["health"].as_str() {
            Some("starting") => EngineHealth::Starting,
            Some("unhealthy") => EngineHealth::Unhealthy,
            Some("none") => EngineHealth::None,
            _ => EngineHealth::Healthy,
        })
    }

    async fn db_login(&self, service: &ServiceName, port: u16, role: &str, _: Duration) -> Result<Duration, AccessError> {
        self.answer(json!({ "login": format!("{role}@{service}:{port}") })).map(|answer| took(&answer))
    }

    async fn sql(&self, service: &ServiceName, role: &str, statement: &str, _: Duration) -> Result<u64, AccessError> {
        let answer = self.answer(json!({ "sql": statement, "as": format!("{role}@{service}") }))?;
        Ok(answer["rows"].as_u64().unwrap_or_default())
    }

    async fn progress(&self, text: &str) {
        lock(&self.progress).push(text.to_owned());
    }

    /// Under the secret's own name, so that what is signed is the same each time.
    async fn hmac_sha256(&self, secret: &str, bytes: &[u8]) -> Result<Vec<u8>, AccessError> {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| AccessError::Failed(error.to_string()))?;
        Ok(mac.chain_update(bytes).finalize().into_bytes().to_vec())
    }
}

/// Memory for one call.
pub struct Remembered(Mutex<BTreeMap<String, Vec<u8>>>);

impl Remembered {
    /// This, to begin with.
    pub fn of(texts: &BTreeMap<String, String>) -> Self {
        Self(Mutex::new(texts.iter().map(|(key, text)| (key.clone(), text.clone().into_bytes())).collect()))
    }
}

#[async_trait]
impl Memory for Remembered {
    async fn get(&self, _: &MemoryOf, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        Ok(lock(&self.0).get(key).cloned())
    }

    async fn set(&self, _: &MemoryOf, key: &str, value: Vec<u8>) -> Result<(), AccessError> {
        lock(&self.0).insert(key.to_owned(), value);
        Ok(())
    }

    async fn delete(&self, _: &MemoryOf, key: &str) -> Result<(), AccessError> {
        lock(&self.0).remove(key);
        Ok(())
    }

    async fn keys(&self, _: &MemoryOf) -> Result<Vec<String>, AccessError> {
        Ok(lock(&self.0).keys().cloned().collect())
    }
}

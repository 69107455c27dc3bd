//! A project's services that are not there: every question is written down, every answer is set by the test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use supamanager::backend::EngineHealth;
use supamanager::domain::ServiceName;
use supamanager::plugin_host::hooks::{AccessError, ServiceAccess, ServiceRequest, ServiceResponse};

/// What every question is answered with.
#[derive(Clone)]
pub enum Answer {
    /// HTTP with this status and body; everything else succeeds.
    Http(u16, &'static str),
    /// This error.
    Error(AccessError),
    /// None, ever.
    Silence,
}

pub struct Fake {
    answer: Answer,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    pub fn answering(answer: Answer) -> Arc<Self> {
        Arc::new(Self { answer, asked: Mutex::new(Vec::new()) })
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics while asking").clone()
    }

    async fn note(&self, question: String) -> Result<(), AccessError> {
        self.asked.lock().expect("no test panics while asking").push(question);
        match &self.answer {
            Answer::Http(..) => Ok(()),
            Answer::Error(error) => Err(error.clone()),
            Answer::Silence => std::future::pending().await,
        }
    }
}

#[async_trait]
impl ServiceAccess for Fake {
    async fn http(&self, request: ServiceRequest) -> Result<ServiceResponse, AccessError> {
        let ServiceRequest { service, port, method, path, headers, .. } = request;
        self.note(format!("{method} {service}:{port}{path} {headers:?}")).await?;
        let Answer::Http(status, body) = self.answer else { unreachable!("note has answered") };
        Ok(ServiceResponse { status, headers: Vec::new(), body: body.into() })
    }

    async fn tcp(&self, service: &ServiceName, port: u16, _: Duration) -> Result<Duration, AccessError> {
        self.note(format!("tcp {service}:{port}")).await.map(|()| Duration::from_millis(1))
    }

    async fn engine_health(&self, service: &ServiceName) -> Result<EngineHealth, AccessError> {
        self.note(format!("engine {service}")).await.map(|()| EngineHealth::Healthy)
    }

    async fn db_login(&self, service: &ServiceName, port: u16, role: &str, _: Duration) -> Result<Duration, AccessError> {
        self.note(format!("login {role}@{service}:{port}")).await.map(|()| Duration::from_millis(1))
    }

    async fn sql(&self, service: &ServiceName, role: &str, statement: &str, _: Duration) -> Result<u64, AccessError> {
        self.note(format!("sql {role}@{service}: {statement}")).await.map(|()| 1)
    }

    async fn hmac_sha256(&self, secret: &str, bytes: &[u8]) -> Result<Vec<u8>, AccessError> {
        self.note(format!("sign {} bytes with {secret}", bytes.len())).await.map(|()| vec![7; 32])
    }

    async fn progress(&self, text: &str) {
        self.asked.lock().expect("no test panics while asking").push(format!("progress {text}"));
    }
}

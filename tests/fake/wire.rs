//! What the containers of the fake engine answer: each as its template set's probe expects it, once it has booted.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};
use supamanager::domain::{Secret, ServiceName, TemplateSet};
use supamanager::plugin_host::hooks::{AccessError, ServiceRequest, ServiceResponse};
use supamanager::reach::Wire;

use super::{FakeEngine, State};

/// What a connection to a container costs.
const LATENCY: Duration = Duration::from_millis(1);

impl FakeEngine {
    /// Lets every service of the set answer its own HTTP probe.
    pub fn answer_like(&self, set: &TemplateSet) {
        let mut world = self.look();
        for service in &set.services {
            if let Some(answer) = expected(&service.probe) {
                world.answers.insert(service.name.clone(), answer);
            }
        }
    }

    /// The service at an address, when it is up.
    async fn up(
        &self,
        address: Ipv4Addr,
        deadline: Duration,
    ) -> Result<(ServiceName, supamanager::domain::ProjectRef), AccessError> {
        tokio::time::sleep(LATENCY).await;
        let found = {
            let now = (self.now)();
            let mut world = self.look();
            let there = world.containers.at(address);
            there.and_then(|container| {
                let State::Running { since } = container.state else { return None };
                let labels = container.labels.as_ref()?;
                let booted = now >= since + container.boot_ms;
                Some((labels.service.clone()?, labels.project.clone(), container.frozen, booted))
            })
        };
        match found {
            Some((_, _, true, _)) => {
                tokio::time::sleep(deadline).await;
                Err(AccessError::TimedOut("no answer".to_owned()))
            }
            Some((service, project, false, true)) => Ok((service, project)),
            _ => Err(AccessError::Refused("connection refused".to_owned())),
        }
    }
}

/// The status and the body that a probe of kind `http` wants to see.
fn expected(probe: &Map<String, Value>) -> Option<(u16, String)> {
    if probe.get("kind")?.as_str()? != "http" {
        return None;
    }
    let status = probe.get("status").and_then(|list| list.get(0)).and_then(Value::as_u64).unwrap_or(200);
    let body = match (probe.get("body"), probe.get("json")) {
        (Some(Value::String(text)), _) => text.clone(),
        (_, Some(expected)) => {
            let pointer = expected.get("pointer").and_then(Value::as_str).unwrap_or_default();
            let mut value = expected.get("equals").cloned().unwrap_or_default();
            for key in pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
                value = json!({ key: value });
            }
            value.to_string()
        }
        _ => String::new(),
    };
    Some((u16::try_from(status).ok()?, body))
}

#[async_trait]
impl Wire for FakeEngine {
    async fn http(&self, address: Ipv4Addr, request: ServiceRequest, _: HeaderMap) -> Result<ServiceResponse, AccessError> {
        let (service, _) = self.up(address, request.deadline).await?;
        let (status, body) = self.look().answers.get(&service).cloned().unwrap_or((404, String::new()));
        Ok(ServiceResponse { status, headers: Default::default(), body: body.into_bytes() })
    }

    async fn tcp(&self, address: SocketAddr, deadline: Duration) -> Result<Duration, AccessError> {
        self.up(v4(address), deadline).await.map(|_| LATENCY)
    }

    async fn login(
        &self,
        address: SocketAddr,
        role: &str,
        password: &Secret<String>,
        deadline: Duration,
    ) -> Result<Duration, AccessError> {
        let (_, project) = self.up(v4(address), deadline).await?;
        let mut world = self.look();
        let known = world.passwords.entry((project, role.to_owned())).or_insert_with(|| password.expose().clone());
        // A secret that changed after it was first used would lock everybody out (I8).
        if known == password.expose() {
            Ok(LATENCY)
        } else {
            Err(AccessError::Failed(format!("login as {role}: wrong password")))
        }
    }

    async fn sql(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        _: &str,
        deadline: Duration,
    ) -> Result<u64, AccessError> {
        self.login((address, 5432).into(), role, password, deadline).await.map(|_| 0)
    }

    async fn admin(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        _: &[String],
        deadline: Duration,
    ) -> Result<(), AccessError> {
        self.login((address, 5432).into(), role, password, deadline).await.map(drop)
    }

    async fn number(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        _: &str,
        deadline: Duration,
    ) -> Result<i64, AccessError> {
        self.login((address, 5432).into(), role, password, deadline).await.map(|_| 0)
    }

    async fn set_password(
        &self,
        address: Ipv4Addr,
        admin: &str,
        admin_password: &Secret<String>,
        _: &str,
        _: &str,
        deadline: Duration,
    ) -> Result<(), AccessError> {
        self.login((address, 5432).into(), admin, admin_password, deadline).await.map(drop)
    }
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address {
        SocketAddr::V4(v4) => *v4.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

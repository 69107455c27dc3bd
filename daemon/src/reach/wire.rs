//! What is said to an address once it is known. The network here; in the tests the fake engine answers for its own
//! containers, so that a stack on it becomes healthy, or does not, by the same probes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::database;
use crate::domain::Secret;
use crate::plugin_host::hooks::{AccessError, ServiceRequest, ServiceResponse};
use crate::web;

/// The way from an address to an answer. Every call ends by its deadline.
#[async_trait]
pub trait Wire: Send + Sync {
    /// One HTTP exchange; of the body at most `request.body_limit` bytes. `headers` are those of the request, filled in.
    async fn http(&self, address: Ipv4Addr, request: ServiceRequest, headers: HeaderMap) -> Result<ServiceResponse, AccessError>;

    /// Opens a connection and closes it; the time it took.
    async fn tcp(&self, address: SocketAddr, deadline: Duration) -> Result<Duration, AccessError>;

    /// Logs in to PostgreSQL and runs `SELECT 1`; the time it took.
    async fn login(
        &self,
        address: SocketAddr,
        role: &str,
        password: &Secret<String>,
        deadline: Duration,
    ) -> Result<Duration, AccessError>;

    /// Runs statements as a role that is not a superuser; rows affected.
    async fn sql(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        statement: &str,
        deadline: Duration,
    ) -> Result<u64, AccessError>;

    /// Runs statements in order, each on its own, as a role that may be a superuser: they are the template set's, never a
    /// plugin's or a caller's.
    async fn admin(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        statements: &[String],
        deadline: Duration,
    ) -> Result<(), AccessError>;

    /// The whole number that a query of the template set's own answers, as a role that may be a superuser.
    async fn number(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        query: &str,
        deadline: Duration,
    ) -> Result<i64, AccessError>;

    /// Gives `role` the password behind a SCRAM verifier, logged in as `admin`.
    async fn set_password(
        &self,
        address: Ipv4Addr,
        admin: &str,
        admin_password: &Secret<String>,
        role: &str,
        verifier: &str,
        deadline: Duration,
    ) -> Result<(), AccessError>;
}

/// The network of the engine's host.
pub struct Network(reqwest::Client);

impl Network {
    /// One HTTP client for all: no redirects, no proxy of the environment, no idle connections kept to addresses
    /// that another project may get next.
    ///
    /// # Errors
    /// A sentence when the client cannot be built.
    pub fn new() -> Result<Self, String> {
        web::plain().build().map(Self).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Wire for Network {
    async fn http(&self, address: Ipv4Addr, request: ServiceRequest, headers: HeaderMap) -> Result<ServiceResponse, AccessError> {
        let place = format!("{}:{}", request.service, request.port);
        let method = request.method.parse().map_err(|_| AccessError::Denied(format!("`{}` is no method", request.method)))?;
        let deadline = request.deadline;
        let url = format!("http://{address}:{}{}", request.port, request.path);
        let call = self.0.request(method, url).headers(headers).body(request.body).timeout(deadline).send();
        let failed = |error: &reqwest::Error| failure(&place, deadline.as_millis(), error);
        read(call.await.map_err(|error| failed(&error))?, request.body_limit, failed).await
    }

    async fn tcp(&self, address: SocketAddr, deadline: Duration) -> Result<Duration, AccessError> {
        let begun = Instant::now();
        match tokio::time::timeout(deadline, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(begun.elapsed()),
            Ok(Err(error)) => Err(AccessError::Refused(error.kind().to_string())),
            Err(_) => Err(AccessError::TimedOut("no connection".to_owned())),
        }
    }

    async fn login(
        &self,
        address: SocketAddr,
        role: &str,
        password: &Secret<String>,
        deadline: Duration,
    ) -> Result<Duration, AccessError> {
        database::login(address, role, password, deadline).await
    }

    async fn sql(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        statement: &str,
        deadline: Duration,
    ) -> Result<u64, AccessError> {
        database::run(address, role, password, statement, deadline).await
    }

    async fn admin(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        statements: &[String],
        deadline: Duration,
    ) -> Result<(), AccessError> {
        database::admin(address, role, password, statements, deadline).await
    }

    async fn number(
        &self,
        address: Ipv4Addr,
        role: &str,
        password: &Secret<String>,
        query: &str,
        deadline: Duration,
    ) -> Result<i64, AccessError> {
        database::number(address, role, password, query, deadline).await
    }

    async fn set_password(
        &self,
        address: Ipv4Addr,
        admin: &str,
        admin_password: &Secret<String>,
        role: &str,
        verifier: &str,
        deadline: Duration,
    ) -> Result<(), AccessError> {
        database::set_password(address, admin, admin_password, role, verifier, deadline).await
    }
}

/// reqwest's own text holds the address, which is nobody's business.
/// An answer, with so many bytes of its body.
pub(super) async fn read(
    answer: reqwest::Response,
    body_limit: usize,
    failed: impl Fn(&reqwest::Error) -> AccessError,
) -> Result<ServiceResponse, AccessError> {
    let status = answer.status().as_u16();
    let headers = answer.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let headers = headers.collect();
    let mut body = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| failed(&error))?;
        let room = body_limit.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(ServiceResponse { status, headers, body })
}

pub(super) fn failure(place: &str, deadline_ms: u128, error: &reqwest::Error) -> AccessError {
    if error.is_timeout() {
        AccessError::TimedOut(format!("{place} did not answer within {deadline_ms} ms"))
    } else if error.is_connect() {
        AccessError::Refused(format!("{place} refuses connections"))
    } else {
        AccessError::Failed(format!("{place} broke off"))
    }
}

//! The host's side of the imports of contract 0.1. Every function counts itself first, then checks the scope
//! of the call, then bounds what it does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Result};

use crate::backend::EngineHealth;
use crate::plugin_host::egress as hosts;
use crate::plugin_host::grants::{Interface, refers};
use crate::plugin_host::hooks::{self, Memory, MemoryOf, OutsideRequest, ServiceRequest};
use crate::plugin_host::state::{CallState, service_name};

/// One set of bindings for the interfaces of all worlds.
#[allow(missing_docs)]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../plugin-sdk/wit/v0.1",
        inline: "package supamanager:host; world imports {
            import supamanager:plugin/log@0.1.0;
            import supamanager:plugin/templates@0.1.0;
            import supamanager:plugin/clock@0.1.0;
            import supamanager:plugin/service-http@0.1.0;
            import supamanager:plugin/service-tcp@0.1.0;
            import supamanager:plugin/engine-health@0.1.0;
            import supamanager:plugin/db-login@0.1.0;
            import supamanager:plugin/sql@0.1.0;
            import supamanager:plugin/progress@0.1.0;
            import supamanager:plugin/options@0.1.0;
            import supamanager:plugin/sign@0.1.0;
            import supamanager:plugin/memory@0.1.0;
            import supamanager:plugin/egress@0.1.0;
        }",
        world: "supamanager:host/imports",
        imports: { default: async | trappable },
    });
}

use bindings::supamanager::plugin::types::{AccessError, Error};
use bindings::supamanager::plugin::{
    clock, db_login, egress, engine_health, log, memory, options, progress, service_http, service_tcp, sign, sql, templates,
    types,
};

/// Bytes kept of a service's answer.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Characters kept of a progress line: it goes to people.
const PROGRESS_CHARS_MAX: usize = 500;

/// A line of progress waits for nobody.
const PROGRESS_MS: u32 = 1_000;

/// A linker that knows the granted interfaces and nothing else.
///
/// # Errors
/// wasmtime's, when an interface is added twice.
pub fn link(engine: &Engine, granted: &BTreeSet<Interface>) -> Result<Linker<CallState>> {
    type Own = HasSelf<CallState>;
    let mut linker = Linker::new(engine);
    types::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    for interface in granted {
        let linker = &mut linker;
        match interface {
            Interface::Log => log::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Templates => templates::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Clock => clock::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::ServiceHttp => service_http::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::ServiceTcp => service_tcp::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::EngineHealth => engine_health::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::DbLogin => db_login::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Sql => sql::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Progress => progress::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Options => options::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Sign => sign::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Memory => memory::add_to_linker::<_, Own>(linker, |state| state)?,
            Interface::Egress => egress::add_to_linker::<_, Own>(linker, |state| state)?,
        }
    }
    Ok(linker)
}

impl From<hooks::AccessError> for AccessError {
    fn from(error: hooks::AccessError) -> Self {
        match error {
            hooks::AccessError::Refused(text) => Self::Refused(text),
            hooks::AccessError::TimedOut(text) => Self::TimedOut(text),
            hooks::AccessError::Denied(text) => Self::Denied(text),
            hooks::AccessError::Failed(text) => Self::Failed(text),
        }
    }
}

type Asked<T> = std::result::Result<T, AccessError>;

impl types::Host for CallState {}

impl log::Host for CallState {
    async fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.count_host_call(Interface::Log)?;
        let word = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        if let Some(message) = self.log_line(word, message) {
            match level {
                log::Level::Debug => tracing::debug!(guest = true, "{message}"),
                log::Level::Info => tracing::info!(guest = true, "{message}"),
                log::Level::Warn => tracing::warn!(guest = true, "{message}"),
                log::Level::Error => tracing::error!(guest = true, "{message}"),
            }
        }
        Ok(())
    }
}

impl templates::Host for CallState {
    async fn read(&mut self, name: String) -> Result<std::result::Result<String, Error>> {
        self.count_host_call(Interface::Templates)?;
        let missing = || Error::InvalidInput(format!("the template set has no template `{name}`"));
        Ok(self.templates().get(&name).cloned().ok_or_else(missing))
    }
}

impl clock::Host for CallState {
    async fn now_ms(&mut self) -> Result<u64> {
        self.count_host_call(Interface::Clock)?;
        Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }

    async fn elapsed_ms(&mut self) -> Result<u64> {
        self.count_host_call(Interface::Clock)?;
        Ok(self.elapsed().as_millis() as u64)
    }
}

impl service_http::Host for CallState {
    async fn send(&mut self, request: service_http::Request) -> Result<Asked<service_http::Response>> {
        self.count_host_call(Interface::ServiceHttp)?;
        let answer = send(self, request).await;
        Ok(self.answer(Interface::ServiceHttp, answer).map_err(AccessError::from))
    }
}

async fn send(
    state: &CallState,
    request: service_http::Request,
) -> std::result::Result<service_http::Response, hooks::AccessError> {
    let service = service_name(&request.service)?;
    state.scope().http(&service, &request.method, &request.path).map_err(hooks::AccessError::Denied)?;
    refers(state.secrets(), &request.headers).map_err(hooks::AccessError::Denied)?;
    let deadline = state.deadline(request.deadline_ms);
    let request = ServiceRequest {
        service,
        port: request.port,
        method: request.method,
        path: request.path,
        headers: request.headers,
        body: request.body,
        deadline,
        body_limit: BODY_BYTES_MAX,
    };
    let mut response = state.ask(deadline, |access| async move { access.http(request).await }).await?;
    response.body.truncate(BODY_BYTES_MAX);
    Ok(service_http::Response { status: response.status, headers: response.headers, body: response.body })
}

impl egress::Host for CallState {
    async fn send(&mut self, request: egress::Request) -> Result<Asked<egress::Response>> {
        self.count_host_call(Interface::Egress)?;
        let answer = send_outside(self, request).await;
        Ok(self.answer(Interface::Egress, answer).map_err(AccessError::from))
    }
}

async fn send_outside(state: &CallState, request: egress::Request) -> std::result::Result<egress::Response, hooks::AccessError> {
    let (way, granted) = state.way_outside()?;
    let (url, address) = hosts::allowed(&request.url, granted).map_err(hooks::AccessError::Denied)?;
    let (way, deadline) = (way.clone(), state.deadline(request.deadline_ms));
    let egress::Request { method, headers, body, .. } = request;
    let request = OutsideRequest { url, address, method, headers, body, deadline, body_limit: BODY_BYTES_MAX };
    let mut response = state.outside(deadline, async move { way.send(request).await }).await?;
    response.body.truncate(BODY_BYTES_MAX);
    Ok(egress::Response { status: response.status, headers: response.headers, body: response.body })
}

impl service_tcp::Host for CallState {
    async fn connect(&mut self, service: String, port: u16, deadline_ms: u32) -> Result<Asked<u32>> {
        self.count_host_call(Interface::ServiceTcp)?;
        let answer = async {
            let service = service_name(&service)?;
            self.scope().probed(&service).map_err(hooks::AccessError::Denied)?;
            let deadline = self.deadline(deadline_ms);
            self.ask(deadline, |access| async move { access.tcp(&service, port, deadline).await }).await
        };
        Ok(self.answer(Interface::ServiceTcp, answer.await).map(|took| took.as_millis() as u32).map_err(AccessError::from))
    }
}

impl engine_health::Host for CallState {
    async fn get(&mut self, service: String) -> Result<Asked<engine_health::Verdict>> {
        self.count_host_call(Interface::EngineHealth)?;
        let answer = async {
            let service = service_name(&service)?;
            self.scope().probed(&service).map_err(hooks::AccessError::Denied)?;
            self.ask(self.deadline(u32::MAX), |access| async move { access.engine_health(&service).await }).await
        };
        let verdict = |health| match health {
            EngineHealth::None => engine_health::Verdict::None,
            EngineHealth::Starting => engine_health::Verdict::Starting,
            EngineHealth::Healthy => engine_health::Verdict::Healthy,
            EngineHealth::Unhealthy => engine_health::Verdict::Unhealthy,
        };
        Ok(self.answer(Interface::EngineHealth, answer.await).map(verdict).map_err(AccessError::from))
    }
}

impl db_login::Host for CallState {
    async fn login(&mut self, service: String, port: u16, role: String, deadline_ms: u32) -> Result<Asked<u32>> {
        self.count_host_call(Interface::DbLogin)?;
        let answer = async {
            let service = service_name(&service)?;
            self.scope().probed(&service).map_err(hooks::AccessError::Denied)?;
            let deadline = self.deadline(deadline_ms);
            self.ask(deadline, |access| async move { access.db_login(&service, port, &role, deadline).await }).await
        };
        Ok(self.answer(Interface::DbLogin, answer.await).map(|took| took.as_millis() as u32).map_err(AccessError::from))
    }
}

impl sql::Host for CallState {
    async fn execute(&mut self, service: String, role: String, statement: String, deadline_ms: u32) -> Result<Asked<u64>> {
        self.count_host_call(Interface::Sql)?;
        let answer = async {
            let service = service_name(&service)?;
            self.scope().sql(&service).map_err(hooks::AccessError::Denied)?;
            let deadline = self.deadline(deadline_ms);
            let run =
                |access: Arc<dyn hooks::ServiceAccess>| async move { access.sql(&service, &role, &statement, deadline).await };
            self.ask(deadline, run).await
        };
        Ok(self.answer(Interface::Sql, answer.await).map_err(AccessError::from))
    }
}

impl progress::Host for CallState {
    async fn report(&mut self, text: String) -> Result<()> {
        self.count_host_call(Interface::Progress)?;
        let text: String = text.chars().take(PROGRESS_CHARS_MAX).collect();
        let say = |access: Arc<dyn hooks::ServiceAccess>| async move {
            access.progress(&text).await;
            Ok(())
        };
        // Nobody listening is no reason to stop.
        let _: std::result::Result<(), _> = self.ask(self.deadline(PROGRESS_MS), say).await;
        Ok(())
    }
}

impl options::Host for CallState {
    async fn get(&mut self) -> Result<String> {
        self.count_host_call(Interface::Options)?;
        Ok(self.options().to_owned())
    }
}

impl sign::Host for CallState {
    async fn hmac_sha256(&mut self, secret: String, bytes: Vec<u8>) -> Result<Asked<Vec<u8>>> {
        self.count_host_call(Interface::Sign)?;
        let answer = async {
            self.scope().sign(&secret).map_err(hooks::AccessError::Denied)?;
            self.ask(self.deadline(u32::MAX), |access| async move { access.hmac_sha256(&secret, &bytes).await }).await
        };
        Ok(self.answer(Interface::Sign, answer.await).map_err(AccessError::from))
    }
}

impl memory::Host for CallState {
    async fn get(&mut self, key: String) -> Result<Asked<Option<Vec<u8>>>> {
        self.remember(|memory, of| async move { memory.get(&of, &key).await }).await
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<Asked<()>> {
        self.remember(|memory, of| async move { memory.set(&of, &key, value).await }).await
    }

    async fn delete(&mut self, key: String) -> Result<Asked<()>> {
        self.remember(|memory, of| async move { memory.delete(&of, &key).await }).await
    }

    async fn keys(&mut self) -> Result<Asked<Vec<String>>> {
        self.remember(|memory, of| async move { memory.keys(&of).await }).await
    }
}

impl CallState {
    /// Asks what the plugin remembers of the project.
    async fn remember<T, F>(&mut self, ask: impl FnOnce(Arc<dyn Memory>, MemoryOf) -> F + Send) -> Result<Asked<T>>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, hooks::AccessError>> + Send + 'static,
    {
        self.count_host_call(Interface::Memory)?;
        let answer = match self.memory_of() {
            Some((memory, of)) => self.outside(self.deadline(u32::MAX), ask(memory, of)).await,
            None => Err(hooks::AccessError::Denied("this call is about no project, or nothing is remembered here".to_owned())),
        };
        Ok(self.answer(Interface::Memory, answer).map_err(AccessError::from))
    }
}

//! What the lifecycle and the health monitor know of plugins: inputs, outputs, errors and the way out
//! to a project's services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::{EngineHealth, ErrorClass};
use crate::domain::{OperationId, PluginChoices, ProjectRef, ServiceName, ServiceState};

/// Plugin name and digest (`sha256:` and 64 hex digits): which code an operation uses (I12).
pub type Pins = Vec<(String, String)>;

/// Why a hook failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HookError {
    /// No plugin is loaded for a hook that needs one.
    #[error("no plugin is loaded for the hook `{hook}`: put one into the plugin folder")]
    NoPlugin {
        /// As in manifests.
        hook: &'static str,
    },
    /// The operation began with a digest that is no longer there.
    #[error("the operation began with plugin `{plugin}` {digest}, which is no longer loaded: put it back or retry")]
    PinMissing {
        /// The plugin.
        plugin: String,
        /// The digest.
        digest: String,
    },
    /// The plugin says its input is wrong.
    #[error("plugin `{plugin}` refused its input: {message}")]
    InvalidInput {
        /// The plugin.
        plugin: String,
        /// Its words.
        message: String,
    },
    /// An admit plugin does not want it.
    #[error("plugin `{plugin}` refused: {message}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// Its words.
        message: String,
    },
    /// The plugin was denied something, or denies.
    #[error("plugin `{plugin}` was denied: {message}")]
    Denied {
        /// The plugin.
        plugin: String,
        /// Its words.
        message: String,
    },
    /// The plugin asks to be called again.
    #[error("plugin `{plugin}` asks to be called again in {after_ms} ms")]
    RetryAfter {
        /// The plugin.
        plugin: String,
        /// When.
        after_ms: u64,
    },
    /// The plugin failed in its own words.
    #[error("plugin `{plugin}` failed: {message}")]
    Failed {
        /// The plugin.
        plugin: String,
        /// Its words.
        message: String,
    },
    /// Every slot for a call was taken for as long as a call may last. It says nothing about the plugin.
    #[error(
        "no slot for plugin `{plugin}` within {waited_ms} ms: {calls} calls run already; look for a service that answers too slowly"
    )]
    Busy {
        /// The plugin.
        plugin: String,
        /// How long it waited.
        waited_ms: u64,
        /// Calls at one time.
        calls: u32,
    },
    /// A limit was reached.
    #[error("plugin `{plugin}` reached its limit on {limit}: used {used}, allowed {allowed} ({setting})")]
    Limit {
        /// The plugin.
        plugin: String,
        /// wall clock, CPU, memory, result bytes, host calls, ...
        limit: &'static str,
        /// With its unit.
        used: String,
        /// With its unit.
        allowed: String,
        /// Which setting lowers or explains it.
        setting: String,
    },
    /// It trapped.
    #[error("plugin `{plugin}` trapped: {message}")]
    Trap {
        /// The plugin.
        plugin: String,
        /// wasmtime's word for it.
        message: String,
    },
}

impl HookError {
    /// What the caller can do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::RetryAfter { .. } | Self::Busy { .. } => ErrorClass::Retry,
            Self::Limit { .. } => ErrorClass::Capacity,
            _ => ErrorClass::Permanent,
        }
    }

    /// The limit that was reached, if it is one.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { limit, .. } => Some(limit),
            _ => None,
        }
    }

    /// Whether an admit plugin does not want it: the fault is the request's.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// A stable word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPlugin { hook: "render" } => "no_render_plugin",
            Self::NoPlugin { .. } => "no_plugin",
            Self::PinMissing { .. } => "plugin_pin_missing",
            Self::InvalidInput { .. } => "plugin_invalid_input",
            Self::Refused { .. } => "plugin_refused",
            Self::Denied { .. } => "plugin_denied",
            Self::RetryAfter { .. } => "plugin_retry_after",
            Self::Failed { .. } => "plugin_failed",
            Self::Busy { .. } => "plugin_busy",
            Self::Limit { .. } => "plugin_limit",
            Self::Trap { .. } => "plugin_trap",
        }
    }
}

/// What a render hook gets. Secrets are references such as `${JWT_SECRET}`.
#[derive(Debug, Clone)]
pub struct RenderInput {
    /// For logs and spans.
    pub project: ProjectRef,
    /// For logs and spans.
    pub operation: OperationId,
    /// The context every template sees, a JSON object.
    pub context: serde_json::Value,
    /// The files to make: (template, path, mode).
    pub files: Vec<(String, String, u32)>,
    /// Template name -> text: what the `templates` import answers with.
    pub templates: BTreeMap<String, String>,
    /// What the project's people chose.
    pub choices: PluginChoices,
}

/// One file that a render hook made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedFile {
    /// Relative, without `..`, checked by the host.
    pub path: String,
    /// At most 0777, checked by the host.
    pub mode: u32,
    /// Its text.
    pub content: String,
}

/// What a probe hook gets.
#[derive(Debug, Clone)]
pub struct ProbeInput {
    /// Whose.
    pub project: ProjectRef,
    /// Which service.
    pub service: ServiceName,
    /// The `probe` table of set.toml, as JSON text.
    pub spec: String,
    /// What the project's people chose.
    pub choices: PluginChoices,
}

/// What a probe hook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// healthy, starting or unhealthy.
    pub state: ServiceState,
    /// Why; may be empty when healthy.
    pub reason: String,
    /// What was asked, for people: `http://auth:9999/health`.
    pub endpoint: String,
}

/// What a hook gets that works on a project: post-create, before-delete, after-resume.
#[derive(Debug, Clone)]
pub struct WorkInput {
    /// Whose.
    pub project: ProjectRef,
    /// For logs and spans.
    pub operation: OperationId,
    /// The same context as the renderer's, plus `sql` from set.toml.
    pub context: serde_json::Value,
    /// What the project's people chose.
    pub choices: PluginChoices,
}

/// What a plugin did to a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkOutcome {
    /// Whether it changed anything.
    pub changed: bool,
    /// One sentence.
    pub summary: String,
}

/// An HTTP request to a service of one project.
#[derive(Debug, Clone)]
pub struct ServiceRequest {
    /// Which service.
    pub service: ServiceName,
    /// Container port.
    pub port: u16,
    /// GET or HEAD for probes.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header values may hold granted references such as `Bearer ${ANON_KEY}`; the implementation fills them in.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Limit of this call.
    pub deadline: Duration,
    /// Bytes kept of the answer.
    pub body_limit: usize,
}

/// Its answer, scrubbed of the secrets that went into the headers.
#[derive(Debug, Clone)]
pub struct ServiceResponse {
    /// Status code.
    pub status: u16,
    /// Headers, lower-case names.
    pub headers: Vec<(String, String)>,
    /// Body, cut at the limit.
    pub body: Vec<u8>,
}

/// An HTTP request to a host outside, which was found to be granted.
#[derive(Debug, Clone)]
pub struct OutsideRequest {
    /// https, or http where the operator or the manifest names a port.
    pub url: reqwest::Url,
    /// Where the host is, when the operator says so; otherwise its name leads there, and to no private network.
    pub address: Option<IpAddr>,
    /// In capitals.
    pub method: String,
    /// As the plugin wrote them.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Limit of this call.
    pub deadline: Duration,
    /// Bytes kept of the answer.
    pub body_limit: usize,
}

/// The way from a host import to the outside. `app` gives the one of `reach`.
#[async_trait]
pub trait Egress: Send + Sync {
    /// One HTTP exchange; redirects are not followed.
    async fn send(&self, request: OutsideRequest) -> Result<ServiceResponse, AccessError>;
}

/// Why a service could not be asked. The text is for people and holds no secret and no address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccessError {
    /// Nothing listens (yet), or its container does not run.
    #[error("{0}")]
    Refused(String),
    /// No answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// Not allowed: an unknown service, reference, role or method.
    #[error("{0}")]
    Denied(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// The way from a host import to the services of *one* project. `app` makes one per call from `reach`.
#[async_trait]
pub trait ServiceAccess: Send + Sync {
    /// One HTTP exchange; redirects are not followed.
    async fn http(&self, request: ServiceRequest) -> Result<ServiceResponse, AccessError>;

    /// Opens and closes a TCP connection; the time it took.
    async fn tcp(&self, service: &ServiceName, port: u16, deadline: Duration) -> Result<Duration, AccessError>;

    /// What the engine says of the service's container.
    async fn engine_health(&self, service: &ServiceName) -> Result<EngineHealth, AccessError>;

    /// Logs in as a role whose password the host holds, runs `select 1`; the time it took.
    async fn db_login(&self, service: &ServiceName, port: u16, role: &str, deadline: Duration) -> Result<Duration, AccessError>;

    /// Runs one statement as a role that is not a superuser, with a statement time-out. Rows affected.
    async fn sql(&self, service: &ServiceName, role: &str, statement: &str, deadline: Duration) -> Result<u64, AccessError>;

    /// Says how far a hook has come.
    async fn progress(&self, text: &str);

    /// HMAC-SHA256 of the bytes under one of the project's secrets.
    async fn hmac_sha256(&self, secret: &str, bytes: &[u8]) -> Result<Vec<u8>, AccessError>;
}

/// Whose memory, and of what.
#[derive(Debug, Clone)]
pub struct MemoryOf {
    /// The plugin.
    pub plugin: String,
    /// The project.
    pub project: ProjectRef,
}

/// Where plugins remember. `app` gives the one over its store. Too much of it is [`AccessError::Denied`].
#[async_trait]
pub trait Memory: Send + Sync {
    /// What a key holds.
    async fn get(&self, of: &MemoryOf, key: &str) -> Result<Option<Vec<u8>>, AccessError>;

    /// Puts a value in place of the one before.
    async fn set(&self, of: &MemoryOf, key: &str, value: Vec<u8>) -> Result<(), AccessError>;

    /// Forgets a key.
    async fn delete(&self, of: &MemoryOf, key: &str) -> Result<(), AccessError>;

    /// All keys, in their order.
    async fn keys(&self, of: &MemoryOf) -> Result<Vec<String>, AccessError>;
}

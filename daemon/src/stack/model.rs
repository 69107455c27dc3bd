//! The typed stack: the part of the Compose specification that a stack may use, and nothing else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::domain::ServiceName;

/// A whole stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// The Compose project name: the ref.
    pub name: String,
    /// The services by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// The one network.
    pub network: Network,
    /// The named volumes by their key in the file.
    pub volumes: BTreeMap<String, Volume>,
}

/// One container. Text outside `environment` is final; environment values may hold `${NAME}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Image reference as written.
    pub image: String,
    /// The container's name.
    pub container_name: String,
    /// The host name inside, when set.
    pub hostname: Option<String>,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Variables; values may hold references `${NAME}` to secrets, `$$` stands for a dollar sign.
    pub environment: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<PublishedPort>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Names on the project's network.
    pub aliases: Vec<String>,
    /// A fixed address on the project's network.
    pub ipv4_address: Option<Ipv4Addr>,
    /// Compose's `depends_on`, kept for the file's own sake: (service, condition).
    pub depends_on: Vec<(ServiceName, String)>,
    /// The engine's own check.
    pub healthcheck: Option<HealthCheck>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Log driver and options.
    pub logging: Logging,
    /// Limits such as `nofile`.
    pub ulimits: Vec<Ulimit>,
    /// The user the process runs as.
    pub user: Option<String>,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
    /// Seconds it gets to stop.
    pub stop_grace_s: Option<u32>,
    /// Most processes at once.
    pub pids_limit: Option<i64>,
    /// Whether the engine puts an init process in front.
    pub init: bool,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The address it is bound to.
    pub host_address: IpAddr,
    /// The port on the host.
    pub host_port: u16,
    /// The port inside.
    pub container_port: u16,
}

/// Read-only or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindMode {
    /// `ro`.
    ReadOnly,
    /// The default.
    ReadWrite,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A path relative to the project's folder, for example `volumes/db`.
    Folder(String),
    /// The key of a named volume.
    Volume(String),
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where from.
    pub source: MountSource,
    /// The path inside.
    pub target: String,
    /// Read-only or not.
    pub mode: BindMode,
}

/// The engine's own health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// `CMD ...` or `CMD-SHELL ...` as Compose writes it.
    pub test: Vec<String>,
    /// Between checks.
    pub interval_ms: u64,
    /// One check.
    pub timeout_ms: u64,
    /// Failures in a row that make unhealthy.
    pub retries: u32,
    /// Failures in this time do not count.
    pub start_period_ms: u64,
}

/// Log driver and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The driver, for example `fluentd`.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// The project's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name on the engine.
    pub name: String,
    /// Its subnet, for example `10.201.0.0/27`.
    pub subnet: String,
    /// Its gateway.
    pub gateway: Option<String>,
    /// Where dynamic addresses come from.
    pub ip_range: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A named volume that the local driver binds to a folder of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name on the engine.
    pub name: String,
    /// The folder. As written in the file, absolute; behind the fence relative to the project's folder.
    pub folder: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

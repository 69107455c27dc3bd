//! What was seen on an engine.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::Labels;
use crate::domain::UnixMillis;

/// What the engine is.
#[derive(Debug, Clone, Serialize)]
pub struct EngineInfo {
    /// For example `20.10.24`.
    pub version: String,
    /// The negotiated API version, for example `1.41`.
    pub api_version: String,
    /// The newest API version it speaks.
    pub api_version_max: String,
    /// Cores.
    pub cpus: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Where it keeps its data.
    pub root_dir: String,
}

/// Everything of ours, from one sweep.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Containers, helpers included.
    pub containers: Vec<ObservedContainer>,
    /// Networks.
    pub networks: Vec<ObservedNetwork>,
    /// Volumes.
    pub volumes: Vec<ObservedVolume>,
}

impl Observed {
    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.networks.is_empty() && self.volumes.is_empty()
    }
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Restarting after an exit.
    Restarting,
    /// Ended with this code; 137 without a stop of ours may be the out-of-memory killer.
    Exited {
        /// Exit code.
        code: i64,
        /// The engine's own flag.
        oom_killed: bool,
    },
    /// Anything else: paused by hand, dead, being removed.
    Other(String),
}

/// The last end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When, on the engine's clock.
    pub at: UnixMillis,
    /// Its exit code; `None` once it runs again: the engine has forgotten it by then.
    pub code: Option<i64>,
    /// The engine's own flag, which is not always set.
    pub oom_killed: bool,
}

/// The verdict of the engine's own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineHealth {
    /// It has no check.
    None,
    /// No verdict yet.
    Starting,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}

/// A container of ours.
#[derive(Debug, Clone)]
pub struct ObservedContainer {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels; `None` when they are not complete (then only its installation label is ours).
    pub labels: Option<Labels>,
    /// What it is doing.
    pub state: ContainerState,
    /// How often it was restarted. Filled by `inspect` only, else 0.
    pub restart_count: i64,
    /// Running for less than a minute, or about to be started again. Filled by listings only, from the engine's words.
    pub fresh: bool,
    /// When it last ended, and how; kept by the engine after it runs again. Filled by `inspect` only, else `None`.
    pub ended: Option<Ended>,
    /// The engine's verdict. Filled by `inspect` only, else [`EngineHealth::None`].
    pub health: EngineHealth,
    /// Its address on the project's network, while it runs.
    pub address: Option<Ipv4Addr>,
    /// Host ports it really publishes.
    pub published: Vec<u16>,
}

impl ObservedContainer {
    /// Whether it runs without its network: an engine that was killed in the midst of its start takes the process back
    /// and nothing of its network (20.10, tried), and starting it is no use, for it runs.
    pub fn is_cut_off(&self) -> bool {
        self.state == ContainerState::Running && self.address.is_none()
    }
}

/// A network of ours.
#[derive(Debug, Clone)]
pub struct ObservedNetwork {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Option<Labels>,
    /// Its subnet.
    pub subnet: Option<String>,
}

/// A volume of ours.
#[derive(Debug, Clone)]
pub struct ObservedVolume {
    /// Its name, which is its id.
    pub name: String,
    /// Its labels.
    pub labels: Option<Labels>,
}

/// One line a container wrote.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// RFC 3339, from the engine.
    pub timestamp: String,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The text without its newline; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// One sample. The counters begin at nothing when the container starts; one that is stopped has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Nanoseconds of one core that were used so far.
    pub cpu_ns: u64,
    /// Bytes of memory now, page cache left out.
    pub memory_bytes: u64,
    /// Bytes received over its networks so far.
    pub rx_bytes: u64,
    /// Bytes sent so far.
    pub tx_bytes: u64,
}

//! What is asked of an engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{Environment, Labels};
use crate::domain::{Limits, Secret};
use crate::stack;

/// One container to be.
pub struct ContainerSpec<'a> {
    /// The fenced service.
    pub service: &'a stack::Service,
    /// Its variables with the secrets filled in.
    pub environment: Environment,
    /// The project's folder, absolute, for relative mounts.
    pub folder: &'a Path,
    /// The name of the project's network.
    pub network: &'a str,
    /// Volume key -> name on the engine.
    pub volumes: BTreeMap<String, String>,
    /// Its own limits.
    pub limits: Limits,
    /// The group it is made in.
    pub parent: Option<String>,
    /// The image's digest (id) to create from.
    pub image_digest: String,
    /// Our labels.
    pub labels: Labels,
}

/// One network to be.
pub struct NetworkSpec<'a> {
    /// The fenced network.
    pub network: &'a stack::Network,
    /// Our labels.
    pub labels: Labels,
}

/// One volume to be.
pub struct VolumeSpec<'a> {
    /// Its key in the compose file.
    pub key: &'a str,
    /// The fenced volume.
    pub volume: &'a stack::Volume,
    /// The project's folder, absolute.
    pub folder: &'a Path,
    /// Our labels.
    pub labels: Labels,
}

/// A command to run inside a container.
pub struct ExecRequest {
    /// Program and arguments, never a shell string.
    pub argv: Vec<String>,
    /// What it reads.
    pub stdin: Option<Secret<Vec<u8>>>,
    /// When it is given up.
    pub deadline: Duration,
    /// Bytes kept of each stream.
    pub output_limit: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct ExecOutput {
    /// Exit code.
    pub exit_code: i64,
    /// Standard output, cut at the limit.
    pub stdout: Vec<u8>,
    /// Standard error, cut at the limit.
    pub stderr: Vec<u8>,
}

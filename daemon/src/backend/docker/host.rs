//! The engine as a machine: what `doctor` asks, and no operation needs. Everything here only looks.

use std::collections::HashMap;

use super::DockerBackend;
use crate::backend::{Observed, Result};

/// What a person should know about an engine.
#[derive(Debug, Clone, Default)]
pub struct EngineHost {
    /// The oldest API version it still speaks.
    pub api_version_min: String,
    /// Where it runs, for example `Debian GNU/Linux 12 (bookworm)`.
    pub operating_system: String,
    /// Containers that run now, anybody's.
    pub running: i64,
    /// Root inside its containers is an ordinary account outside: rootless, or with user namespaces.
    pub mapped_users: bool,
}

impl DockerBackend {
    /// Whether the engine is on this machine, so that this machine's memory, ports and files are its own.
    pub fn is_local(&self) -> bool {
        self.address().starts_with("unix://")
    }

    /// What a person should know about the engine.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn host(&self) -> Result<EngineHost> {
        let ask = |docker: bollard::Docker| async move { futures_util::try_join!(docker.version(), docker.info()) };
        let (version, info) = self.read("version and info", ask).await?;
        let security = info.security_options.unwrap_or_default();
        Ok(EngineHost {
            api_version_min: version.min_api_version.unwrap_or_default(),
            operating_system: info.operating_system.unwrap_or_default(),
            running: info.containers_running.unwrap_or_default(),
            mapped_users: security.iter().any(|option| option.contains("name=rootless") || option.contains("name=userns")),
        })
    }

    /// Every container, network and volume of the engine, whoever they belong to.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn everything(&self) -> Result<Observed> {
        self.sweep_with(&HashMap::new()).await
    }
}

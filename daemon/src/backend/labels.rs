//! The labels on every object: the ground truth that survives a lost store (decision 17).

use std::collections::BTreeMap;

use crate::domain::{InstallationId, OperationId, ProjectRef, ServiceName};

pub use crate::stack::label_keys as keys;

/// What one object says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Which installation.
    pub installation: InstallationId,
    /// Which project.
    pub project: ProjectRef,
    /// Which service; `None` for networks, volumes and helpers.
    pub service: Option<ServiceName>,
    /// Which generation.
    pub generation: i64,
    /// Which operation.
    pub operation: OperationId,
    /// Hash of the specification; empty for networks, volumes and helpers.
    pub spec_hash: String,
}

impl Labels {
    /// As the engine stores them. Compose's own labels, which make `docker compose -p <ref> ps` work, are
    /// added by the backend (decision 16).
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            (keys::INSTALLATION.to_owned(), self.installation.to_string()),
            (keys::PROJECT.to_owned(), self.project.to_string()),
            (keys::GENERATION.to_owned(), self.generation.to_string()),
            (keys::OPERATION.to_owned(), self.operation.to_string()),
        ]);
        if let Some(service) = &self.service {
            map.insert(keys::SERVICE.to_owned(), service.to_string());
        }
        if !self.spec_hash.is_empty() {
            map.insert(keys::SPEC_HASH.to_owned(), self.spec_hash.clone());
        }
        map
    }

    /// The inverse. `None` when a needed label is missing or malformed.
    pub fn from_map<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            installation: InstallationId::parse(get(keys::INSTALLATION)?).ok()?,
            project: ProjectRef::parse(get(keys::PROJECT)?).ok()?,
            service: get(keys::SERVICE).and_then(|name| ServiceName::parse(name).ok()),
            generation: get(keys::GENERATION)?.parse().ok()?,
            operation: OperationId::parse(get(keys::OPERATION)?).ok()?,
            spec_hash: get(keys::SPEC_HASH).unwrap_or_default().to_owned(),
        })
    }
}

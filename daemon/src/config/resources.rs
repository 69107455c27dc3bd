//! The section `resources`: what projects get that name nothing, how much may be promised, and what happens at the end.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::domain::{self, Bytes, NONE, QuantityError};

/// What projects may use: amounts as in a create, or `none`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// CPU of a project whose create names none.
    pub default_cpu: String,
    /// Memory of a project whose create names none.
    pub default_memory: String,
    /// Storage of a project whose create names none.
    pub default_storage: String,
    /// How much CPU all projects may be promised together, in per cent of the host's cores. Idle stacks use little.
    pub cpu_overcommit_percent: u32,
    /// The same for memory. What is promised beyond 100 is not there when all ask for it at once.
    pub memory_overcommit_percent: u32,
    /// What happens to a project whose storage is full: `read_only`, or `warn` for events only.
    pub storage_full: String,
    /// Whether a project's containers are held together by a control group of the host: `auto` where the daemon may
    /// make one, or `off`, then every service gets its part.
    pub parent_cgroup: String,
    /// Days that rows of a purged table are kept.
    pub purge_age_days: u32,
    /// What a purged table may hold.
    pub purge_size: String,
}

/// No limit unless somebody asks for one, as with every container engine: a stack that was sized by others than its
/// operator fails where nobody looks for the reason.
impl Default for Resources {
    fn default() -> Self {
        Self {
            default_cpu: NONE.to_owned(),
            default_memory: NONE.to_owned(),
            default_storage: NONE.to_owned(),
            cpu_overcommit_percent: 400,
            memory_overcommit_percent: 100,
            storage_full: "read_only".to_owned(),
            parent_cgroup: "auto".to_owned(),
            purge_age_days: 7,
            purge_size: "1GB".to_owned(),
        }
    }
}

impl Resources {
    /// What a project gets whose create names nothing.
    ///
    /// # Errors
    /// [`QuantityError`]; never after the configuration was validated.
    pub fn of_a_project(&self) -> Result<domain::Resources, QuantityError> {
        domain::Resources::default().overlaid(Some(&self.default_cpu), Some(&self.default_memory), Some(&self.default_storage))
    }
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.of_a_project().map_err(|wrong| wrong_value(&wrong.field.replace("resources.", "resources.default_"), &wrong))?;
        amount("resources.purge_size", &self.purge_size)?;
        let words = [
            ("resources.storage_full", &self.storage_full, ["read_only", "warn"]),
            ("resources.parent_cgroup", &self.parent_cgroup, ["auto", "off"]),
        ];
        for (key, value, known) in words {
            if !known.contains(&value.as_str()) {
                let expected = format!("expected {} or {}", known[0], known[1]);
                return Err(ConfigError::Value { key: key.to_owned(), value: value.clone(), expected });
            }
        }
        let positive = [
            ("resources.cpu_overcommit_percent", self.cpu_overcommit_percent),
            ("resources.memory_overcommit_percent", self.memory_overcommit_percent),
            ("resources.purge_age_days", self.purge_age_days),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => {
                let expected = "must be at least 1".to_owned();
                Err(ConfigError::Value { key: key.to_owned(), value: "0".to_owned(), expected })
            }
            None => Ok(()),
        }
    }
}

/// An amount of bytes.
pub(super) fn amount(key: &'static str, text: &str) -> Result<Bytes, ConfigError> {
    Bytes::parse(key, text).map_err(|wrong| wrong_value(key, &wrong))
}

fn wrong_value(key: &str, wrong: &QuantityError) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), value: wrong.given.clone(), expected: wrong.expected.to_owned() }
}

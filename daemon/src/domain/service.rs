//! The roles inside a stack and how they are doing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of one container role of a stack, for example `db`. Template sets choose them; the daemon
/// knows none by heart. Form: `^[a-z][a-z0-9-]{0,30}$`, what a DNS label and a container name allow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// Checks the form.
    ///
    /// # Errors
    /// A sentence that names the text and the form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        let head = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        if head && text.len() <= 31 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a service name: use a-z, 0-9 and -, a letter first, at most 31 characters"))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known about one service's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// The last probes succeeded.
    Healthy,
    /// It is on its way: no success yet, no reason to give up.
    Starting,
    /// The last probes failed.
    Unhealthy,
    /// Nobody could look: no sight, or the probe itself is broken. Never the same as down.
    Unknown,
}

impl ServiceState {
    /// The word in the store and in REST answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// The inverse of [`ServiceState::as_str`]; an unknown word reads as [`ServiceState::Unknown`].
    pub fn from_word(word: &str) -> Self {
        match word {
            "healthy" => Self::Healthy,
            "starting" => Self::Starting,
            "unhealthy" => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }
}

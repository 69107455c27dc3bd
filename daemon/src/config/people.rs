//! How long people are believed, and how often they may try a password.

use serde::{Deserialize, Serialize};

/// Sessions, invitations, and tries of passwords.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct People {
    /// Seconds an access token of a session is good for.
    pub access_s: u64,
    /// Seconds after which a session ends, however often it is refreshed.
    pub session_s: u64,
    /// Seconds an invitation can be taken.
    pub invitation_s: u64,
    /// Tries of a password in a minute, for one user; four times as many from one address of the network.
    pub tries_per_minute: u32,
}

impl Default for People {
    fn default() -> Self {
        Self { access_s: 3600, session_s: 30 * 24 * 3600, invitation_s: 7 * 24 * 3600, tries_per_minute: 10 }
    }
}

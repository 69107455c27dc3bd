//! Secrets: generated from the operating system's generator, sealed before they reach the store, opened
//! only for the moment they are used.
//!
//! ENCRYPTION_SECRET goes through Argon2id (salt: the installation id) into a master key; HKDF splits it into
//! one key that seals (XChaCha20-Poly1305, bound to project and name) and one that hashes (HMAC-SHA256).

mod generate;
mod master;
mod passphrase;
mod redact;

use std::collections::BTreeMap;

use crate::domain::{ProjectRef, Secret};

pub use generate::{GenerateError, complete, generate, new_hex, new_ref, new_uuid};
pub use master::{MasterKey, SealError};
pub use passphrase::{is_sealed_key, open_key, seal_key};

/// A project's secrets in clear, by name. No Debug, Display or Serialize, like everything in it.
#[derive(Clone, Default)]
pub struct ProjectSecrets(BTreeMap<String, Secret<String>>);

impl ProjectSecrets {
    /// Opens what the store keeps.
    ///
    /// # Errors
    /// [`SealError`] when one was sealed under another key, for another project or name, or was changed.
    pub fn open(key: &MasterKey, project: &ProjectRef, sealed: &[(String, String, Vec<u8>)]) -> Result<Self, SealError> {
        let opened = sealed.iter().map(|(name, key_id, bytes)| Ok((name.clone(), key.open(project, name, key_id, bytes)?)));
        Ok(Self(opened.collect::<Result<_, SealError>>()?))
    }

    /// From values just generated.
    pub fn from_values(values: BTreeMap<String, Secret<String>>) -> Self {
        Self(values)
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Secret<String>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret<String>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

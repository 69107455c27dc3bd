//! The master key: sealing, opening and keyed hashes.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::generate::random_bytes;
use crate::domain::{InstallationId, ProjectRef, Secret};

/// Shortest ENCRYPTION_SECRET taken (decision 21).
const SECRET_CHARS_MIN: usize = 32;
/// XChaCha20's nonce: long enough to be drawn at random for every value.
const NONCE_BYTES: usize = 24;
/// What the sealed hashing key belongs to; no project's ref is spelled like this.
const HASH_KEY: &str = "installation\0hash key";

/// Why a value cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// ENCRYPTION_SECRET is too short.
    #[error("ENCRYPTION_SECRET has {0} characters: give at least {SECRET_CHARS_MIN}")]
    TooShort(usize),
    /// Sealed under another key.
    #[error(
        "secret `{name}` was sealed under key {sealed_under}, this daemon has key {key}: give it the ENCRYPTION_SECRET it began with"
    )]
    OtherKey {
        /// The secret's name.
        name: String,
        /// Id of the key it was sealed under.
        sealed_under: String,
        /// Id of the key that is there.
        key: String,
    },
    /// Changed, or moved to another project or name.
    #[error("secret `{0}` cannot be opened: its bytes were changed or belong elsewhere")]
    Damaged(String),
    /// The passphrase of a key in a file is too short, or another one.
    #[error("the key's passphrase: {0}")]
    Passphrase(String),
    /// The operating system gave no random bytes, or derivation failed.
    #[error("no key could be made: {0}")]
    System(String),
}

/// The key of one installation. No Debug, Display or Serialize.
#[derive(Clone)]
pub struct MasterKey {
    seal: Zeroizing<[u8; 32]>,
    hash: Zeroizing<[u8; 32]>,
    id: String,
}

impl MasterKey {
    /// Derives it; takes some 50 ms on purpose.
    ///
    /// # Errors
    /// [`SealError::TooShort`] or [`SealError::System`].
    pub fn derive(secret: &Secret<String>, installation: &InstallationId) -> Result<Self, SealError> {
        let length = secret.expose().chars().count();
        if length < SECRET_CHARS_MIN {
            return Err(SealError::TooShort(length));
        }
        // 19 MiB, 2 passes, 1 lane: the first choice of the OWASP password storage sheet.
        let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(system)?;
        let mut master = Zeroizing::new([0_u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(secret.expose().as_bytes(), installation.as_str().as_bytes(), master.as_mut())
            .map_err(system)?;
        let hkdf = Hkdf::<Sha256>::new(None, master.as_ref());
        let mut seal = Zeroizing::new([0_u8; 32]);
        let mut hash = Zeroizing::new([0_u8; 32]);
        hkdf.expand(b"supamanager seal v1", seal.as_mut()).map_err(system)?;
        hkdf.expand(b"supamanager hash v1", hash.as_mut()).map_err(system)?;
        let mut key = Self { seal, hash, id: String::new() };
        key.id = key.hash(&["key id"])[..16].to_owned();
        Ok(key)
    }

    /// Says which key it is without saying the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a value for one project and name: nonce, then ciphertext.
    ///
    /// # Errors
    /// [`SealError::System`].
    pub fn seal(&self, project: &ProjectRef, name: &str, value: &Secret<String>) -> Result<Vec<u8>, SealError> {
        self.seal_bytes(&format!("{project}\0{name}"), value.expose().as_bytes())
    }

    /// The inverse of [`MasterKey::seal`].
    ///
    /// # Errors
    /// [`SealError::OtherKey`] or [`SealError::Damaged`].
    pub fn open(&self, project: &ProjectRef, name: &str, key_id: &str, bytes: &[u8]) -> Result<Secret<String>, SealError> {
        if key_id != self.id {
            return Err(SealError::OtherKey { name: name.to_owned(), sealed_under: key_id.to_owned(), key: self.id.clone() });
        }
        let damaged = || SealError::Damaged(name.to_owned());
        let opened = self.open_bytes(&format!("{project}\0{name}"), bytes).ok_or_else(damaged)?;
        String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| damaged())
    }

    /// The hashing key of `before`, sealed under this key. Hashes outlive a rotation: one that changed would make every
    /// container look changed and every repeated request new.
    ///
    /// # Errors
    /// [`SealError::System`].
    pub fn seal_hash_key_of(&self, before: &Self) -> Result<Vec<u8>, SealError> {
        self.seal_bytes(HASH_KEY, before.hash.as_ref())
    }

    /// This key with the hashing key that [`MasterKey::seal_hash_key_of`] sealed.
    ///
    /// # Errors
    /// [`SealError::Damaged`].
    pub fn with_hash_key(mut self, sealed: &[u8]) -> Result<Self, SealError> {
        let opened = self.open_bytes(HASH_KEY, sealed);
        let hash = opened.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        self.hash = Zeroizing::new(hash.ok_or_else(|| SealError::Damaged("the hashing key".to_owned()))?);
        Ok(self)
    }

    fn seal_bytes(&self, belongs: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_BYTES] = random_bytes(NONCE_BYTES).map_err(system)?.as_slice().try_into().map_err(system)?;
        let payload = Payload { msg: value, aad: belongs.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(system)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open_bytes(&self, belongs: &str, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: belongs.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    /// HMAC-SHA256 over the parts, each preceded by its length, as 64 hexadecimal digits. Hashes over secrets
    /// are keyed, so that nobody can test guesses against them (decision 21).
    pub fn hash(&self, parts: &[&str]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.hash.as_ref()).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        super::generate::hex(&mac.finalize().into_bytes())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.seal).into())
    }
}

fn system(error: impl std::fmt::Display) -> SealError {
    SealError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> MasterKey {
        let installation = InstallationId::parse(&"ab".repeat(16)).expect("an id");
        MasterKey::derive(&Secret::new(secret.to_owned()), &installation).unwrap_or_else(|error| panic!("{error}"))
    }

    fn project(letter: &str) -> ProjectRef {
        ProjectRef::parse(&letter.repeat(20)).expect("a ref")
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let key = key(&"s".repeat(32));
        let sealed = key.seal(&project("a"), "DB", &Secret::new("hunter2hunter2".to_owned())).expect("sealed");
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        let opened = key.open(&project("a"), "DB", key.id(), &sealed).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(opened.expose(), "hunter2hunter2");
        for (other, name) in [("b", "DB"), ("a", "JWT")] {
            assert_eq!(key.open(&project(other), name, key.id(), &sealed).err(), Some(SealError::Damaged(name.to_owned())));
        }
        let mut flipped = sealed.clone();
        flipped[30] ^= 1;
        assert!(key.open(&project("a"), "DB", key.id(), &flipped).is_err());
    }

    #[test]
    fn another_key_is_named_and_a_short_secret_refused() {
        let (one, two) = (key(&"s".repeat(32)), key(&"t".repeat(32)));
        let sealed = one.seal(&project("a"), "DB", &Secret::new("x".to_owned())).expect("sealed");
        assert!(matches!(two.open(&project("a"), "DB", one.id(), &sealed), Err(SealError::OtherKey { .. })));
        let installation = InstallationId::parse(&"ab".repeat(16)).expect("an id");
        assert!(matches!(MasterKey::derive(&Secret::new("short".to_owned()), &installation), Err(SealError::TooShort(5))));
    }

    #[test]
    fn hashes_outlive_a_change_of_the_key() {
        let (one, two) = (key(&"s".repeat(32)), key(&"t".repeat(32)));
        let (before, id) = (one.hash(&["a"]), two.id().to_owned());
        assert_ne!(two.hash(&["a"]), before);
        let sealed = two.seal_hash_key_of(&one).expect("sealed");
        assert!(one.clone().with_hash_key(&sealed).is_err(), "it is sealed under the new key");
        let two = two.with_hash_key(&sealed).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((two.hash(&["a"]), two.id()), (before, id.as_str()));
    }
}

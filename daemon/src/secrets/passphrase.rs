//! The master key's text under a passphrase that a person chose: how it may lie beside a backup.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::generate::random_bytes;
use super::master::SealError;
use crate::domain::Secret;

/// Shortest passphrase taken: whoever has the file may guess for as long as they like.
const PASSPHRASE_CHARS_MIN: usize = 16;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
/// First word of the text, so that a sealed key is never taken for a key.
const MARK: &str = "supamanager-key-v1";

/// Whether the text is a key that [`seal_key`] sealed.
pub fn is_sealed_key(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Seals a key's text under a passphrase of at least sixteen characters: one line, salt, nonce and ciphertext.
///
/// # Errors
/// [`SealError::Passphrase`] or [`SealError::System`].
pub fn seal_key(key: &Secret<String>, passphrase: &Secret<String>) -> Result<String, SealError> {
    let length = passphrase.expose().chars().count();
    if length < PASSPHRASE_CHARS_MIN {
        return Err(SealError::Passphrase(format!("it has {length} characters, give at least {PASSPHRASE_CHARS_MIN}")));
    }
    let head = random_bytes(SALT_BYTES + NONCE_BYTES).map_err(system)?;
    let (salt, nonce) = head.split_at(SALT_BYTES);
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(system)?;
    let sealed = cipher(passphrase, salt)?.encrypt(&XNonce::from(nonce), key.expose().as_bytes()).map_err(system)?;
    Ok(format!("{MARK} {}\n", URL_SAFE_NO_PAD.encode([head.as_slice(), &sealed].concat())))
}

/// The inverse of [`seal_key`].
///
/// # Errors
/// [`SealError::Passphrase`] when it is another passphrase, or the text was changed.
pub fn open_key(text: &str, passphrase: &Secret<String>) -> Result<Secret<String>, SealError> {
    let wrong = || SealError::Passphrase("it does not open the key, or the key's file was changed".to_owned());
    let bytes = text.strip_prefix(MARK).and_then(|rest| URL_SAFE_NO_PAD.decode(rest.trim()).ok()).ok_or_else(wrong)?;
    let (salt, rest) = bytes.split_at_checked(SALT_BYTES).ok_or_else(wrong)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
    let opened = cipher(passphrase, salt)?.decrypt(&XNonce::from(*nonce), sealed).map_err(|_| wrong())?;
    String::from_utf8(opened).map(Secret::new).map_err(|_| wrong())
}

fn cipher(passphrase: &Secret<String>, salt: &[u8]) -> Result<XChaCha20Poly1305, SealError> {
    // The same cost as the master key's.
    let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(system)?;
    let mut key = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), salt, key.as_mut())
        .map_err(system)?;
    Ok(XChaCha20Poly1305::new(&(*key).into()))
}

fn system(error: impl std::fmt::Display) -> SealError {
    SealError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        let (key, passphrase) = (Secret::new("k".repeat(64)), Secret::new("a long passphrase".to_owned()));
        let text = seal_key(&key, &passphrase).unwrap_or_else(|error| panic!("{error}"));
        assert!(is_sealed_key(&text) && !is_sealed_key(key.expose()) && !text.contains("kkkk"));
        assert_eq!(open_key(&text, &passphrase).unwrap_or_else(|error| panic!("{error}")).expose(), key.expose());
        for (text, passphrase) in [
            (text.as_str(), "another passphrase"),
            (&text.replace("v1 ", "v1 A"), "a long passphrase"),
            ("supamanager-key-v1 short", "a long passphrase"),
            (key.expose().as_str(), "a long passphrase"),
        ] {
            assert!(matches!(open_key(text, &Secret::new(passphrase.to_owned())), Err(SealError::Passphrase(_))), "{text}");
        }
        assert!(seal_key(&key, &Secret::new("short".to_owned())).is_err());
    }
}

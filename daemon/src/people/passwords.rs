//! Passwords: Argon2id with the first choice of the OWASP password storage sheet, a few at a time, because each takes
//! 19 MiB and some 30 ms of a processor.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::PeopleError;
use crate::domain::Secret;

/// Hashes made at once.
const AT_ONCE: usize = 2;
/// The least characters of a password (NIST SP 800-63B section 3.1.1.2 asks for eight with another factor; we have none,
/// but try them slowly).
const CHARS_MIN: usize = 8;
/// The most bytes of one: it is hashed by whoever asks.
const BYTES_MAX: usize = 1024;

#[derive(Clone)]
pub(super) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// The PHC text of a new password.
    pub(super) async fn hash(&self, password: Secret<String>) -> Result<String, PeopleError> {
        check(&password)?;
        self.slowly(move || {
            let hashed = argon2()?.hash_password(password.expose().as_bytes()).map_err(system)?;
            Ok(hashed.to_string())
        })
        .await
    }

    /// Whether the password belongs to the hash; without a hash the same time goes by and it does not.
    pub(super) async fn verify(&self, password: Secret<String>, hash: Option<String>) -> Result<bool, PeopleError> {
        if password.expose().len() > BYTES_MAX {
            return Ok(false);
        }
        self.slowly(move || match hash {
            Some(hash) => {
                let hash = PasswordHash::new(&hash).map_err(system)?;
                Ok(Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
            }
            None => {
                argon2()?.hash_password(password.expose().as_bytes()).map_err(system)?;
                Ok(false)
            }
        })
        .await
    }

    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PeopleError> + Send + 'static,
    ) -> Result<T, PeopleError> {
        let _place = self.0.acquire().await.map_err(system)?;
        tokio::task::spawn_blocking(work).await.map_err(system)?
    }
}

/// Whether this can be a password.
pub(super) fn check(password: &Secret<String>) -> Result<(), PeopleError> {
    let text = password.expose();
    if text.chars().count() < CHARS_MIN || text.len() > BYTES_MAX {
        let message = format!("password must have at least {CHARS_MIN} characters and at most {BYTES_MAX} bytes");
        return Err(PeopleError::Field { field: "password", message });
    }
    Ok(())
}

/// 19 MiB, 2 passes, 1 lane.
fn argon2() -> Result<Argon2<'static>, PeopleError> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).map_err(system)?))
}

fn system(error: impl std::fmt::Display) -> PeopleError {
    PeopleError::System(format!("a password could not be hashed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_belongs_to_its_hash() {
        let passwords = Passwords::default();
        let secret = |text: &str| Secret::new(text.to_owned());
        let hash = passwords.hash(secret("correct horse")).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(secret("correct horse")).await.expect("hashed"), "each has a salt of its own");
        assert!(passwords.verify(secret("correct horse"), Some(hash.clone())).await.expect("verified"));
        assert!(!passwords.verify(secret("correct hors"), Some(hash)).await.expect("verified"));
        assert!(!passwords.verify(secret("correct horse"), None).await.expect("verified"));
        for refused in ["seven77".to_owned(), "x".repeat(1025)] {
            assert!(matches!(passwords.hash(secret(&refused)).await, Err(PeopleError::Field { field: "password", .. })));
        }
    }
}

//! Access tokens: `sbp_` and 40 hexadecimal digits, the form the official command line takes.

use super::{People, PeopleError, hash, secret_to_show};
use crate::clock::Clock;
use crate::domain::{Caller, Scope, Secret, UnixMillis};
use crate::secrets::new_hex;
use crate::store::{Store, Token};

/// How exactly the last use of a token is known: a write for every request would be most of its cost.
const USE_NOTED_EVERY_MS: i64 = 60_000;
/// Longest name of a token, in characters.
const NAME_CHARS_MAX: usize = 256;
/// The longest a token may be good for, in seconds: ten years, like a project's own keys.
const LIFE_S_MAX: u64 = 10 * 365 * 24 * 3600;

/// A token to be.
pub struct NewToken<'a> {
    /// What it is for.
    pub name: &'a str,
    /// Whose, or nobody's: then it owns `organization_id`.
    pub user_id: Option<&'a str>,
    /// The organisation.
    pub organization_id: &'a str,
    /// What it takes from its user's roles.
    pub scope: Scope,
    /// How long it is good for, in seconds; `None` for ever.
    pub life_s: Option<u64>,
}

/// A token, shown once.
pub struct Made {
    /// What is kept of it.
    pub token: Token,
    /// The token itself.
    pub secret: Secret<String>,
}

/// Makes a token.
///
/// # Errors
/// [`PeopleError::Field`] when name or life cannot be taken, else as the store.
pub async fn create_token(store: &Store, clock: &Clock, new: NewToken<'_>) -> Result<Made, PeopleError> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let message = format!("name must have 1 to {NAME_CHARS_MAX} characters and no control characters");
        return Err(PeopleError::Field { field: "name", message });
    }
    if new.life_s.is_some_and(|life| !(1..=LIFE_S_MAX).contains(&life)) {
        let message = format!("a token is good for 1 to {LIFE_S_MAX} seconds, or for ever when nothing is said");
        return Err(PeopleError::Field { field: "expires_in", message });
    }
    let (secret, hash) = secret_to_show("sbp_")?;
    let now = clock.now();
    let token = Token {
        id: new_hex(8)?,
        name: name.to_owned(),
        user_id: new.user_id.map(str::to_owned),
        organization_id: new.organization_id.to_owned(),
        hint: hint(secret.expose()),
        scope: new.scope,
        created_at: now,
        expires_at: new.life_s.map(|life| now + i64::try_from(life).unwrap_or(i64::MAX / 2_000) * 1000),
        last_used_at: None,
        revoked_at: None,
    };
    store.insert_token(&token, &hash).await?;
    Ok(Made { token, secret })
}

/// Eight of its 44 characters: enough to tell it from others, and 128 bits are left.
fn hint(token: &str) -> String {
    format!("{}...{}", &token[..8], &token[token.len() - 4..])
}

impl People {
    /// Whose access token this is.
    pub(super) async fn caller_of_token(&self, shown: &str) -> Result<Caller, PeopleError> {
        let unknown = "this token is not known here: it was made for another data folder, or mistyped";
        let found = self.store.token_by_hash(&hash(shown)).await?.ok_or(PeopleError::Unknown(unknown))?;
        let now = self.clock.now();
        if let Some(why) = refused(&found.token, found.user_disabled, now) {
            return Err(PeopleError::Unknown(why));
        }
        if found.token.last_used_at.is_none_or(|last| now - last >= USE_NOTED_EVERY_MS) {
            // Reads always answer: a store that cannot be written to keeps nobody out.
            if let Err(error) = self.store.token_used(&found.token.id, now).await {
                tracing::warn!(%error, "the last use of a token could not be noted");
            }
        }
        Ok(found.caller)
    }
}

fn refused(token: &Token, user_disabled: bool, now: UnixMillis) -> Option<&'static str> {
    if token.revoked_at.is_some() {
        return Some("this token was revoked: make another one");
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        return Some("this token has expired: make another one");
    }
    user_disabled.then_some("the user of this token is disabled: an owner can let them in again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_when_it_was_said_to() {
        let token = |expires_at, revoked_at| Token {
            id: "1".into(),
            name: "x".into(),
            user_id: None,
            organization_id: "default".into(),
            hint: String::new(),
            scope: Scope::default(),
            created_at: 0,
            expires_at,
            last_used_at: None,
            revoked_at,
        };
        assert_eq!(refused(&token(Some(11), None), false, 10), None);
        assert!(refused(&token(Some(10), None), false, 10).is_some_and(|why| why.contains("expired")));
        assert!(refused(&token(None, Some(3)), false, 10).is_some_and(|why| why.contains("revoked")));
        assert!(refused(&token(None, None), true, 10).is_some_and(|why| why.contains("disabled")));
    }

    #[test]
    fn a_token_has_the_clients_form_and_a_hint_that_shows_both_ends() {
        let (token, _) = secret_to_show("sbp_").expect("a token");
        let hex = token.expose().strip_prefix("sbp_").expect("the prefix");
        assert!(hex.len() == 40 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(hint(&format!("sbp_{}", "0123456789".repeat(4))), "sbp_0123...6789");
    }
}

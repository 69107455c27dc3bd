//! Who may do what: access tokens and the audit log. A token is stored as its SHA-256: it holds 160 random bits,
//! so a slow hash would add nothing but time.

use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::domain::{ProjectRef, Secret};
use crate::secrets::{GenerateError, new_hex, new_token};
use crate::store::{AuditEntry, Store, StoreError, Token};

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// No random bytes.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token that owns an organisation. The token is shown once, here.
///
/// # Errors
/// [`PeopleError`].
pub async fn create_token(store: &Store, clock: &Clock, name: &str, organization: &str) -> Result<Secret<String>, PeopleError> {
    let token = new_token()?;
    let row = Token { id: new_hex(8)?, name: name.to_owned(), organization_id: organization.to_owned() };
    store.insert_token(&row, &hash(token.expose()), clock.now()).await?;
    Ok(token)
}

/// Whose token it is, if anybody's.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn authenticate(store: &Store, token: &str) -> Result<Option<Token>, StoreError> {
    store.token_by_hash(&hash(token)).await
}

/// Writes down who did what; `detail` is a JSON object without secrets.
///
/// # Errors
/// [`PeopleError`].
pub async fn audit(
    store: &Store,
    clock: &Clock,
    token: &Token,
    action: &str,
    project: Option<&ProjectRef>,
    detail: &serde_json::Value,
) -> Result<(), PeopleError> {
    let entry = AuditEntry {
        id: new_hex(12)?,
        token_id: token.id.clone(),
        action: action.to_owned(),
        project_id: project.map(ToString::to_string),
        detail: detail.to_string(),
    };
    store.audit(&entry, clock.now()).await?;
    Ok(())
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

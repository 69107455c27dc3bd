//! Tokens and the audit log.

use sqlx::Row;

use super::{Result, Store};
use crate::domain::UnixMillis;

/// An access token as the store knows it: never the token itself.
#[derive(Debug, Clone)]
pub struct Token {
    /// Random id.
    pub id: String,
    /// What its owner called it.
    pub name: String,
    /// The organisation it owns.
    pub organization_id: String,
}

/// One line of the audit log.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Random id.
    pub id: String,
    /// Who.
    pub token_id: String,
    /// What, for example `project.create`.
    pub action: String,
    /// On which project.
    pub project_id: Option<String>,
    /// JSON object as text; never a secret.
    pub detail: String,
}

impl Store {
    /// Keeps a token by its hash.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn insert_token(&self, token: &Token, hash: &str, now: UnixMillis) -> Result<()> {
        let statement =
            sqlx::query("INSERT INTO tokens (id, name, hash, organization_id, created_at) VALUES ($1, $2, $3, $4, $5)")
                .bind(&token.id)
                .bind(&token.name)
                .bind(hash)
                .bind(&token.organization_id)
                .bind(now);
        self.write(statement).await?;
        Ok(())
    }

    /// The token with this hash.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<Token>> {
        let row = sqlx::query("SELECT id, name, organization_id FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| Token { id: row.get(0), name: row.get(1), organization_id: row.get(2) }))
    }

    /// Writes down who did what.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn audit(&self, entry: &AuditEntry, now: UnixMillis) -> Result<()> {
        let statement =
            sqlx::query("INSERT INTO audit (id, at, token_id, action, project_id, detail) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(&entry.id)
                .bind(now)
                .bind(&entry.token_id)
                .bind(&entry.action)
                .bind(&entry.project_id)
                .bind(&entry.detail);
        self.write(statement).await?;
        Ok(())
    }
}

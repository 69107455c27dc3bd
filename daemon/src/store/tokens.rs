//! Access tokens, by their hash: never the token itself.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::people::{SELECT_ROLES, roles_of};
use super::{Result, Store, parse, text};
use crate::domain::{Caller, Proof, Scope, UnixMillis};

/// An access token as the store knows it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Random id.
    pub id: String,
    /// What its owner called it.
    pub name: String,
    /// Whose it is; `None` for one that owns its organisation.
    pub user_id: Option<String>,
    /// The organisation it owns, or where its user creates by default.
    pub organization_id: String,
    /// Its beginning and end, to tell it from others.
    pub hint: String,
    /// What it takes from its user's roles.
    pub scope: Scope,
    /// Since when.
    pub created_at: UnixMillis,
    /// Until when.
    pub expires_at: Option<UnixMillis>,
    /// When it was last seen, to the minute.
    pub last_used_at: Option<UnixMillis>,
    /// Since when it is good for nothing.
    pub revoked_at: Option<UnixMillis>,
}

/// A token that somebody showed.
pub struct ShownToken {
    /// The token.
    pub token: Token,
    /// Its user is shut out.
    pub user_disabled: bool,
    /// Who it is, if it is still good.
    pub caller: Caller,
}

impl Store {
    /// Keeps a token by its hash.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn insert_token(&self, token: &Token, hash: &str) -> Result<()> {
        let statement = sqlx::query(
            "INSERT INTO tokens (id, name, hash, organization_id, created_at, user_id, hint, scope, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&token.id)
        .bind(&token.name)
        .bind(hash)
        .bind(&token.organization_id)
        .bind(token.created_at)
        .bind(&token.user_id)
        .bind(&token.hint)
        .bind(parse(serde_json::to_string(&token.scope))?)
        .bind(token.expires_at);
        self.write(statement).await?;
        Ok(())
    }

    /// The token with this hash and whoever it stands for: one statement, because every request asks.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<ShownToken>> {
        let sql = format!(
            "SELECT t.*, u.disabled_at AS user_disabled_at, u.email AS email, {SELECT_ROLES} \
             FROM tokens t LEFT JOIN users u ON u.id = t.user_id WHERE t.hash = $1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(&self.readers).await?;
        row.as_ref().map(shown).transpose()
    }

    /// The tokens of a user, revoked ones left out; the newest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn tokens_of_user(&self, user: &str) -> Result<Vec<Token>> {
        let sql = "SELECT * FROM tokens WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, id";
        let rows = sqlx::query(sql).bind(user).fetch_all(&self.readers).await?;
        rows.iter().map(token).collect()
    }

    /// All tokens that are not revoked; the newest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let sql = "SELECT * FROM tokens WHERE revoked_at IS NULL ORDER BY created_at DESC, id";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().map(token).collect()
    }

    /// Notes that a token was seen.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn token_used(&self, id: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1").bind(id).bind(now).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Makes a token good for nothing; whether it was good. With a user, only one of theirs.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn revoke_token(&self, id: &str, user: Option<&str>, now: UnixMillis) -> Result<bool> {
        let statement = sqlx::query(
            "UPDATE tokens SET revoked_at = $3 WHERE id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR user_id = $2)",
        )
        .bind(text(id))
        .bind(user)
        .bind(now);
        Ok(self.write(statement).await? == 1)
    }
}

fn shown(row: &AnyRow) -> Result<ShownToken> {
    let token = token(row)?;
    let (mut organizations, projects) = roles_of(row)?;
    if token.user_id.is_none() {
        organizations.insert(token.organization_id.clone(), crate::domain::Role::Owner);
    }
    let caller = Caller {
        id: token.id.clone(),
        name: token.name.clone(),
        proof: Proof::Token,
        user_id: token.user_id.clone(),
        home: token.organization_id.clone(),
        organizations,
        projects,
        scope: token.scope.clone(),
    };
    Ok(ShownToken { token, user_disabled: row.get::<Option<i64>, _>("user_disabled_at").is_some(), caller })
}

fn token(row: &AnyRow) -> Result<Token> {
    Ok(Token {
        id: row.get("id"),
        name: row.get("name"),
        user_id: row.get("user_id"),
        organization_id: row.get("organization_id"),
        hint: row.get("hint"),
        scope: parse(serde_json::from_str(row.get("scope")))?,
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        last_used_at: row.get("last_used_at"),
        revoked_at: row.get("revoked_at"),
    })
}

//! Sessions and their refresh tokens. A refresh token is good once: one that comes a second time was stolen, from its
//! user or by its user's browser from a thief, and either way the session ends.

use sqlx::Row;

use super::people::{SELECT_ROLES, roles_of};
use super::{Result, Store, Tx, text};
use crate::domain::{Caller, Proof, Scope, UnixMillis};

/// What became of a refresh token that somebody showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// It was good: the session goes on with the new one.
    Session(Session),
    /// It had been used before: the session has ended now.
    Reused(Session),
    /// It is nobody's, or its session had ended.
    Nothing,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A UUID.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// When it ends, however often it is refreshed.
    pub expires_at: UnixMillis,
}

impl Store {
    /// Begins a session with its first refresh token, if the user still has the password that was checked and is not shut
    /// out; whether it did. Checking takes time, in which either may have changed.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn begin_session(&self, session: &Session, password: &str, refresh_hash: &str, now: UnixMillis) -> Result<bool> {
        let mut tx = self.begin_beside_projects().await?;
        let same = sqlx::query("SELECT 1 FROM users WHERE id = $1 AND password = $2 AND disabled_at IS NULL");
        if same.bind(&session.user_id).bind(password).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        sqlx::query("INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(&session.id)
            .bind(&session.user_id)
            .bind(now)
            .bind(session.expires_at)
            .execute(&mut *tx)
            .await?;
        insert_refresh(&mut tx, refresh_hash, &session.id, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether there is such a refresh token, used or not.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn knows_refresh(&self, hash: &str) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM refresh_tokens WHERE hash = $1").bind(hash).fetch_optional(&self.readers).await?;
        Ok(row.is_some())
    }

    /// Uses up a refresh token and puts `next` in its place. One that was used less than `leeway_ms` ago is taken once
    /// more: two tabs of one browser ask at the same time.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn refresh_session(&self, shown: &str, next: &str, leeway_ms: i64, now: UnixMillis) -> Result<Refreshed> {
        let mut tx = self.begin_beside_projects().await?;
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.expires_at, r.used_at FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id \
             JOIN users u ON u.id = s.user_id \
             WHERE r.hash = $1 AND s.ended_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL",
        )
        .bind(shown)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(Refreshed::Nothing) };
        let session = Session { id: row.get(0), user_id: row.get(1), expires_at: row.get(2) };
        if row.get::<Option<i64>, _>(3).is_some_and(|used| now - used > leeway_ms) {
            end(&mut tx, &session.id, "reused", now).await?;
            tx.commit().await?;
            return Ok(Refreshed::Reused(session));
        }
        sqlx::query("UPDATE refresh_tokens SET used_at = COALESCE(used_at, $2) WHERE hash = $1")
            .bind(shown)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        insert_refresh(&mut tx, next, &session.id, now).await?;
        tx.commit().await?;
        Ok(Refreshed::Session(session))
    }

    /// Whoever has this session, if it goes on and its user is not shut out.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn caller_of_session(&self, id: &str, now: UnixMillis) -> Result<Option<Caller>> {
        let sql = format!(
            "SELECT u.id AS id, u.email AS email, {SELECT_ROLES} FROM sessions t JOIN users u ON u.id = t.user_id \
             WHERE t.id = $1 AND t.ended_at IS NULL AND t.expires_at > $2 AND u.disabled_at IS NULL"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind(now).fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        let (organizations, projects) = roles_of(&row)?;
        let user: String = row.get("id");
        Ok(Some(Caller {
            id: user.clone(),
            name: row.get("email"),
            proof: Proof::Session,
            user_id: Some(user),
            home: organizations.keys().next().cloned().unwrap_or_default(),
            organizations,
            projects,
            scope: Scope::default(),
        }))
    }

    /// Ends a session; `by` says why, in one word.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn end_session(&self, id: &str, by: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        end(&mut tx, id, by, now).await?;
        tx.commit().await
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn end_sessions(&self, user: &str, by: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        end_all(&mut tx, user, by, now).await?;
        tx.commit().await
    }

    /// Forgets sessions that ended before this moment, and their refresh tokens; how many.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn forget_sessions(&self, before: UnixMillis) -> Result<u64> {
        let mut tx = self.begin_beside_projects().await?;
        const OVER: &str = "expires_at < $1 OR ended_at < $1";
        let tokens = format!("DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE {OVER})");
        sqlx::query(sqlx::AssertSqlSafe(tokens)).bind(before).execute(&mut *tx).await?;
        let sessions = format!("DELETE FROM sessions WHERE {OVER}");
        let gone = sqlx::query(sqlx::AssertSqlSafe(sessions)).bind(before).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(gone.rows_affected())
    }
}

pub(super) async fn end_all(tx: &mut Tx, user: &str, by: &str, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE sessions SET ended_at = $3, ended_by = $2 WHERE user_id = $1 AND ended_at IS NULL")
        .bind(user)
        .bind(text(by))
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn end(tx: &mut Tx, id: &str, by: &str, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE sessions SET ended_at = $3, ended_by = $2 WHERE id = $1 AND ended_at IS NULL")
        .bind(id)
        .bind(text(by))
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn insert_refresh(tx: &mut Tx, hash: &str, session: &str, now: UnixMillis) -> Result<()> {
    sqlx::query("INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)")
        .bind(hash)
        .bind(session)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

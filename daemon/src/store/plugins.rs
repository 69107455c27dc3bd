//! What plugins did to a project, and what they remember of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row;

use super::{Result, Store, Tx, parse, text};
use crate::domain::{ProjectRef, UnixMillis};

/// What a post-create plugin did to a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOutcome {
    /// The plugin.
    pub plugin: String,
    /// Its digest.
    pub digest: String,
    /// Whether it came to its end; else nobody knows how far it came.
    pub done: bool,
    /// Whether it changed anything.
    pub changed: bool,
    /// Its own sentence.
    pub summary: String,
    /// When it was called, or came to its end.
    pub at: UnixMillis,
}

/// What another version of a plugin had done, in the column `before`.
#[derive(Serialize, Deserialize)]
struct Before {
    digest: String,
    changed: bool,
    summary: String,
    at: UnixMillis,
}

impl Store {
    /// What was done to a project, in the order in which it was begun.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn hook_outcomes(&self, project: &ProjectRef) -> Result<Vec<HookOutcome>> {
        let rows = sqlx::query("SELECT * FROM hook_outcomes WHERE project_id = $1 ORDER BY position")
            .bind(project.as_str())
            .fetch_all(&self.readers)
            .await?;
        let outcome = |row: &sqlx::any::AnyRow| HookOutcome {
            plugin: row.get("plugin"),
            digest: row.get("digest"),
            done: row.get::<String, _>("state") == "done",
            changed: row.get::<i64, _>("changed") != 0,
            summary: row.get("summary"),
            at: row.get("at"),
        };
        Ok(rows.iter().map(outcome).collect())
    }

    /// A plugin is about to be called.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn hook_begins(&self, project: &ProjectRef, plugin: &str, digest: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        let newest = sqlx::query("SELECT COALESCE(MAX(position), 0) FROM hook_outcomes WHERE project_id = $1")
            .bind(project.as_str())
            .fetch_one(&mut *tx)
            .await?;
        // What another version did stays known until this one has come to its end.
        let done =
            sqlx::query("SELECT * FROM hook_outcomes WHERE project_id = $1 AND plugin = $2 AND state = 'done' AND digest <> $3")
                .bind(project.as_str())
                .bind(plugin)
                .bind(digest)
                .fetch_optional(&mut *tx)
                .await?;
        let before = done.map(|row| Before {
            digest: row.get("digest"),
            changed: row.get::<i64, _>("changed") != 0,
            summary: row.get("summary"),
            at: row.get("at"),
        });
        let before = before.map(|before| json!(before).to_string());
        sqlx::query(
            "INSERT INTO hook_outcomes (project_id, plugin, digest, position, state, changed, summary, at) \
             VALUES ($1, $2, $3, $4, 'begun', 1, '', $5) \
             ON CONFLICT (project_id, plugin) DO UPDATE SET digest = $3, state = 'begun', changed = 1, summary = '', at = $5, \
             before = COALESCE($6, hook_outcomes.before)",
        )
        .bind(project.as_str())
        .bind(plugin)
        .bind(digest)
        .bind(newest.get::<i64, _>(0) + 1)
        .bind(now)
        .bind(before)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// What the plugin that was called says it did.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn hook_ended(
        &self,
        project: &ProjectRef,
        plugin: &str,
        changed: bool,
        summary: &str,
        now: UnixMillis,
    ) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        sqlx::query(
            "UPDATE hook_outcomes SET state = 'done', changed = $3, summary = $4, at = $5, before = NULL \
             WHERE project_id = $1 AND plugin = $2",
        )
        .bind(project.as_str())
        .bind(plugin)
        .bind(i64::from(changed))
        .bind(text(summary))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// What the plugin did is taken back, or there is nobody who could.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn hook_undone(&self, project: &ProjectRef, plugin: &str) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        sqlx::query("DELETE FROM hook_outcomes WHERE project_id = $1 AND plugin = $2")
            .bind(project.as_str())
            .bind(plugin)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    /// What this version did is taken back: what another did before it stands again, if there is anything.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn hook_restored(&self, project: &ProjectRef, plugin: &str) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        let row = sqlx::query("SELECT before FROM hook_outcomes WHERE project_id = $1 AND plugin = $2")
            .bind(project.as_str())
            .bind(plugin)
            .fetch_optional(&mut *tx)
            .await?;
        let before = row.and_then(|row| row.get::<Option<String>, _>("before"));
        let before: Option<Before> = before.map(|text| parse(serde_json::from_str(&text))).transpose()?;
        match before {
            None => {
                sqlx::query("DELETE FROM hook_outcomes WHERE project_id = $1 AND plugin = $2")
                    .bind(project.as_str())
                    .bind(plugin)
                    .execute(&mut *tx)
                    .await?;
            }
            Some(Before { digest, changed, summary, at }) => {
                sqlx::query(
                    "UPDATE hook_outcomes SET digest = $3, state = 'done', changed = $4, summary = $5, at = $6, before = NULL \
                     WHERE project_id = $1 AND plugin = $2",
                )
                .bind(project.as_str())
                .bind(plugin)
                .bind(digest)
                .bind(i64::from(changed))
                .bind(summary)
                .bind(at)
                .execute(&mut *tx)
                .await?;
            }
        }
        tx.commit().await
    }

    /// What a plugin remembers of a project: each name and its value, by name.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn remembered(&self, project: &ProjectRef, plugin: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let rows = sqlx::query("SELECT name, value FROM plugin_memory WHERE project_id = $1 AND plugin = $2")
            .bind(project.as_str())
            .bind(plugin)
            .fetch_all(&self.readers)
            .await?;
        let pair = |row: &sqlx::any::AnyRow| Ok((row.get("name"), parse(STANDARD.decode(row.get::<String, _>("value")))?));
        let mut pairs: Vec<(String, Vec<u8>)> = rows.iter().map(pair).collect::<Result<_>>()?;
        pairs.sort();
        Ok(pairs)
    }

    /// Puts a value in place of the one of this name, as long as all of them then keep to `keys_max` and `bytes_max`;
    /// otherwise, and of a project that is deleted, nothing changes and it is `false`.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn remember(
        &self,
        project: &ProjectRef,
        plugin: &str,
        (name, value): (&str, &[u8]),
        (keys_max, bytes_max): (usize, usize),
    ) -> Result<bool> {
        let mut tx = self.begin_beside_projects().await?;
        let there = sqlx::query("SELECT 1 FROM projects WHERE id = $1 AND status <> 'DELETED'").bind(project.as_str());
        if there.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        let others = sqlx::query("SELECT name, value FROM plugin_memory WHERE project_id = $1 AND plugin = $2 AND name <> $3")
            .bind(project.as_str())
            .bind(plugin)
            .bind(name)
            .fetch_all(&mut *tx)
            .await?;
        let length = |row: &sqlx::any::AnyRow| {
            row.get::<String, _>("name").len() + row.get::<String, _>("value").trim_end_matches('=').len() * 3 / 4
        };
        let bytes = others.iter().map(length).sum::<usize>() + name.len() + value.len();
        if others.len() >= keys_max || bytes > bytes_max {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO plugin_memory (project_id, plugin, name, value) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project_id, plugin, name) DO UPDATE SET value = $4",
        )
        .bind(project.as_str())
        .bind(plugin)
        .bind(name)
        .bind(STANDARD.encode(value))
        .execute(&mut *tx)
        .await?;
        tx.commit().await.map(|()| true)
    }

    /// Forgets a name.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn forget(&self, project: &ProjectRef, plugin: &str, name: &str) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        sqlx::query("DELETE FROM plugin_memory WHERE project_id = $1 AND plugin = $2 AND name = $3")
            .bind(project.as_str())
            .bind(plugin)
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

/// Nothing is done any more, taken back or not.
pub(super) async fn none_done(tx: &mut Tx, project: &ProjectRef) -> Result<()> {
    sqlx::query("DELETE FROM hook_outcomes WHERE project_id = $1").bind(project.as_str()).execute(&mut **tx).await?;
    Ok(())
}

/// Nothing of plugins outlives the project.
pub(super) async fn gone(tx: &mut Tx, project: &ProjectRef) -> Result<()> {
    none_done(tx, project).await?;
    sqlx::query("DELETE FROM plugin_memory WHERE project_id = $1").bind(project.as_str()).execute(&mut **tx).await?;
    Ok(())
}

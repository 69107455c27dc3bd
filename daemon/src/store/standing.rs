//! Where active projects stand: which there are, and how one moves between healthy and unhealthy.

use std::collections::BTreeSet;

use sqlx::Row;

use super::{EventKind, Result, Store, text};
use crate::domain::{Project, ProjectRef, ProjectStatus, UnixMillis};

/// A move between healthy and unhealthy, with what watchers are told.
pub struct Standing<'a> {
    /// ACTIVE_HEALTHY or ACTIVE_UNHEALTHY.
    pub status: ProjectStatus,
    /// Why, for people.
    pub reason: &'a str,
    /// The data of the `status` event.
    pub event: String,
}

impl Store {
    /// Every project that should run, ordered by ref: the healthy ones first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn active_projects(&self) -> Result<Vec<Project>> {
        self.projects_in(&[ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy]).await
    }

    /// The refs of all projects whose objects on the engine are to stay: neither deleted nor failed.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn kept_projects(&self) -> Result<BTreeSet<ProjectRef>> {
        let rows =
            sqlx::query("SELECT id FROM projects WHERE status NOT IN ('DELETED', 'FAILED')").fetch_all(&self.readers).await?;
        rows.iter().map(|row| super::parse(ProjectRef::parse(row.get(0)))).collect()
    }

    /// Moves an active project between healthy and unhealthy, and tells it in the same transaction. Returns whether it
    /// moved: a project in any other state is left alone, and nobody but an operation's own end calls a project healthy
    /// while an operation is under way.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn set_active_status(&self, id: &ProjectRef, to: &Standing<'_>, now: UnixMillis) -> Result<bool> {
        let mut tx = self.begin().await?;
        let before = sqlx::query("SELECT status FROM projects WHERE id = $1").bind(id.as_str()).fetch_optional(&mut *tx).await?;
        let before = before.and_then(|row| ProjectStatus::from_word(row.get(0)));
        let Some(before) = before.filter(|before| before.is_active() && *before != to.status) else { return Ok(false) };
        let under_way = sqlx::query("SELECT 1 FROM operations WHERE project_id = $1 AND ended_at IS NULL")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if to.status == ProjectStatus::ActiveHealthy && under_way.is_some() {
            return Ok(false);
        }
        sqlx::query("UPDATE projects SET status = $2, updated_at = $3 WHERE id = $1")
            .bind(id.as_str())
            .bind(to.status.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        super::events::append(&mut tx, id, EventKind::Status, &text(&to.event), now).await?;
        super::notices::status_is(&mut tx, id, (before, to.status), to.reason, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

//! Observations: how each service was last seen, and since when.

use sqlx::Row;

use super::{Result, Store, text};
use crate::domain::{ProjectRef, ServiceName, ServiceState, UnixMillis};

/// How one service was last seen.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The service.
    pub service: ServiceName,
    /// The verdict.
    pub state: ServiceState,
    /// Why; empty when healthy.
    pub reason: String,
    /// What was asked.
    pub endpoint: String,
    /// How long the answer took.
    pub latency_ms: i64,
    /// The container behind it.
    pub container_id: Option<String>,
    /// When it took this state.
    pub since: UnixMillis,
    /// When it was looked at.
    pub observed_at: UnixMillis,
}

/// What a project used when it was last sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSample {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes in the project's folder.
    pub storage_bytes: i64,
    /// When.
    pub observed_at: UnixMillis,
}

impl Store {
    /// Writes what was seen; `since` moves only when the state changes. Returns whether it changed, or `None` when the
    /// project has ended or was paused meanwhile: then nothing is kept.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn observe(&self, project: &ProjectRef, seen: &Observation) -> Result<Option<bool>> {
        if self.is_written(project, seen).await? {
            return Ok(Some(false));
        }
        let mut tx = self.begin_beside_projects().await?;
        let over = sqlx::query("SELECT 1 FROM projects WHERE id = $1 AND status IN ('FAILED', 'PAUSED', 'DELETED')")
            .bind(project.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if over.is_some() {
            return Ok(None);
        }
        let before = sqlx::query("SELECT state, since FROM observations WHERE project_id = $1 AND service = $2")
            .bind(project.as_str())
            .bind(seen.service.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let before = before.map(|row| (row.get::<String, _>(0), row.get::<i64, _>(1)));
        let since = match &before {
            Some((state, since)) if state == seen.state.as_str() => *since,
            _ => seen.observed_at,
        };
        sqlx::query(
            "INSERT INTO observations (project_id, service, state, reason, endpoint, latency_ms, container_id, since, observed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (project_id, service) DO UPDATE SET \
             state = $3, reason = $4, endpoint = $5, latency_ms = $6, container_id = $7, since = $8, observed_at = $9",
        )
        .bind(project.as_str())
        .bind(seen.service.as_str())
        .bind(seen.state.as_str())
        .bind(text(&seen.reason))
        .bind(text(&seen.endpoint))
        .bind(seen.latency_ms)
        .bind(&seen.container_id)
        .bind(since)
        .bind(seen.observed_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(before.is_none_or(|(state, _)| state != seen.state.as_str())))
    }

    /// Whether the row says all of this but when it was looked at: after a start every service is looked at for the first
    /// time, and most are as they were.
    async fn is_written(&self, project: &ProjectRef, seen: &Observation) -> Result<bool> {
        let row = sqlx::query(
            "SELECT o.state, o.reason, o.endpoint, o.container_id FROM observations o JOIN projects p ON p.id = o.project_id \
             WHERE o.project_id = $1 AND o.service = $2 AND p.status NOT IN ('FAILED', 'PAUSED', 'DELETED')",
        )
        .bind(project.as_str())
        .bind(seen.service.as_str())
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.is_some_and(|row| {
            row.get::<&str, _>(0) == seen.state.as_str()
                && row.get::<String, _>(1) == text(&seen.reason)
                && row.get::<String, _>(2) == text(&seen.endpoint)
                && row.get::<Option<String>, _>(3) == seen.container_id
        }))
    }

    /// The last observation of every service that was ever looked at.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn observations(&self, project: &ProjectRef) -> Result<Vec<Observation>> {
        let rows = sqlx::query("SELECT * FROM observations WHERE project_id = $1 ORDER BY service")
            .bind(project.as_str())
            .fetch_all(&self.readers)
            .await?;
        let seen = rows.iter().map(|row| {
            Ok(Observation {
                service: super::parse(ServiceName::parse(row.get("service")))?,
                state: ServiceState::from_word(row.get("state")),
                reason: row.get("reason"),
                endpoint: row.get("endpoint"),
                latency_ms: row.get("latency_ms"),
                container_id: row.get("container_id"),
                since: row.get("since"),
                observed_at: row.get("observed_at"),
            })
        });
        seen.collect()
    }
}

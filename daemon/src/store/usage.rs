//! What projects used: the newest sample, and a series that is bounded by age. Each sample for three hours, and what the
//! samples of a quarter of an hour came to for seven days. A row holds all services of a project, as JSON.

use sqlx::Row;

use super::{Result, Store, UsageSample, parse};
use crate::domain::{ProjectRef, UnixMillis, UsagePoint, step_of};

/// How fine a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Each sample.
    Fine,
    /// Quarters of an hour.
    Coarse,
}

/// Rows read at most: more than one grain of one project ever holds.
const READ_MAX: i64 = 2_000;

impl Grain {
    /// How long a row is kept, in milliseconds.
    pub const fn kept_ms(self) -> i64 {
        match self {
            Self::Fine => 3 * 3_600_000,
            Self::Coarse => 7 * 24 * 3_600_000,
        }
    }

    /// The length of a coarse step, in milliseconds.
    pub const COARSE_MS: i64 = 900_000;

    fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Coarse => "coarse",
        }
    }
}

impl Store {
    /// Keeps a sample as the newest, in the series, and in its quarter of an hour; what is too old goes, of every project.
    /// Nothing is kept of a project that is gone.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn keep_usage(&self, project: &ProjectRef, point: &UsagePoint) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        let there = sqlx::query("SELECT 1 FROM projects WHERE id = $1 AND status <> 'DELETED'")
            .bind(project.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if there.is_none() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO usage_samples (project_id, cpu_millis, memory_bytes, storage_bytes, observed_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (project_id) DO UPDATE SET \
             cpu_millis = $2, memory_bytes = $3, storage_bytes = $4, observed_at = $5",
        )
        .bind(project.as_str())
        .bind(point.all.cpu_millis())
        .bind(point.all.memory_bytes())
        .bind(point.storage_bytes)
        .bind(point.at)
        .execute(&mut *tx)
        .await?;
        let quarter = step_of(point.at, Grain::COARSE_MS);
        let so_far = sqlx::query("SELECT data FROM usage_series WHERE project_id = $1 AND grain = 'coarse' AND at = $2")
            .bind(project.as_str())
            .bind(quarter)
            .fetch_optional(&mut *tx)
            .await?;
        let coarse = match so_far {
            Some(row) => {
                let mut coarse: UsagePoint = parse(serde_json::from_str(row.get(0)))?;
                coarse.add(point);
                coarse
            }
            None => UsagePoint { at: quarter, ..point.clone() },
        };
        for (grain, row) in [(Grain::Fine, point), (Grain::Coarse, &coarse)] {
            sqlx::query(
                "INSERT INTO usage_series (project_id, grain, at, data) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (project_id, grain, at) DO UPDATE SET data = $4",
            )
            .bind(project.as_str())
            .bind(grain.as_str())
            .bind(row.at)
            .bind(parse(serde_json::to_string(row))?)
            .execute(&mut *tx)
            .await?;
            sqlx::query("DELETE FROM usage_series WHERE grain = $1 AND at < $2")
                .bind(grain.as_str())
                .bind(point.at - grain.kept_ms())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The newest sample.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn usage(&self, project: &ProjectRef) -> Result<Option<UsageSample>> {
        let row =
            sqlx::query("SELECT cpu_millis, memory_bytes, storage_bytes, observed_at FROM usage_samples WHERE project_id = $1")
                .bind(project.as_str())
                .fetch_optional(&self.readers)
                .await?;
        Ok(row.map(|row| UsageSample {
            cpu_millis: row.get(0),
            memory_bytes: row.get(1),
            storage_bytes: row.get(2),
            observed_at: row.get(3),
        }))
    }

    /// The series from a moment on, oldest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn usage_series(&self, project: &ProjectRef, grain: Grain, from: UnixMillis) -> Result<Vec<UsagePoint>> {
        let rows =
            sqlx::query("SELECT data FROM usage_series WHERE project_id = $1 AND grain = $2 AND at >= $3 ORDER BY at LIMIT $4")
                .bind(project.as_str())
                .bind(grain.as_str())
                .bind(from)
                .bind(READ_MAX)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| parse(serde_json::from_str(row.get(0)))).collect()
    }
}

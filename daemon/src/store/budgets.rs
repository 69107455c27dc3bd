//! What projects may use, what all of them were promised together, and how full their storage is.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, Tx, word};
use crate::domain::{BudgetState, Bytes, Cpu, ProjectRef, Resources, UnixMillis};

/// What the projects of one engine were promised together. A project without a limit was promised nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// How many projects were counted.
    pub projects: u64,
}

/// How full a project's storage was when it was last measured, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Where it stands.
    pub state: BudgetState,
    /// Whether the statements of the state have run and it was told.
    pub settled: bool,
    /// Bytes in the project's folder.
    pub used_bytes: i64,
    /// Whether all of the folder could be read; otherwise it is at least so many bytes.
    pub complete: bool,
    /// Since when it is in this state.
    pub changed_at: UnixMillis,
    /// When it was measured.
    pub observed_at: UnixMillis,
}

impl Store {
    /// Changes what a project may use.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn set_resources(&self, project: &ProjectRef, resources: &Resources, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        write(&mut tx, project, resources, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What all projects on the region's engine but this one were promised. Paused and deleted ones hold nothing.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn committed(&self, region: &str, but: Option<&ProjectRef>) -> Result<Committed> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(p.cpu_millis), 0) AS BIGINT), CAST(COALESCE(SUM(p.memory_bytes), 0) AS BIGINT), COUNT(*) \
             FROM projects p JOIN regions r ON r.name = p.region \
             WHERE r.engine_id = (SELECT engine_id FROM regions WHERE name = $1) AND p.id <> $2 \
             AND p.status NOT IN ('PAUSED', 'DELETED') AND (p.cpu_millis IS NOT NULL OR p.memory_bytes IS NOT NULL)",
        )
        .bind(region)
        .bind(but.map_or("", ProjectRef::as_str))
        .fetch_one(&self.readers)
        .await?;
        let sum = |column: usize| u64::try_from(row.get::<i64, _>(column)).unwrap_or_default();
        Ok(Committed { cpu_millis: sum(0), memory_bytes: sum(1), projects: sum(2) })
    }

    /// How full a project's storage was last seen; `None` before the first measuring.
    ///
    /// # Errors
    /// [`super::StoreError::Database`], [`super::StoreError::Corrupt`].
    pub async fn budget(&self, project: &ProjectRef) -> Result<Option<Budget>> {
        let row = sqlx::query(
            "SELECT state, settled, used_bytes, complete, changed_at, observed_at FROM budgets WHERE project_id = $1",
        )
        .bind(project.as_str())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let state: String = row.get("state");
        Ok(Some(Budget {
            state: word("budgets.state", &state, BudgetState::from_word(&state))?,
            settled: row.get::<i64, _>("settled") == 1,
            used_bytes: row.get("used_bytes"),
            complete: row.get::<i64, _>("complete") == 1,
            changed_at: row.get("changed_at"),
            observed_at: row.get("observed_at"),
        }))
    }

    /// The projects whose storage was ever measured against a limit.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn budgeted(&self) -> Result<BTreeSet<ProjectRef>> {
        let rows = sqlx::query("SELECT project_id FROM budgets").fetch_all(&self.readers).await?;
        rows.iter().map(|row| super::parse(ProjectRef::parse(row.get(0)))).collect()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn set_budget(&self, project: &ProjectRef, budget: &Budget) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO budgets (project_id, state, settled, used_bytes, complete, changed_at, observed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id) DO UPDATE SET \
             state = $2, settled = $3, used_bytes = $4, complete = $5, changed_at = $6, observed_at = $7",
        )
        .bind(project.as_str())
        .bind(budget.state.as_str())
        .bind(i64::from(budget.settled))
        .bind(budget.used_bytes)
        .bind(i64::from(budget.complete))
        .bind(budget.changed_at)
        .bind(budget.observed_at);
        self.write(query).await.map(drop)
    }

    /// When a project's tables were last purged under this name.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn purged_at(&self, project: &ProjectRef, name: &str) -> Result<Option<UnixMillis>> {
        let row = sqlx::query("SELECT ran_at FROM purges WHERE project_id = $1 AND name = $2")
            .bind(project.as_str())
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Remembers a purge.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn set_purged(&self, project: &ProjectRef, name: &str, now: UnixMillis) -> Result<()> {
        let query = sqlx::query(
            "INSERT INTO purges (project_id, name, ran_at) VALUES ($1, $2, $3) \
             ON CONFLICT (project_id, name) DO UPDATE SET ran_at = $3",
        )
        .bind(project.as_str())
        .bind(name)
        .bind(now);
        self.write(query).await.map(drop)
    }
}

/// Inside somebody's transaction.
pub(super) async fn write(tx: &mut Tx, project: &ProjectRef, resources: &Resources, now: UnixMillis) -> Result<()> {
    let bytes = |amount: Option<Bytes>| amount.map(|amount| i64::try_from(amount.get()).unwrap_or(i64::MAX));
    sqlx::query("UPDATE projects SET cpu_millis = $2, memory_bytes = $3, storage_bytes = $4, updated_at = $5 WHERE id = $1")
        .bind(project.as_str())
        .bind(resources.cpu.map(|cpu| i64::try_from(cpu.as_millis()).unwrap_or(i64::MAX)))
        .bind(bytes(resources.memory))
        .bind(bytes(resources.storage))
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// From a row of `projects`.
pub(super) fn read(row: &AnyRow) -> Resources {
    let amount = |column: &str| row.get::<Option<i64>, _>(column).and_then(|amount| u64::try_from(amount).ok());
    Resources {
        cpu: amount("cpu_millis").map(Cpu::millis),
        memory: amount("memory_bytes").map(Bytes::new),
        storage: amount("storage_bytes").map(Bytes::new),
    }
}

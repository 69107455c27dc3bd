//! The audit log: a chain of lines that nothing of ours changes or removes.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, Tx};
use crate::domain::{AUDIT_ROOT, AuditEntry, AuditLine, UnixMillis};

/// Lines read at once when the chain is walked.
const PAGE: i64 = 500;

/// Which lines to read.
#[derive(Debug, Default)]
pub struct AuditFilter {
    /// Only of this organisation; `None` for all, and for what concerns the installation.
    pub organization_id: Option<String>,
    /// Only about this project.
    pub project_id: Option<String>,
    /// Only those before this position.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// Every line follows from the one before.
    Whole {
        /// How many.
        lines: i64,
        /// The hash of the newest.
        head: String,
    },
    /// The first position that does not.
    Broken(i64),
}

impl Store {
    /// Writes down who did what, behind the newest line.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn audit(&self, entry: &AuditEntry, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin_beside_projects().await?;
        let (position, hash) = newest(&mut tx).await?;
        sqlx::query(
            "INSERT INTO audit (id, at, caller, caller_name, action, organization_id, project_id, detail, position, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&entry.id)
        .bind(now)
        .bind(&entry.caller)
        .bind(&entry.caller_name)
        .bind(&entry.action)
        .bind(&entry.organization_id)
        .bind(&entry.project_id)
        .bind(&entry.detail)
        .bind(position + 1)
        .bind(entry.hash(&hash, position + 1, now))
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Lines, the newest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn audit_lines(&self, filter: &AuditFilter) -> Result<Vec<AuditLine>> {
        let rows = sqlx::query(
            "SELECT * FROM audit WHERE position IS NOT NULL AND ($1 IS NULL OR organization_id = $1) \
             AND ($2 IS NULL OR project_id = $2) AND ($3 IS NULL OR position < $3) ORDER BY position DESC LIMIT $4",
        )
        .bind(&filter.organization_id)
        .bind(&filter.project_id)
        .bind(filter.before)
        .bind(i64::from(filter.limit))
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.iter().map(line).collect())
    }

    /// Walks the whole chain.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn audit_chain(&self) -> Result<Chain> {
        let (mut lines, mut head) = (0, AUDIT_ROOT.to_owned());
        loop {
            let rows = sqlx::query("SELECT * FROM audit WHERE position > $1 ORDER BY position LIMIT $2")
                .bind(lines)
                .bind(PAGE)
                .fetch_all(&self.readers)
                .await?;
            if rows.is_empty() {
                return Ok(Chain::Whole { lines, head });
            }
            for line in rows.iter().map(line) {
                lines += 1;
                if line.position != lines || line.hash != line.entry.hash(&head, lines, line.at) {
                    return Ok(Chain::Broken(lines));
                }
                head = line.hash;
            }
        }
    }

    /// Chains the lines of a store that had no chain yet, in the order of their time.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn chain_audit(&self) -> Result<()> {
        loop {
            let mut tx = self.begin_beside_projects().await?;
            let rows = sqlx::query("SELECT * FROM audit WHERE position IS NULL ORDER BY at, id LIMIT $1");
            let rows = rows.bind(PAGE).fetch_all(&mut *tx).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let (mut position, mut hash) = newest(&mut tx).await?;
            for line in rows.iter().map(line) {
                position += 1;
                hash = line.entry.hash(&hash, position, line.at);
                sqlx::query("UPDATE audit SET position = $2, hash = $3 WHERE id = $1")
                    .bind(&line.entry.id)
                    .bind(position)
                    .bind(&hash)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
        }
    }
}

/// Position and hash of the newest line.
async fn newest(tx: &mut Tx) -> Result<(i64, String)> {
    let row = sqlx::query("SELECT position, hash FROM audit WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1");
    let row = row.fetch_optional(&mut **tx).await?;
    Ok(row.map_or_else(|| (0, AUDIT_ROOT.to_owned()), |row| (row.get(0), row.get(1))))
}

fn line(row: &AnyRow) -> AuditLine {
    AuditLine {
        position: row.get::<Option<i64>, _>("position").unwrap_or_default(),
        at: row.get("at"),
        entry: AuditEntry {
            id: row.get("id"),
            caller: row.get("caller"),
            caller_name: row.get("caller_name"),
            action: row.get("action"),
            organization_id: row.get("organization_id"),
            project_id: row.get("project_id"),
            detail: row.get("detail"),
        },
        hash: row.get::<Option<String>, _>("hash").unwrap_or_default(),
    }
}

//! Reading projects.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Result, Store, StoreError, parse, word};
use crate::domain::{LastError, Project, ProjectRef, ProjectStatus, UnixMillis};

/// Which projects to list.
#[derive(Debug, Default)]
pub struct ListFilter {
    /// Only of this organisation.
    pub organization_id: Option<String>,
    /// Only in this state.
    pub status: Option<ProjectStatus>,
    /// Also the deleted ones.
    pub deleted: bool,
    /// Only those after this ref, in the order of the list.
    pub cursor: Option<ProjectRef>,
    /// At most so many.
    pub limit: u32,
}

/// One page of projects.
pub struct Page {
    /// Ordered by ref.
    pub projects: Vec<Project>,
    /// Where the next page begins.
    pub next_cursor: Option<ProjectRef>,
}

impl Store {
    /// One project, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn project(&self, id: &ProjectRef) -> Result<Option<Project>> {
        let row = sqlx::query(select("WHERE p.id = $1")).bind(id.as_str()).fetch_optional(&self.readers).await?;
        match row {
            Some(row) => Ok(Some(self.read(&row).await?)),
            None => Ok(None),
        }
    }

    /// A page of projects.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn projects(&self, filter: &ListFilter) -> Result<Page> {
        let sql = select(
            "WHERE ($1 IS NULL OR p.organization_id = $1) AND ($2 IS NULL OR p.status = $2) \
             AND ($3 = 1 OR p.status <> 'DELETED') AND ($4 IS NULL OR p.id > $4) ORDER BY p.id LIMIT $5",
        );
        let rows = sqlx::query(sql)
            .bind(&filter.organization_id)
            .bind(filter.status.map(ProjectStatus::as_str))
            .bind(i64::from(filter.deleted))
            .bind(filter.cursor.as_ref().map(ProjectRef::as_str))
            .bind(i64::from(filter.limit) + 1)
            .fetch_all(&self.readers)
            .await?;
        let mut projects = Vec::with_capacity(rows.len());
        for row in &rows {
            projects.push(self.read(row).await?);
        }
        let more = projects.len() > filter.limit as usize;
        projects.truncate(filter.limit as usize);
        let next_cursor = if more { projects.last().map(|project| project.id.clone()) } else { None };
        Ok(Page { projects, next_cursor })
    }

    /// Moves an active project between healthy and unhealthy. Returns whether it changed; a project in any
    /// other state is left alone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_active_status(&self, id: &ProjectRef, status: ProjectStatus, now: UnixMillis) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE projects SET status = $2, updated_at = $3 \
             WHERE id = $1 AND status <> $2 AND status IN ('ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY')",
        )
        .bind(id.as_str())
        .bind(status.as_str())
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// How many projects are in each state.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn count_by_status(&self) -> Result<Vec<(String, i64)>> {
        let rows =
            sqlx::query("SELECT status, COUNT(*) FROM projects GROUP BY status ORDER BY status").fetch_all(&self.readers).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn read(&self, row: &SqliteRow) -> Result<Project> {
        let id = parse(ProjectRef::parse(row.get("id")))?;
        let ports = sqlx::query("SELECT name, port FROM ports WHERE project_id = $1 ORDER BY name")
            .bind(id.as_str())
            .fetch_all(&self.readers)
            .await?;
        let ports = ports.iter().map(|port| Ok((port.get(0), parse(u16::try_from(port.get::<i64, _>(1)))?)));
        let status: String = row.get("status");
        Ok(Project {
            name: row.get("name"),
            organization_id: row.get("organization_id"),
            region: row.get("region"),
            status: word("projects.status", &status, ProjectStatus::from_word(&status))?,
            generation: row.get("generation"),
            template_set: row.get("template_set"),
            image_set: row.get("image_set"),
            subnet: row.get::<Option<String>, _>("subnet").unwrap_or_default(),
            ports: ports.collect::<Result<_>>()?,
            last_error: last_error(row)?,
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            activated_at: row.get("activated_at"),
            deleted_at: row.get("deleted_at"),
            id,
        })
    }
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!(
        "SELECT p.*, s.subnet AS subnet FROM projects p LEFT JOIN subnets s ON s.project_id = p.id {rest}"
    ))
}

fn last_error(row: &SqliteRow) -> std::result::Result<Option<LastError>, StoreError> {
    let Some(step) = row.get::<Option<String>, _>("error_step") else { return Ok(None) };
    let tail: Option<String> = row.get("error_log_tail");
    Ok(Some(LastError {
        step,
        code: row.get::<Option<String>, _>("error_code").unwrap_or_default(),
        message: row.get::<Option<String>, _>("error_message").unwrap_or_default(),
        log_tail: tail.map(|tail| parse(serde_json::from_str(&tail))).transpose()?.unwrap_or_default(),
    }))
}

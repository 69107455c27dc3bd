//! Reading projects.

use std::collections::BTreeMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, StoreError, parse, word};
use crate::domain::{LastError, OperationId, Project, ProjectRef, ProjectStatus};

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
        Ok(self.read(row.as_slice()).await?.pop())
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
        let mut projects = self.read(&rows).await?;
        let more = projects.len() > filter.limit as usize;
        projects.truncate(filter.limit as usize);
        let next_cursor = if more { projects.last().map(|project| project.id.clone()) } else { None };
        Ok(Page { projects, next_cursor })
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

    /// These rows, ordered by ref, with the ports of all of them in one more statement: a page is two statements however
    /// long it is. The span of refs is asked for and not each one, so that the statement is always the same.
    async fn read(&self, rows: &[AnyRow]) -> Result<Vec<Project>> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        let found = sqlx::query(
            "SELECT project_id, name, port FROM ports WHERE project_id >= $1 AND project_id <= $2 ORDER BY project_id, name",
        )
        .bind(first.get::<String, _>("id"))
        .bind(last.get::<String, _>("id"))
        .fetch_all(&self.readers)
        .await?;
        let mut ports: BTreeMap<String, Vec<(String, u16)>> = BTreeMap::new();
        for row in &found {
            let port = parse(u16::try_from(row.get::<i64, _>(2)))?;
            ports.entry(row.get(0)).or_default().push((row.get(1), port));
        }
        rows.iter().map(|row| one(row, ports.remove(row.get::<&str, _>("id")).unwrap_or_default())).collect()
    }
}

fn one(row: &AnyRow, ports: Vec<(String, u16)>) -> Result<Project> {
    let status: String = row.get("status");
    Ok(Project {
        id: parse(ProjectRef::parse(row.get("id")))?,
        name: row.get("name"),
        organization_id: row.get("organization_id"),
        region: row.get("region"),
        status: word("projects.status", &status, ProjectStatus::from_word(&status))?,
        generation: row.get("generation"),
        template_set: row.get("template_set"),
        image_set: row.get("image_set"),
        without: parse(serde_json::from_str(row.get("services_off")))?,
        subnet: row.get::<Option<String>, _>("subnet").unwrap_or_default(),
        ports,
        resources: super::budgets::read(row),
        last_error: last_error(row)?,
        stack_operation: row.get::<Option<String>, _>("stack_operation").map(|id| parse(OperationId::parse(&id))).transpose()?,
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        activated_at: row.get("activated_at"),
        deleted_at: row.get("deleted_at"),
    })
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!(
        "SELECT p.*, s.subnet AS subnet FROM projects p LEFT JOIN subnets s ON s.project_id = p.id {rest}"
    ))
}

fn last_error(row: &AnyRow) -> std::result::Result<Option<LastError>, StoreError> {
    let Some(step) = row.get::<Option<String>, _>("error_step") else { return Ok(None) };
    let tail: Option<String> = row.get("error_log_tail");
    Ok(Some(LastError {
        step,
        code: row.get::<Option<String>, _>("error_code").unwrap_or_default(),
        message: row.get::<Option<String>, _>("error_message").unwrap_or_default(),
        log_tail: tail.map(|tail| parse(serde_json::from_str(&tail))).transpose()?.unwrap_or_default(),
    }))
}

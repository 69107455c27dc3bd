//! Reading projects.

use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::kept::Found;
use super::{Result, Store, StoreError, parse, word};
use crate::domain::{Caller, LastError, OperationId, Project, ProjectRef, ProjectStatus};

/// Projects read at once by whoever wants all.
const PAGE: u32 = 200;

/// Which projects to list.
#[derive(Debug, Default)]
pub struct ListFilter {
    /// Only of this organisation.
    pub organization_id: Option<String>,
    /// Only those that this caller has a role on.
    pub visible_to: Option<Arc<Caller>>,
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

impl ListFilter {
    /// Those of the live projects that it lets through, at most so many; `limit` is not looked at.
    fn of(&self, live: &[Project], at_most: usize) -> Vec<Project> {
        let from = self.cursor.as_ref().map_or(0, |cursor| live.partition_point(|project| project.id <= *cursor));
        let wanted = |project: &&Project| {
            self.organization_id.as_ref().is_none_or(|id| *id == project.organization_id)
                && self.status.is_none_or(|status| status == project.status)
                && self.shows(project)
        };
        live[from..].iter().filter(wanted).take(at_most).cloned().collect()
    }

    fn shows(&self, project: &Project) -> bool {
        self.visible_to.as_ref().is_none_or(|caller| caller.role_on(&project.organization_id, &project.id).is_some())
    }
}

impl Page {
    /// The page that begins so.
    fn of(mut projects: Vec<Project>, limit: usize) -> Self {
        let more = projects.len() > limit;
        projects.truncate(limit);
        let next_cursor = if more { projects.last().map(|project| project.id.clone()) } else { None };
        Self { projects, next_cursor }
    }
}

impl Store {
    /// One project, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn project(&self, id: &ProjectRef) -> Result<Option<Project>> {
        let row = sqlx::query(select("WHERE p.id = $1")).bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(one).transpose()
    }

    /// A page of projects.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn projects(&self, filter: &ListFilter) -> Result<Page> {
        let read = match self.live(filter).await? {
            Some(live) => filter.of(&live, filter.limit as usize + 1),
            None => self.read(filter).await?,
        };
        Ok(Page::of(read, filter.limit as usize))
    }

    /// The live projects, if they are kept or it is time to keep them.
    async fn live(&self, filter: &ListFilter) -> Result<Option<Arc<Vec<Project>>>> {
        if filter.deleted || !self.fence.as_ref().is_some_and(|fence| fence.is_ours()) {
            return Ok(None);
        }
        Ok(match self.kept.look() {
            Found::Here(live) => Some(live),
            Found::Nothing => None,
            Found::Fill(turn) => {
                let live = Arc::new(self.read_all(ListFilter::default()).await?);
                turn.keep(live.clone());
                Some(live)
            }
        })
    }

    /// One more than the limit, if there are.
    async fn read(&self, filter: &ListFilter) -> Result<Vec<Project>> {
        let wanted = filter.limit as usize + 1;
        // Whoever sees few of many would be read for row by row.
        let step = if filter.visible_to.is_some() { wanted.max(PAGE as usize) } else { wanted };
        let (mut projects, mut cursor) = (Vec::new(), filter.cursor.clone());
        loop {
            let rows = self.rows(filter, cursor.as_ref(), step).await?;
            let last = rows.len() < step;
            cursor = rows.last().map(|project| project.id.clone());
            projects.extend(rows.into_iter().filter(|project| filter.shows(project)));
            if last || projects.len() >= wanted {
                projects.truncate(wanted);
                return Ok(projects);
            }
        }
    }

    /// So many, whoever may see them.
    async fn rows(&self, filter: &ListFilter, cursor: Option<&ProjectRef>, at_most: usize) -> Result<Vec<Project>> {
        let sql = select(
            "WHERE ($1 IS NULL OR p.organization_id = $1) AND ($2 IS NULL OR p.status = $2) \
             AND ($3 = 1 OR p.status <> 'DELETED') AND ($4 IS NULL OR p.id > $4) ORDER BY p.id LIMIT $5",
        );
        let rows = sqlx::query(sql)
            .bind(filter.organization_id.as_deref().map(super::text))
            .bind(filter.status.map(ProjectStatus::as_str))
            .bind(i64::from(filter.deleted))
            .bind(cursor.map(ProjectRef::as_str))
            .bind(i64::try_from(at_most).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(one).collect()
    }

    /// Every project of the filter, ordered by ref; `limit` and `cursor` are not looked at.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_projects(&self, mut filter: ListFilter) -> Result<Vec<Project>> {
        filter.cursor = None;
        match self.live(&filter).await? {
            Some(live) => Ok(filter.of(&live, usize::MAX)),
            None => self.read_all(filter).await,
        }
    }

    /// Page after page, none of them so long that others wait for it.
    async fn read_all(&self, mut filter: ListFilter) -> Result<Vec<Project>> {
        let mut projects = Vec::new();
        filter.limit = PAGE;
        loop {
            let page = Page::of(self.read(&filter).await?, PAGE as usize);
            projects.extend(page.projects);
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => return Ok(projects),
            }
        }
    }

    /// Every project in one of these states: state after state, each ordered by ref.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn projects_in(&self, states: &[ProjectStatus]) -> Result<Vec<Project>> {
        let mut projects = Vec::new();
        for status in states {
            projects.extend(self.all_projects(ListFilter { status: Some(*status), ..ListFilter::default() }).await?);
        }
        Ok(projects)
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
}

fn one(row: &AnyRow) -> Result<Project> {
    let status: String = row.get("status");
    Ok(Project {
        id: parse(ProjectRef::parse(row.get("id")))?,
        number: row.get::<Option<i64>, _>("number").unwrap_or_default(),
        name: row.get("name"),
        organization_id: row.get("organization_id"),
        region: row.get("region"),
        status: word("projects.status", &status, ProjectStatus::from_word(&status))?,
        generation: row.get("generation"),
        template_set: row.get("template_set"),
        image_set: row.get("image_set"),
        without: parse(serde_json::from_str(row.get("services_off")))?,
        plugins: parse(serde_json::from_str(row.get("plugins")))?,
        subnet: row.get::<Option<String>, _>("subnet").unwrap_or_default(),
        ports: ports(row.get::<Option<&str>, _>("ports").unwrap_or_default())?,
        resources: super::budgets::read(row),
        last_error: last_error(row)?,
        stack_operation: row.get::<Option<String>, _>("stack_operation").map(|id| parse(OperationId::parse(&id))).transpose()?,
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        activated_at: row.get("activated_at"),
        deleted_at: row.get("deleted_at"),
    })
}

/// A project with its subnet and its ports is one row of one statement, `api 54000,db 54001`: what is read belongs together,
/// and a project is one question to the store and not two.
fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!(
        "SELECT p.*, s.subnet AS subnet, (SELECT string_agg(o.name || ' ' || CAST(o.port AS TEXT), ',' ORDER BY o.name) \
         FROM ports o WHERE o.project_id = p.id) AS ports FROM projects p LEFT JOIN subnets s ON s.project_id = p.id {rest}"
    ))
}

/// The ports of that row.
fn ports(text: &str) -> Result<Vec<(String, u16)>> {
    let pair = |pair: &str| -> Result<(String, u16)> {
        let (name, port) = pair.split_once(' ').unwrap_or((pair, ""));
        Ok((name.to_owned(), parse(port.parse::<u16>())?))
    };
    text.split_terminator(',').map(pair).collect()
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

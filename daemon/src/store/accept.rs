//! Accepting a create, a retry or a delete: one transaction each, so that nothing is half accepted.

use sqlx::Row;

use super::{NewOperation, Result, Store, StoreError, Tx};
use crate::domain::{PluginChoices, ProjectRef, ProjectStatus, Resources, ServiceName, UnixMillis};

/// Everything a create needs to exist from its first moment on.
pub struct NewProject {
    /// The ref.
    pub id: ProjectRef,
    /// The name.
    pub name: String,
    /// Slug of the organisation.
    pub organization_id: String,
    /// The region.
    pub region: String,
    /// The template set.
    pub template_set: String,
    /// The image set.
    pub image_set: String,
    /// Services of the template set that are off.
    pub without: Vec<ServiceName>,
    /// What was chosen of the plugins.
    pub plugins: PluginChoices,
    /// What it may use.
    pub resources: Resources,
    /// Port name and host port.
    pub ports: Vec<(String, u16)>,
    /// The /27.
    pub subnet: String,
    /// Secret name and sealed value.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Id of the key they are sealed under.
    pub key_id: String,
    /// Who asks.
    pub caller: String,
    /// Hash of the Idempotency-Key and of the body, if one was sent.
    pub idempotency: Option<(String, String)>,
}

/// What became of a create with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is new.
    New,
    /// The same key and body were accepted before: this project.
    Before(ProjectRef),
    /// The same key came with another body.
    OtherBody,
}

/// What an engine has reserved or keeps resting.
#[derive(Debug, Default)]
pub struct Taken {
    /// Host ports.
    pub ports: Vec<u16>,
    /// Subnets.
    pub subnets: Vec<String>,
}

impl Store {
    /// Inserts project, ports, subnet, sealed secrets, idempotency key and operation, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Clash`] with `Port` or `Subnet` when somebody was faster: choose again.
    pub async fn accept_create(&self, project: &NewProject, operation: &NewOperation, now: UnixMillis) -> Result<Accepted> {
        let mut tx = self.begin().await?;
        if let Some((key, body)) = &project.idempotency
            && let Some(before) = find_key(&mut tx, &project.caller, key, body).await?
        {
            return Ok(before);
        }
        super::organizations::there(&mut tx, &project.organization_id).await?;
        let engine = engine_of(&mut tx, &project.region).await?;
        sqlx::query(
            "INSERT INTO projects (id, name, organization_id, region, status, generation, template_set, image_set, \
             next_event, created_at, updated_at, services_off, plugins, number) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9, $10, $11, (SELECT COALESCE(MAX(number), 0) + 1 FROM projects))",
        )
        .bind(project.id.as_str())
        .bind(&project.name)
        .bind(&project.organization_id)
        .bind(&project.region)
        .bind(ProjectStatus::Creating.as_str())
        .bind(operation.generation)
        .bind(&project.template_set)
        .bind(&project.image_set)
        .bind(now)
        .bind(super::parse(serde_json::to_string(&project.without))?)
        .bind(super::parse(serde_json::to_string(&project.plugins))?)
        .execute(&mut *tx)
        .await?;
        super::budgets::write(&mut tx, &project.id, &project.resources, now).await?;
        for (name, port) in &project.ports {
            sqlx::query("INSERT INTO ports (engine_id, port, name, project_id) VALUES ($1, $2, $3, $4)")
                .bind(&engine)
                .bind(i64::from(*port))
                .bind(name)
                .bind(project.id.as_str())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("INSERT INTO subnets (engine_id, subnet, project_id) VALUES ($1, $2, $3)")
            .bind(&engine)
            .bind(&project.subnet)
            .bind(project.id.as_str())
            .execute(&mut *tx)
            .await?;
        for (name, sealed) in &project.secrets {
            sqlx::query("INSERT INTO secrets (project_id, name, key_id, sealed) VALUES ($1, $2, $3, $4)")
                .bind(project.id.as_str())
                .bind(name)
                .bind(&project.key_id)
                .bind(sealed)
                .execute(&mut *tx)
                .await?;
        }
        if let Some((key, body)) = &project.idempotency {
            sqlx::query(
                "INSERT INTO idempotency_keys (caller, key_hash, body_hash, project_id, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&project.caller)
            .bind(key)
            .bind(body)
            .bind(project.id.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        operation.insert(&mut tx, now).await?;
        tx.commit().await?;
        Ok(Accepted::New)
    }

    /// The project an idempotency key already made, before anything is reserved for a second one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn idempotent_create(&self, caller: &str, key: &str, body: &str) -> Result<Accepted> {
        let mut tx = self.begin().await?;
        Ok(find_key(&mut tx, caller, key, body).await?.unwrap_or(Accepted::New))
    }

    /// Moves a project into a transition and inserts the operation that carries it out.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the project is in none of the `allowed` states;
    /// [`StoreError::Clash`] with `UnfinishedOperation` when another operation runs.
    pub async fn accept_operation(&self, operation: &NewOperation, allowed: &[ProjectStatus], now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        enter_transition(&mut tx, operation, allowed, None, now).await?;
        operation.insert(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Moves the project into the operation's transition, if it stands where it may.
pub(super) async fn enter_transition(
    tx: &mut Tx,
    operation: &NewOperation,
    allowed: &[ProjectStatus],
    generation: Option<i64>,
    now: UnixMillis,
) -> Result<()> {
    let row = sqlx::query("SELECT status, generation FROM projects WHERE id = $1")
        .bind(operation.project.as_str())
        .fetch_one(&mut **tx)
        .await?;
    let status: String = row.get(0);
    let moved = generation.is_some_and(|generation| generation != row.get::<i64, _>(1));
    if moved || !allowed.iter().any(|state| state.as_str() == status) {
        return Err(StoreError::Transition(status));
    }
    sqlx::query("UPDATE projects SET status = $2, generation = $3, updated_at = $4 WHERE id = $1")
        .bind(operation.project.as_str())
        .bind(operation.kind.transit().as_str())
        .bind(operation.generation)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn find_key(tx: &mut Tx, caller: &str, key: &str, body: &str) -> Result<Option<Accepted>> {
    let row = sqlx::query("SELECT body_hash, project_id FROM idempotency_keys WHERE caller = $1 AND key_hash = $2")
        .bind(caller)
        .bind(key)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.get::<String, _>(0) == body {
        let project = super::parse(ProjectRef::parse(row.get(1)))?;
        Ok(Some(Accepted::Before(project)))
    } else {
        Ok(Some(Accepted::OtherBody))
    }
}

pub(super) async fn engine_of(tx: &mut Tx, region: &str) -> Result<String> {
    let row = sqlx::query("SELECT engine_id FROM regions WHERE name = $1").bind(region).fetch_one(&mut **tx).await?;
    Ok(row.get(0))
}

pub(super) async fn engine_of_project(tx: &mut Tx, project: &ProjectRef) -> Result<String> {
    let row = sqlx::query("SELECT region FROM projects WHERE id = $1").bind(project.as_str()).fetch_one(&mut **tx).await?;
    let region: String = row.get(0);
    engine_of(tx, &region).await
}

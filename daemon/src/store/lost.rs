//! Projects that the store has lost: taken back as a whole, or written down as being deleted. One transaction each, so
//! that a kill leaves a project that is known or one that is not.

use sqlx::Row;

use super::{EventKind, ImagePin, NewOperation, Result, Store, Tx, parse};
use crate::domain::{OperationState, Project, ProjectRef, UnixMillis};

/// A project as it is made known again.
pub struct Adoption {
    /// The row; `stack_operation` is [`Adoption::operation`]'s id.
    pub project: Project,
    /// Secret name and sealed value.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Id of the key they are sealed under.
    pub key_id: String,
    /// The operation that rendered its stack: the pins of its images hang on it.
    pub operation: NewOperation,
    /// The images that its containers are made from.
    pub images: Vec<ImagePin>,
    /// The data of the `status` event that watchers are told.
    pub event: String,
}

/// What a port or a subnet is held by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `port 20000`, `subnet 10.201.0.0/27`.
    pub what: String,
    /// Which project.
    pub project: ProjectRef,
    /// Its name.
    pub name: String,
}

impl Store {
    /// Makes a project known again with everything that a create reserves. What only rests is taken: it never stopped
    /// being this project's.
    ///
    /// # Errors
    /// [`super::StoreError::Clash`] with `ProjectId` when the ref is known, with `Port` or `Subnet` when another project
    /// holds one ([`Store::holders`] says which).
    pub async fn adopt(&self, adoption: &Adoption, now: UnixMillis) -> Result<()> {
        let project = &adoption.project;
        let mut tx = self.begin().await?;
        insert(&mut tx, project, now).await?;
        let engine = super::accept::engine_of(&mut tx, &project.region).await?;
        for (name, port) in &project.ports {
            sqlx::query("DELETE FROM ports WHERE engine_id = $1 AND port = $2 AND project_id IS NULL")
                .bind(&engine)
                .bind(i64::from(*port))
                .execute(&mut *tx)
                .await?;
            sqlx::query("INSERT INTO ports (engine_id, port, name, project_id) VALUES ($1, $2, $3, $4)")
                .bind(&engine)
                .bind(i64::from(*port))
                .bind(name)
                .bind(project.id.as_str())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("DELETE FROM subnets WHERE engine_id = $1 AND subnet = $2 AND project_id IS NULL")
            .bind(&engine)
            .bind(&project.subnet)
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO subnets (engine_id, subnet, project_id) VALUES ($1, $2, $3)")
            .bind(&engine)
            .bind(&project.subnet)
            .bind(project.id.as_str())
            .execute(&mut *tx)
            .await?;
        for (name, sealed) in &adoption.secrets {
            sqlx::query("INSERT INTO secrets (project_id, name, key_id, sealed) VALUES ($1, $2, $3, $4)")
                .bind(project.id.as_str())
                .bind(name)
                .bind(&adoption.key_id)
                .bind(sealed)
                .execute(&mut *tx)
                .await?;
        }
        adoption.operation.insert(&mut tx, now).await?;
        sqlx::query("UPDATE operations SET state = $2, ended_at = $3 WHERE id = $1")
            .bind(adoption.operation.id.as_str())
            .bind(OperationState::Succeeded.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        for pin in &adoption.images {
            sqlx::query("INSERT INTO operation_images (operation_id, service, reference, digest) VALUES ($1, $2, $3, $4)")
                .bind(adoption.operation.id.as_str())
                .bind(&pin.service)
                .bind(&pin.reference)
                .bind(&pin.digest)
                .execute(&mut *tx)
                .await?;
        }
        super::events::append(&mut tx, &project.id, EventKind::Status, &super::text(&adoption.event), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes down that a project nobody knows is to be deleted, with the operation that does it.
    ///
    /// # Errors
    /// [`super::StoreError::Clash`] with `ProjectId` when the ref is known.
    pub async fn accept_purge(&self, project: &Project, operation: &NewOperation, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        insert(&mut tx, project, now).await?;
        operation.insert(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Which projects hold these ports or this subnet on the region's engine.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn holders(&self, region: &str, ports: &[u16], subnet: &str) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        for port in ports {
            let row = sqlx::query(
                "SELECT p.id, p.name FROM ports o JOIN projects p ON p.id = o.project_id \
                 WHERE o.engine_id = (SELECT engine_id FROM regions WHERE name = $1) AND o.port = $2",
            )
            .bind(region)
            .bind(i64::from(*port))
            .fetch_optional(&self.readers)
            .await?;
            if let Some(row) = row {
                holders.push(Holder {
                    what: format!("port {port}"),
                    project: parse(ProjectRef::parse(row.get(0)))?,
                    name: row.get(1),
                });
            }
        }
        let row = sqlx::query(
            "SELECT p.id, p.name FROM subnets o JOIN projects p ON p.id = o.project_id \
             WHERE o.engine_id = (SELECT engine_id FROM regions WHERE name = $1) AND o.subnet = $2",
        )
        .bind(region)
        .bind(subnet)
        .fetch_optional(&self.readers)
        .await?;
        if let Some(row) = row {
            let project = parse(ProjectRef::parse(row.get(0)))?;
            holders.push(Holder { what: format!("subnet {subnet}"), project, name: row.get(1) });
        }
        Ok(holders)
    }
}

async fn insert(tx: &mut Tx, project: &Project, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "INSERT INTO projects (id, name, organization_id, region, status, generation, template_set, image_set, next_event, \
         created_at, updated_at, activated_at, services_off, stack_operation, plugins, number) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $13, $14, \
         (SELECT COALESCE(MAX(number), 0) + 1 FROM projects))",
    )
    .bind(project.id.as_str())
    .bind(super::text(&project.name))
    .bind(&project.organization_id)
    .bind(&project.region)
    .bind(project.status.as_str())
    .bind(project.generation)
    .bind(&project.template_set)
    .bind(&project.image_set)
    .bind(project.created_at)
    .bind(now)
    .bind(project.activated_at)
    .bind(parse(serde_json::to_string(&project.without))?)
    .bind(project.stack_operation.as_ref().map(|id| id.as_str().to_owned()))
    .bind(parse(serde_json::to_string(&project.plugins))?)
    .execute(&mut **tx)
    .await?;
    super::budgets::write(tx, &project.id, &project.resources, now).await
}

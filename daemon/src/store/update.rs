//! Changing what a project is made from. An update reserves what its stack needs beyond the present one in the same
//! transaction that accepts it; what it is made from changes only when the operation has succeeded.

use super::{NewOperation, Result, Store, StoreError};
use crate::domain::{Project, ProjectStatus, Shape, UnixMillis};

/// What an update needs beyond what the project has. It stays the project's, also when the update fails.
#[derive(Default)]
pub struct Additions {
    /// Port name and host port.
    pub ports: Vec<(String, u16)>,
    /// Secret name and sealed value.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Id of the key they are sealed under.
    pub key_id: String,
    /// Another name for the project.
    pub name: Option<String>,
}

impl Store {
    /// Accepts an update made for this generation of the project, and reserves what it adds.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the project is in none of the `allowed` states or of another generation;
    /// [`StoreError::Clash`] with `Port` when somebody was faster, with `UnfinishedOperation` when another operation runs.
    pub async fn accept_update(
        &self,
        operation: &NewOperation,
        adds: &Additions,
        allowed: &[ProjectStatus],
        now: UnixMillis,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let generation = operation.generation - 1;
        super::accept::enter_transition(&mut tx, operation, allowed, Some(generation), now).await?;
        let engine = super::accept::engine_of_project(&mut tx, &operation.project).await?;
        for (name, port) in &adds.ports {
            sqlx::query("INSERT INTO ports (engine_id, port, name, project_id) VALUES ($1, $2, $3, $4)")
                .bind(&engine)
                .bind(i64::from(*port))
                .bind(name)
                .bind(operation.project.as_str())
                .execute(&mut *tx)
                .await?;
        }
        for (name, sealed) in &adds.secrets {
            sqlx::query("INSERT INTO secrets (project_id, name, key_id, sealed) VALUES ($1, $2, $3, $4)")
                .bind(operation.project.as_str())
                .bind(name)
                .bind(&adds.key_id)
                .bind(sealed)
                .execute(&mut *tx)
                .await?;
        }
        if let Some(name) = &adds.name {
            sqlx::query("UPDATE projects SET name = $2 WHERE id = $1")
                .bind(operation.project.as_str())
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        operation.insert(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes down what needs no operation: the name, and what the project is made from where its containers are the same
    /// for it, or where there are none.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the project has moved on since it was read.
    pub async fn describe(&self, project: &Project, name: Option<&str>, shape: Option<&Shape>, now: UnixMillis) -> Result<()> {
        let without = shape.map(|shape| super::parse(serde_json::to_string(&shape.without))).transpose()?;
        let plugins = shape.map(|shape| super::parse(serde_json::to_string(&shape.plugins))).transpose()?;
        let query = sqlx::query(
            "UPDATE projects SET name = COALESCE($2, name), template_set = COALESCE($3, template_set), \
             image_set = COALESCE($4, image_set), services_off = COALESCE($5, services_off), \
             plugins = COALESCE($9, plugins), updated_at = $6 \
             WHERE id = $1 AND status <> 'DELETED' \
             AND ($3 IS NULL OR (status = $7 AND generation = $8 AND plugins = $10 AND services_off = $11))",
        )
        .bind(project.id.as_str())
        .bind(name)
        .bind(shape.map(|shape| &shape.template_set))
        .bind(shape.map(|shape| &shape.image_set))
        .bind(without)
        .bind(now)
        .bind(project.status.as_str())
        .bind(project.generation)
        .bind(plugins)
        .bind(super::parse(serde_json::to_string(&project.plugins))?)
        .bind(super::parse(serde_json::to_string(&project.without))?);
        if self.write(query).await? == 1 {
            Ok(())
        } else {
            Err(StoreError::Transition(format!("project {} has moved on", project.id)))
        }
    }
}

//! Ports and subnets: unique per engine by the primary key, whatever happens above.

use sqlx::Row;

use super::{Again, Result, Store, Taken, Tx};
use crate::domain::{ProjectRef, UnixMillis};

impl Store {
    /// Everything reserved on the region's engine, and everything released after `rested_since`.
    /// Rows that have rested are forgotten.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn taken(&self, region: &str, rested_since: UnixMillis) -> Result<Taken> {
        let mut tx = self.begin().await?;
        let engine = super::accept::engine_of(&mut tx, region).await?;
        for table in ["DELETE FROM ports WHERE released_at < $1", "DELETE FROM subnets WHERE released_at < $1"] {
            sqlx::query(table).bind(rested_since).execute(&mut *tx).await?;
        }
        let ports = sqlx::query("SELECT port FROM ports WHERE engine_id = $1").bind(&engine).fetch_all(&mut *tx).await?;
        let subnets = sqlx::query("SELECT subnet FROM subnets WHERE engine_id = $1").bind(&engine).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let ports = ports.iter().map(|row| super::parse(u16::try_from(row.get::<i64, _>(0))));
        Ok(Taken { ports: ports.collect::<Result<_>>()?, subnets: subnets.iter().map(|row| row.get(0)).collect() })
    }

    /// Gives a project another port in place of one that something else holds, and rewinds the operation that needs
    /// it: after a kill between the two it would go on with the old one. The old port rests.
    ///
    /// # Errors
    /// [`super::StoreError::Clash`] with `Port` when the new one was taken meanwhile.
    pub async fn replace_port(
        &self,
        project: &ProjectRef,
        name: &str,
        port: u16,
        again: &Again<'_>,
        now: UnixMillis,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT engine_id FROM ports WHERE project_id = $1 AND name = $2")
            .bind(project.as_str())
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        let engine: String = row.get(0);
        sqlx::query("UPDATE ports SET project_id = NULL, released_at = $3 WHERE project_id = $1 AND name = $2")
            .bind(project.as_str())
            .bind(name)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO ports (engine_id, port, name, project_id) VALUES ($1, $2, $3, $4)")
            .bind(&engine)
            .bind(i64::from(port))
            .bind(name)
            .bind(project.as_str())
            .execute(&mut *tx)
            .await?;
        again.mark(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Gives a project another subnet in place of one that the engine refused, and rewinds the operation that needs
    /// it. The old subnet rests.
    ///
    /// # Errors
    /// [`super::StoreError::Clash`] with `Subnet` when the new one was taken meanwhile.
    pub async fn replace_subnet(&self, project: &ProjectRef, subnet: &str, again: &Again<'_>, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        let row =
            sqlx::query("SELECT engine_id FROM subnets WHERE project_id = $1").bind(project.as_str()).fetch_one(&mut *tx).await?;
        let engine: String = row.get(0);
        sqlx::query("UPDATE subnets SET project_id = NULL, released_at = $2 WHERE project_id = $1")
            .bind(project.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO subnets (engine_id, subnet, project_id) VALUES ($1, $2, $3)")
            .bind(&engine)
            .bind(subnet)
            .bind(project.as_str())
            .execute(&mut *tx)
            .await?;
        again.mark(&mut tx, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

pub(super) async fn release(tx: &mut Tx, project: &ProjectRef, now: UnixMillis) -> Result<()> {
    for table in [
        "UPDATE ports SET project_id = NULL, released_at = $2 WHERE project_id = $1",
        "UPDATE subnets SET project_id = NULL, released_at = $2 WHERE project_id = $1",
    ] {
        sqlx::query(table).bind(project.as_str()).bind(now).execute(&mut **tx).await?;
    }
    sqlx::query("DELETE FROM secrets WHERE project_id = $1").bind(project.as_str()).execute(&mut **tx).await?;
    Ok(())
}

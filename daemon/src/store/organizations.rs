//! Organisations.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::people::set_role;
use super::{Result, Store, StoreError, Tx};
use crate::domain::{Organization, Role, UnixMillis};

impl Store {
    /// Makes an organisation with its first owner, if a user makes it.
    ///
    /// # Errors
    /// [`StoreError::Clash`] when the slug is taken, by a deleted one too.
    pub async fn insert_organization(&self, id: &str, name: &str, owner: Option<&str>, now: UnixMillis) -> Result<Organization> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO organizations (id, name, created_at, number) \
             VALUES ($1, $2, $3, (SELECT COALESCE(MAX(number), 0) + 1 FROM organizations)) RETURNING number",
        )
        .bind(id)
        .bind(name)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        if let Some(owner) = owner {
            set_role(&mut tx, id, owner, Role::Owner, now).await?;
        }
        tx.commit().await?;
        Ok(Organization { id: id.to_owned(), number: row.get(0), name: name.to_owned(), created_at: now })
    }

    /// Every organisation that is not deleted, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        let rows = sqlx::query("SELECT * FROM organizations WHERE deleted_at IS NULL ORDER BY number");
        Ok(rows.fetch_all(&self.readers).await?.iter().map(organization).collect())
    }

    /// Another name; whether it is there.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rename_organization(&self, id: &str, name: &str) -> Result<bool> {
        let statement =
            sqlx::query("UPDATE organizations SET name = $2 WHERE id = $1 AND deleted_at IS NULL").bind(id).bind(name);
        Ok(self.write(statement).await? == 1)
    }

    /// Deletes an organisation: its people, invitations and tokens lose it at once, its slug stays taken.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when it has projects.
    pub async fn delete_organization(&self, id: &str, now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        let project = "SELECT 1 FROM projects WHERE organization_id = $1 AND status <> 'DELETED' LIMIT 1";
        if sqlx::query(project).bind(id).fetch_optional(&mut *tx).await?.is_some() {
            return Err(StoreError::Transition("it has projects".to_owned()));
        }
        for sql in [
            "UPDATE organizations SET deleted_at = $2 WHERE id = $1",
            "UPDATE tokens SET revoked_at = $2 WHERE organization_id = $1 AND user_id IS NULL AND revoked_at IS NULL",
            "UPDATE invitations SET ended_at = $2 WHERE organization_id = $1 AND ended_at IS NULL",
        ] {
            sqlx::query(sql).bind(id).bind(now).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM members WHERE organization_id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await
    }
}

/// Nothing begins in an organisation that is gone.
pub(super) async fn there(tx: &mut Tx, id: &str) -> Result<()> {
    let row = sqlx::query("SELECT 1 FROM organizations WHERE id = $1 AND deleted_at IS NULL").bind(id);
    match row.fetch_optional(&mut **tx).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Transition(format!("the organisation `{id}` is not there any more"))),
    }
}

fn organization(row: &AnyRow) -> Organization {
    Organization { id: row.get("id"), number: row.get("number"), name: row.get("name"), created_at: row.get("created_at") }
}

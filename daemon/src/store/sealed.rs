//! Sealed secrets: the store keeps bytes it cannot read.

use sqlx::Row;

use super::{Result, Store, StoreError};
use crate::domain::ProjectRef;

/// One sealed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Whose it is.
    pub project: ProjectRef,
    /// Its name.
    pub name: String,
    /// The key it is sealed under.
    pub key_id: String,
    /// What only that key opens.
    pub bytes: Vec<u8>,
}

impl Store {
    /// A project's secrets: name, key id, sealed bytes.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn sealed_secrets(&self, project: &ProjectRef) -> Result<Vec<(String, String, Vec<u8>)>> {
        let rows = sqlx::query("SELECT name, key_id, sealed FROM secrets WHERE project_id = $1 ORDER BY name")
            .bind(project.as_str())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    }

    /// Every sealed secret of every project.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn all_sealed(&self) -> Result<Vec<Sealed>> {
        let rows = sqlx::query("SELECT project_id, name, key_id, sealed FROM secrets ORDER BY project_id, name")
            .fetch_all(&self.readers)
            .await?;
        let sealed = rows.iter().map(|row| {
            let project = super::parse(ProjectRef::parse(row.get(0)))?;
            Ok(Sealed { project, name: row.get(1), key_id: row.get(2), bytes: row.get(3) })
        });
        sealed.collect()
    }

    /// The sealed hashing key, once the master key was changed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn hash_key(&self) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT hash_key FROM installation").fetch_optional(&self.readers).await?;
        Ok(row.and_then(|row| row.get(0)))
    }

    /// Puts every secret under another key, and the installation with it: all or nothing, so that no row is ever under a
    /// key that the installation does not name. `sealed` carries the new key's id.
    ///
    /// # Errors
    /// [`StoreError::Transition`] when the installation is not under `from` any more, or the rows are not the ones that
    /// were read: nothing has changed then.
    pub async fn reseal(&self, from: &str, to: &str, hash_key: &[u8], sealed: &[Sealed]) -> Result<()> {
        let mut tx = self.begin().await?;
        let moved = sqlx::query("UPDATE installation SET key_id = $2, hash_key = $3 WHERE key_id = $1")
            .bind(from)
            .bind(to)
            .bind(hash_key)
            .execute(&mut *tx)
            .await?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Transition(format!("the installation is not under key {from}")));
        }
        for row in sealed {
            sqlx::query("UPDATE secrets SET key_id = $4, sealed = $5 WHERE project_id = $1 AND name = $2 AND key_id = $3")
                .bind(row.project.as_str())
                .bind(&row.name)
                .bind(from)
                .bind(to)
                .bind(&row.bytes)
                .execute(&mut *tx)
                .await?;
        }
        let left = sqlx::query("SELECT COUNT(*) FROM secrets WHERE key_id <> $1").bind(to).fetch_one(&mut *tx).await?;
        if left.get::<i64, _>(0) != 0 {
            return Err(StoreError::Transition("secrets came in while they were being sealed anew".to_owned()));
        }
        tx.commit().await?;
        Ok(())
    }
}

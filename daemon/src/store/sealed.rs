//! Sealed secrets: the store keeps bytes it cannot read.

use sqlx::Row;

use super::{Result, Store};
use crate::domain::ProjectRef;

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
}

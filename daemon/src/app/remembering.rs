//! Where plugins remember: rows of the store, within the bounds that the contract names (`memory` in imports.wit).

use async_trait::async_trait;

use crate::plugin_host::hooks::{AccessError, Memory, MemoryOf};
use crate::store::{Store, StoreError};

const KEYS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 128;
const BYTES_MAX: usize = 64 * 1024;

/// Over this store.
pub struct Remembering(pub Store);

#[async_trait]
impl Memory for Remembering {
    async fn get(&self, of: &MemoryOf, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        let all = self.0.remembered(&of.project, &of.plugin).await.map_err(failed)?;
        Ok(all.into_iter().find(|(name, _)| name == key).map(|(_, value)| value))
    }

    async fn set(&self, of: &MemoryOf, key: &str, value: Vec<u8>) -> Result<(), AccessError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
            return Err(AccessError::Denied(format!("a key has 1 to {KEY_BYTES_MAX} bytes and no NUL")));
        }
        match self.0.remember(&of.project, &of.plugin, (key, &value), (KEYS_MAX, BYTES_MAX)).await.map_err(failed)? {
            true => Ok(()),
            false => Err(AccessError::Denied(format!("at most {KEYS_MAX} keys and {BYTES_MAX} bytes of one project"))),
        }
    }

    async fn delete(&self, of: &MemoryOf, key: &str) -> Result<(), AccessError> {
        // No key holds one, and PostgreSQL takes none.
        if key.contains('\0') {
            return Ok(());
        }
        self.0.forget(&of.project, &of.plugin, key).await.map_err(failed)
    }

    async fn keys(&self, of: &MemoryOf) -> Result<Vec<String>, AccessError> {
        let all = self.0.remembered(&of.project, &of.plugin).await.map_err(failed)?;
        Ok(all.into_iter().map(|(name, _)| name).collect())
    }
}

fn failed(error: StoreError) -> AccessError {
    AccessError::Failed(format!("the store did not answer: {error}"))
}

//! The proof that ends a delete: a listing by label, and nothing in it.

use async_trait::async_trait;

use super::containers::{has_group, remove_left};
use super::{StepContext, StepEffect, StepError};
use crate::backend::ErrorClass;

pub(super) struct Absent;

#[async_trait]
impl StepEffect for Absent {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(context.observed().await?.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let left = context.observed().await?;
        let group = has_group(context).await?;
        if left.is_empty() && !group {
            return Ok("nothing is left on the engine".to_owned());
        }
        let message = format!(
            "{} containers, {} networks, {} volumes and {} control groups are still there",
            left.containers.len(),
            left.networks.len(),
            left.volumes.len(),
            u8::from(group)
        );
        // Something arrived after its kind was removed: a call that an earlier run gave up on. It goes too; the next look
        // proves it.
        remove_left(context).await?;
        for network in left.networks {
            context.parts.backend.remove_network(&network.id).await?;
        }
        for volume in left.volumes {
            context.parts.backend.remove_volume(&volume.name).await?;
        }
        Err(StepError::new(ErrorClass::Retry, "not_gone", message))
    }

    /// Absence is not undone.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

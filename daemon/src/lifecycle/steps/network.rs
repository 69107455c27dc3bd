//! The project's own network, on its own /27.

use async_trait::async_trait;

use super::containers::remove_left;
use super::{StepContext, StepEffect, StepError};
use crate::backend::NetworkSpec;

pub(super) struct Network;

#[async_trait]
impl StepEffect for Network {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.observed().await?.networks.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let stack = context.stack().await?;
        let labels = context.labels(None, String::new());
        context.parts.backend.ensure_network(&NetworkSpec { network: &stack.network, labels }).await?;
        Ok(format!("{} on {}", stack.network.name, stack.network.subnet))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        remove_left(context).await?;
        for network in context.observed().await?.networks {
            context.parts.backend.remove_network(&network.id).await?;
        }
        Ok(())
    }
}

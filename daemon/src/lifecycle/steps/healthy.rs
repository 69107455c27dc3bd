//! All services healthy, twice in a row: a database that has just run its init scripts answers once and then
//! restarts.

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::domain::ServiceName;
use crate::lifecycle::probing;

pub(super) struct Healthy;

#[async_trait]
impl StepEffect for Healthy {
    async fn observe(&self, _: &StepContext) -> Result<bool, StepError> {
        Ok(false)
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let services: Vec<ServiceName> = context.set.spec.services.iter().map(|service| service.name.clone()).collect();
        probing::wait_healthy(context, &services, 2).await?;
        Ok(format!("{} services healthy", services.len()))
    }

    /// Looking leaves nothing behind.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

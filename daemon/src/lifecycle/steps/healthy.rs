//! All services healthy, twice in a row: a database that has just run its init scripts answers once and then
//! restarts.

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::domain::{OperationKind, ServiceName};
use crate::lifecycle::probing;

pub(super) struct Healthy;

#[async_trait]
impl StepEffect for Healthy {
    async fn observe(&self, _: &StepContext) -> Result<bool, StepError> {
        Ok(false)
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let names = context.set.spec.services.iter().map(|service| service.name.clone());
        // What an update did not touch must go on with what it did.
        let all = context.operation.kind == OperationKind::Update;
        let services: Vec<ServiceName> = names.filter(|name| all || context.is_meant(name)).collect();
        probing::wait_healthy(context, &services, 2).await?;
        Ok(format!("{} services healthy", services.len()))
    }

    /// Looking leaves nothing behind.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

//! The containers that an update replaces are removed before its new ones are made, so that nothing old is left when the
//! data is copied, and the names are free. Taken back the other way round: those the update made are removed.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::containers::remove;
use super::{ENDED_AT_ONCE, StepContext, StepEffect, StepError, all_to_the_end};
use crate::backend::ObservedContainer;

pub(super) struct Retired;

#[async_trait]
impl StepEffect for Retired {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(replaced(context).await?.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let containers = replaced(context).await?;
        let (count, mut work) = (containers.len(), Vec::with_capacity(containers.len()));
        for container in containers {
            let service = container.labels.as_ref().and_then(|labels| labels.service.as_ref());
            let grace = service.and_then(|name| context.set.spec.service(name)).map_or(0, |spec| spec.stop_grace_s);
            work.push(remove(context, container.id, grace).boxed());
        }
        all_to_the_end(work, ENDED_AT_ONCE).await?;
        Ok(format!("{count} containers removed"))
    }

    /// What is gone is made again by the step that makes containers.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

async fn replaced(context: &StepContext) -> Result<Vec<ObservedContainer>, StepError> {
    let replaced = context.operation.update.as_ref().map(|update| update.replaced.as_slice()).unwrap_or_default();
    let mut containers = context.observed().await?.containers;
    let is_replaced = |container: &ObservedContainer| {
        let service = container.labels.as_ref().and_then(|labels| labels.service.as_ref());
        service.is_some_and(|name| replaced.contains(name))
    };
    containers.retain(is_replaced);
    Ok(containers)
}

//! The images: pulled before anything is created, pinned by digest for the rest of the operation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::backend::BackendError;
use crate::domain::ServiceName;
use crate::lifecycle::Parts;
use crate::lifecycle::planner::Whose;
use crate::store::ImagePin;

pub(super) struct Images;

#[async_trait]
impl StepEffect for Images {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.parts.store.image_pins(&context.operation.id).await?.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let stack = context.stack().await?;
        let mut digests: BTreeMap<&str, String> = BTreeMap::new();
        let mut pulled = 0;
        let kept = kept(context).await?;
        for (service, spec) in &stack.services {
            if digests.contains_key(spec.image.as_str()) {
                continue;
            }
            let digest = match on_engine(&context.parts, &kept, &spec.image).await? {
                Some(digest) => planned(context, service, &spec.image, digest)?,
                None => {
                    pulled += 1;
                    pull(context, service, &spec.image).await?
                }
            };
            digests.insert(&spec.image, digest);
        }
        let pins = stack.services.iter().map(|(service, spec)| ImagePin {
            service: service.to_string(),
            reference: spec.image.clone(),
            digest: digests[spec.image.as_str()].clone(),
        });
        let pins: Vec<ImagePin> = pins.collect();
        context.parts.store.pin_images(&context.operation.id, &pins).await?;
        Ok(format!("{} images, {pulled} pulled", digests.len()))
    }

    /// Images are shared between projects and stay.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

/// What the project's present images are pinned to. An update leaves alone what it does not name: a tag that has moved
/// meanwhile is no reason to run something else.
pub(in crate::lifecycle) async fn kept(context: &StepContext) -> Result<BTreeMap<String, String>, StepError> {
    let Some(before) = context.project.stack_operation.as_ref().filter(|_| context.whose == Whose::Wanted) else {
        return Ok(BTreeMap::new());
    };
    let pins = context.parts.store.image_pins(before).await?;
    Ok(pins.into_iter().map(|pin| (pin.reference, pin.digest)).collect())
}

/// The digest of this image on the engine: the pinned one as long as the engine has it.
pub(in crate::lifecycle) async fn on_engine(
    parts: &Parts,
    kept: &BTreeMap<String, String>,
    reference: &str,
) -> Result<Option<String>, BackendError> {
    if let Some(pinned) = kept.get(reference)
        && parts.backend.image_digest(pinned).await?.is_some()
    {
        return Ok(Some(pinned.clone()));
    }
    parts.backend.image_digest(reference).await
}

/// An update runs the images that its plan showed.
fn planned(context: &StepContext, service: &ServiceName, reference: &str, digest: String) -> Result<String, StepError> {
    let shown = context.operation.update.as_ref().and_then(|update| update.images.get(reference));
    match shown {
        Some(shown) if *shown != digest => {
            let message = format!("{reference} was {shown} when the plan was made and is {digest} now: make a new plan");
            Err(StepError::permanent("plan_outdated", message).of(service))
        }
        _ => Ok(digest),
    }
}

/// One pull per reference at a time: two creates that need the same image wait for one download.
async fn pull(context: &StepContext, service: &ServiceName, reference: &str) -> Result<String, StepError> {
    let lock = context.parts.pulls.lock_for(reference);
    let _held = lock.lock().await;
    if let Some(digest) = context.parts.backend.image_digest(reference).await? {
        return Ok(digest);
    }
    let latest = Arc::new(Mutex::new(String::new()));
    let sink = {
        let latest = latest.clone();
        move |text: String| *latest.lock().unwrap_or_else(|poison| poison.into_inner()) = text
    };
    let no_progress = Duration::from_secs(context.parts.config.deadlines.pull_no_progress_s);
    let pull = context.parts.backend.pull(reference, no_progress, &sink);
    tokio::pin!(pull);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut told = String::new();
    loop {
        tokio::select! {
            done = &mut pull => return done.map_err(|error| StepError::from(error).of(service)),
            // The engine goes on with what it has begun; images are shared and stay.
            () = context.cancelled.cancelled() => context.go_on()?,
            _ = tick.tick() => {
                let text = latest.lock().unwrap_or_else(|poison| poison.into_inner()).clone();
                if text != told {
                    context.progress(&format!("{reference}: {text}")).await;
                    told = text;
                }
            }
        }
    }
}

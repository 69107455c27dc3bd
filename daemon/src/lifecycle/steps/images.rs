//! The images: pulled before anything is created, pinned by digest for the rest of the operation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::domain::ServiceName;
use crate::store::ImagePin;

pub(super) struct Images;

#[async_trait]
impl StepEffect for Images {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.parts.store.image_pins(&context.operation.id).await?.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let stack = context.stack()?;
        let mut digests: BTreeMap<&str, String> = BTreeMap::new();
        let mut pulled = 0;
        for (service, spec) in &stack.services {
            if digests.contains_key(spec.image.as_str()) {
                continue;
            }
            let digest = match context.parts.backend.image_digest(&spec.image).await? {
                Some(digest) => digest,
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

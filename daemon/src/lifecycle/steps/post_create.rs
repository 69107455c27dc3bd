//! The post-create hooks, once everything is healthy.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{StepContext, StepEffect, StepError, render_context};
use crate::plugin_host::hooks::PostCreateInput;

pub(super) struct PostCreate;

#[async_trait]
impl StepEffect for PostCreate {
    async fn observe(&self, _: &StepContext) -> Result<bool, StepError> {
        Ok(false)
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let mut hook_context = render_context::build(context)?;
        hook_context["sql"] = serde_json::to_value(&context.set.spec.sql).unwrap_or_default();
        let (sender, mut said) = mpsc::unbounded_channel();
        let access = context.reach().with_progress(Arc::new(move |text| drop(sender.send(text))));
        let input = PostCreateInput {
            project: context.project.id.clone(),
            operation: context.operation.id.clone(),
            context: hook_context,
        };
        let call = context.parts.plugins.post_create(&context.operation.plugins, input, Arc::new(access));
        tokio::pin!(call);
        let outcomes = loop {
            tokio::select! {
                outcomes = &mut call => break outcomes?,
                Some(text) = said.recv() => context.progress(&text).await,
            }
        };
        let lines: Vec<String> = outcomes.iter().map(|outcome| format!("{}: {}", outcome.plugin, outcome.summary)).collect();
        Ok(if lines.is_empty() { "no plugin".to_owned() } else { lines.join("; ") })
    }

    /// What a hook did inside the project goes with the project.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

//! The hooks that work on a project: once everything is healthy after a create or a resume, and before a delete.
//!
//! What a post-create plugin did is written down before and after it is called. So after a kill nothing that was done is
//! done again, and what is taken back (on unwinding, on delete) is what was begun, with the code that did it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{StepContext, StepEffect, StepError, render_context};
use crate::backend::ErrorClass;
use crate::domain::OperationKind;
use crate::lifecycle::failpoint::Position;
use crate::plugin_host::hooks::{HookError, ServiceAccess, WorkInput, WorkOutcome};
use crate::plugin_host::{Hook, Worker};
use crate::store::HookOutcome;

/// What is left of a step's time when taking back is given up, so that nothing of the project's own leaks for it: a call
/// waits two minutes for its turn and lasts two more (plugin_host/limits.rs).
const RESERVE: Duration = Duration::from_secs(250);

/// Between what a plugin did and its record.
const CALLED: &str = "post-create.called";

/// How the outcome of a plugin begins that failed and may.
const FAILED: &str = "failed, and it goes on: ";

/// The plugins of one hook, one after the other.
pub(super) struct Work(pub(super) Hook);

#[async_trait]
impl StepEffect for Work {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.parts.store.hook_outcomes(&context.project.id).await?.is_empty())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        if self.0 == Hook::BeforeDelete && context.project.activated_at.is_none() {
            return Ok("it was never healthy".to_owned());
        }
        let workers = match context.parts.plugins.workers(self.0, &context.operation.plugins).await {
            // Code that is nowhere any more cannot keep a project from being deleted.
            Err(error) if self.0 == Hook::BeforeDelete => {
                tracing::warn!(%error, "a before-delete plugin is not called");
                return Ok(format!("not called: {error}"));
            }
            workers => workers?,
        };
        let mut done = Vec::new();
        for worker in &workers {
            done.push(self.one(context, worker).await?);
        }
        Ok(if done.is_empty() { "no plugin".to_owned() } else { done.join("; ") })
    }

    /// Takes back what post-create plugins did, last first.
    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let (parts, project) = (&context.parts, &context.project.id);
        for outcome in parts.store.hook_outcomes(project).await?.into_iter().rev().filter(|outcome| is_meant(context, outcome)) {
            let did = WorkOutcome { changed: outcome.changed, summary: outcome.summary };
            let code = (outcome.plugin.as_str(), outcome.digest.as_str());
            let undone = match input(context) {
                Ok(input) => told(context, |access| parts.plugins.undo(code, &did, input, access)).await,
                Err(_) => Ok(false),
            };
            match undone {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    plugin.id = outcome.plugin,
                    digest = outcome.digest,
                    did = did.summary,
                    "what a plugin did cannot be taken back: its code, or what the project was made from, is gone"
                ),
                Err(error) if error.class() == ErrorClass::Retry && may_wait(context) => return Err(error.into()),
                Err(error) => {
                    let error = context.secrets.redact(&error.to_string());
                    tracing::warn!(
                        plugin.id = outcome.plugin,
                        error,
                        did = did.summary,
                        "a plugin did not take back what it did"
                    );
                }
            }
            match applied(context) {
                true => parts.store.hook_restored(project, &outcome.plugin).await?,
                false => parts.store.hook_undone(project, &outcome.plugin).await?,
            }
        }
        Ok(())
    }
}

impl Work {
    async fn one(&self, context: &StepContext, worker: &Worker) -> Result<String, StepError> {
        let (parts, project, name) = (&context.parts, &context.project.id, worker.name());
        let recorded = self.0 == Hook::PostCreate;
        if recorded {
            let outcomes = parts.store.hook_outcomes(project).await?;
            // Applied on purpose, another version of it works again, or one that failed; else what was done once is done.
            let other = |outcome: &HookOutcome| outcome.digest != worker.digest() || outcome.summary.starts_with(FAILED);
            let again = |outcome: &HookOutcome| applied(context) && other(outcome);
            let done = outcomes.into_iter().find(|outcome| outcome.plugin == name && outcome.done && !again(outcome));
            if let Some(before) = done {
                return Ok(format!("{name}: {}", before.summary));
            }
            parts.store.hook_begins(project, name, worker.digest(), parts.clock.now()).await?;
        }
        let outcome = match input(context) {
            Ok(input) => {
                let did = told(context, |access| parts.plugins.work(worker, input, access)).await;
                if let Err(HookError::RetryAfter { after_ms, .. }) = &did
                    && !worker.may_fail()
                    && !self.is_over(context)
                {
                    wait(context, Duration::from_millis(*after_ms)).await;
                }
                did.map_err(StepError::from)
            }
            Err(error) => Err(error),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) if worker.may_fail() || self.is_over(context) => {
                let message = context.secrets.redact(&error.failure.message);
                tracing::warn!(plugin.id = name, error = message, "a {} plugin failed, and it goes on", self.0.as_str());
                // How far it came is not known: there may be something to take back.
                WorkOutcome { changed: true, summary: format!("{FAILED}{message}") }
            }
            Err(error) => return Err(error),
        };
        let summary = context.secrets.redact(&outcome.summary);
        if recorded {
            parts.failpoints.pass(CALLED, Position::AfterEffect).await?;
            parts.store.hook_ended(project, name, outcome.changed, &summary, parts.clock.now()).await?;
        }
        Ok(format!("{name}: {summary}"))
    }

    /// A delete waits for a plugin that fails, until its deadline (`deadlines.delete_s`): then it goes on without.
    fn is_over(&self, context: &StepContext) -> bool {
        self.0 == Hook::BeforeDelete && context.parts.clock.now() >= context.operation.deadline_at
    }
}

fn input(context: &StepContext) -> Result<WorkInput, StepError> {
    let mut told = render_context::build(context)?;
    told["sql"] = serde_json::to_value(&context.set.spec.sql).unwrap_or_default();
    Ok(WorkInput {
        project: context.project.id.clone(),
        operation: context.operation.id.clone(),
        context: told,
        choices: context.project.plugins.clone(),
    })
}

fn applied(context: &StepContext) -> bool {
    context.operation.kind == OperationKind::Apply
}

/// Everything is taken back, but by an apply: of that, what it did itself.
fn is_meant(context: &StepContext, outcome: &HookOutcome) -> bool {
    let its_own = || context.operation.plugins.iter().any(|(name, _)| *name == outcome.plugin);
    !applied(context) || its_own() && outcome.at >= context.operation.created_at
}

/// As long as a plugin wants before it is called again, and no longer than half of what the step has left.
async fn wait(context: &StepContext, wanted: Duration) {
    tokio::select! {
        () = tokio::time::sleep(wanted.min(context.time_left() / 2)) => {}
        () = context.cancelled.cancelled() => {}
        () = context.forced.cancelled() => {}
    }
}

fn may_wait(context: &StepContext) -> bool {
    context.time_left() > RESERVE && !context.forced.is_cancelled()
}

/// Calls a plugin and shows what it says of its progress.
async fn told<T, F>(context: &StepContext, call: impl FnOnce(Arc<dyn ServiceAccess>) -> F) -> Result<T, HookError>
where
    F: Future<Output = Result<T, HookError>>,
{
    let (sender, mut said) = mpsc::unbounded_channel();
    let access = context.reach().with_progress(Arc::new(move |text| drop(sender.send(text))));
    let call = call(Arc::new(access));
    tokio::pin!(call);
    loop {
        tokio::select! {
            ended = &mut call => return ended,
            Some(text) = said.recv() => context.progress(&text).await,
        }
    }
}

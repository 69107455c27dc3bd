//! The hooks that work on a project, inside of an operation: post-create, before-delete and after-resume. The operation
//! asks one plugin after the other and writes down in between what each did, so that a kill loses and repeats nothing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::adapt::Outcome;
use super::call;
use super::grants::Scope;
use super::hooks::{HookError, Pins, ServiceAccess, WorkInput, WorkOutcome};
use super::host::{PluginHost, span};
use super::limits::{Hook, LimitReached};
use super::load::{Bound, Plugin};
use super::manifest::OnFailure;
use super::state::Surroundings;
use crate::domain::PluginChoices;

/// A plugin that has something to do in an operation.
pub struct Worker {
    plugin: Arc<Plugin>,
    bound: Bound,
}

impl Worker {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.plugin.manifest.name
    }

    /// Its digest.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// Whether the operation goes on when it fails.
    pub fn may_fail(&self) -> bool {
        self.bound.binding.on_failure == OnFailure::Ignore
    }
}

impl PluginHost {
    /// The plugins of a hook that an operation is to ask, in their order.
    ///
    /// # Errors
    /// [`HookError::PinMissing`] when the code it began with is nowhere any more.
    pub async fn workers(&self, hook: Hook, pins: &Pins) -> Result<Vec<Worker>, HookError> {
        Ok(self.pinned(hook, pins).await?.into_iter().map(|(plugin, bound)| Worker { plugin, bound }).collect())
    }

    /// Has one of them do its work.
    ///
    /// # Errors
    /// What went wrong in it, also when the operation may go on.
    pub async fn work(
        &self,
        worker: &Worker,
        input: WorkInput,
        access: Arc<dyn ServiceAccess>,
    ) -> Result<WorkOutcome, HookError> {
        let Worker { plugin, bound } = worker;
        let hook = bound.callee.hook;
        self.check_merged(plugin, &input.choices)?;
        let (span, surroundings) = self.around(plugin, hook, &input, access);
        let context = input.context.to_string();
        let outcome = call::call(&self.loader.engine, &bound.callee, surroundings, span, move |contract, store| match hook {
            Hook::BeforeDelete => contract.before_delete(store, context),
            Hook::AfterResume => contract.after_resume(store, context),
            _ => contract.run(store, context),
        });
        let Outcome { changed, summary } = outcome.await?;
        if summary.len() > bound.callee.limits.result_bytes {
            return Err(LimitReached::result(summary.len(), &bound.callee.limits).of(worker.name(), hook));
        }
        Ok(WorkOutcome { changed, summary })
    }

    /// Has a post-create plugin take back what it did. `false`: the code that did it is nowhere any more.
    ///
    /// # Errors
    /// What went wrong in it.
    pub async fn undo(
        &self,
        (name, digest): (&str, &str),
        outcome: &WorkOutcome,
        input: WorkInput,
        access: Arc<dyn ServiceAccess>,
    ) -> Result<bool, HookError> {
        let Some(plugin) = self.pinned_plugin(name, digest).await else { return Ok(false) };
        let Some(bound) = plugin.bound_to(Hook::PostCreate) else { return Ok(false) };
        let (span, surroundings) = self.around(&plugin, Hook::PostCreate, &input, access);
        let (context, outcome) =
            (input.context.to_string(), Outcome { changed: outcome.changed, summary: outcome.summary.clone() });
        let undone = call::call(&self.loader.engine, &bound.callee, surroundings, span, move |contract, store| {
            contract.undo(store, context, outcome)
        });
        undone.await.map(|()| true)
    }

    fn around(
        &self,
        plugin: &Plugin,
        hook: Hook,
        input: &WorkInput,
        access: Arc<dyn ServiceAccess>,
    ) -> (tracing::Span, Surroundings) {
        let span = span(plugin, hook, input.project.as_str(), input.operation.as_str());
        let surroundings = Surroundings {
            access: Some(access),
            scope: Scope::Listed { http: plugin.manifest.http.clone(), sign: plugin.manifest.sign.clone() },
            secrets: plugin.manifest.secrets.clone(),
            project: Some(input.project.clone()),
            options: self.options(&plugin.manifest.name, &input.choices),
            memory: self.memory.clone(),
            egress: self.way_outside(plugin),
            ..Surroundings::none()
        };
        (span, surroundings)
    }

    /// What a plugin is told of options: the operator's, and over them those of the project.
    pub(super) fn options(&self, plugin: &str, choices: &PluginChoices) -> String {
        Value::Object(self.merged(plugin, choices)).to_string()
    }

    /// Whether the version that is about to be called takes what was chosen for another.
    ///
    /// # Errors
    /// [`HookError::InvalidInput`] naming the place.
    pub(super) fn check_merged(&self, plugin: &Plugin, choices: &PluginChoices) -> Result<(), HookError> {
        let (name, options) = (&plugin.manifest.name, self.merged(&plugin.manifest.name, choices));
        if options.is_empty() {
            return Ok(());
        }
        plugin
            .check_options(&options)
            .map_err(|problem| HookError::InvalidInput { plugin: name.clone(), message: format!("its options: {problem}") })
    }

    fn merged(&self, plugin: &str, choices: &PluginChoices) -> Map<String, Value> {
        let mut options = self.operators_options.get(plugin).cloned().unwrap_or_default();
        options.extend(choices.options(plugin));
        options
    }

    /// Whether what somebody chose is there to be chosen, and such as the plugins take.
    ///
    /// # Errors
    /// The plugin, and a sentence naming what is wrong.
    pub fn check_choices(&self, choices: &PluginChoices) -> Result<(), (String, String)> {
        let now = self.current();
        for (name, _) in choices.iter() {
            let Some(plugin) = now.plugin(name) else {
                let known: Vec<&str> = now.plugins().iter().map(|plugin| plugin.manifest.name.as_str()).collect();
                return Err((name.to_owned(), format!("no plugin `{name}` runs here: use {}", known.join(", "))));
            };
            if !plugin.manifest.is_a_projects_choice() {
                return Err((name.to_owned(), format!("`{name}` is the operator's: projects have no say in its hooks")));
            }
            plugin.check_options(&self.merged(name, choices)).map_err(|problem| (name.to_owned(), problem))?;
        }
        Ok(())
    }
}

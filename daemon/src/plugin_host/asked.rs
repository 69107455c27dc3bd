//! The hooks that stand outside of an operation: `admit` looks at what somebody asks for, `notify` hears what the webhook
//! hears. Both are the operator's: no project switches them off.

use serde_json::{Map, Value};

use super::adapt::Decision;
use super::call;
use super::hooks::HookError;
use super::host::{PluginHost, span};
use super::limits::{Hook, LimitReached};
use super::load::{Bound, Plugin};
use super::manifest::OnFailure;
use super::state::Surroundings;
use crate::domain::{PluginChoices, ProjectRef};

impl PluginHost {
    /// Shows a request to every admit plugin in its order; each sees what those before it made of it. `request` is the
    /// contract's object; what comes back is its `wanted`.
    ///
    /// # Errors
    /// [`HookError::Refused`] with the words of the first one that refuses, otherwise what went wrong in one whose failure
    /// is not to be ignored.
    pub async fn admit(&self, mut request: Value) -> Result<Map<String, Value>, HookError> {
        for (plugin, bound) in self.current().bound_to(Hook::Admit) {
            let name = &plugin.manifest.name;
            match self.ask_admission(&plugin, &bound, request.to_string()).await {
                Ok(Some(amended)) => {
                    if let Some(wanted) = request["wanted"].as_object_mut() {
                        wanted.extend(amended);
                    }
                }
                Ok(None) => {}
                Err(error @ HookError::Refused { .. }) => return Err(error),
                Err(error) if bound.binding.on_failure == OnFailure::Ignore => {
                    tracing::warn!(plugin.id = name, %error, "an admit plugin failed, which its manifest ignores");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(request["wanted"].as_object().cloned().unwrap_or_default())
    }

    async fn ask_admission(
        &self,
        plugin: &Plugin,
        bound: &Bound,
        request: String,
    ) -> Result<Option<Map<String, Value>>, HookError> {
        let name = &plugin.manifest.name;
        let surroundings = Surroundings { options: self.options(name, &PluginChoices::default()), ..Surroundings::none() };
        let decision = call::call(
            &self.loader.engine,
            &bound.callee,
            surroundings,
            span(plugin, Hook::Admit, "", ""),
            move |contract, store| contract.admit(store, request),
        );
        let decision = decision.await?;
        let (Decision::Amend(words) | Decision::Refuse(words)) = &decision else { return Ok(None) };
        if words.len() > bound.callee.limits.result_bytes {
            return Err(LimitReached::result(words.len(), &bound.callee.limits).of(name, Hook::Admit));
        }
        match decision {
            Decision::Refuse(message) => Err(HookError::Refused { plugin: name.clone(), message }),
            Decision::Amend(text) => serde_json::from_str(&text).map(Some).map_err(|error| HookError::Failed {
                plugin: name.clone(),
                message: format!("what it amends is no JSON object: {error}"),
            }),
            Decision::Admit => Ok(None),
        }
    }

    /// Names of the plugins that hear messages, in their order.
    pub fn listeners(&self) -> Vec<String> {
        self.current().bound_to(Hook::Notify).into_iter().map(|(plugin, _)| plugin.manifest.name.clone()).collect()
    }

    /// Tells one of them. One that runs no more has heard everything.
    ///
    /// # Errors
    /// What went wrong in it.
    pub async fn notify(&self, name: &str, project: Option<&ProjectRef>, message: String) -> Result<(), HookError> {
        let now = self.current();
        let Some(plugin) = now.plugin(name) else { return Ok(()) };
        let Some(bound) = plugin.bound_to(Hook::Notify) else { return Ok(()) };
        let surroundings = Surroundings {
            options: self.options(name, &PluginChoices::default()),
            project: project.cloned(),
            memory: self.memory.clone(),
            egress: self.way_outside(plugin),
            ..Surroundings::none()
        };
        let span = span(plugin, Hook::Notify, project.map(ProjectRef::as_str).unwrap_or_default(), "");
        let told = call::call(&self.loader.engine, &bound.callee, surroundings, span, move |contract, store| {
            contract.notify(store, message)
        });
        told.await
    }
}

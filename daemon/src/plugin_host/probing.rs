//! One question to one probe plugin, with everything it takes, so that it can also be asked beside the one that decides.

use std::sync::Arc;

use super::call;
use super::engine::WasmEngine;
use super::grants::Scope;
use super::hooks::{HookError, ProbeInput, ProbeReport, ServiceAccess};
use super::host::{PluginHost, span};
use super::limits::{Hook, LimitReached};
use super::load::{Bound, Plugin};
use super::state::Surroundings;

/// What is asked, and of whom.
pub struct Asking {
    engine: Arc<WasmEngine>,
    plugin: Arc<Plugin>,
    bound: Bound,
    surroundings: Surroundings,
    input: ProbeInput,
    /// What was chosen for another version may not be such as this one takes.
    wrong_options: Option<HookError>,
}

impl Asking {
    /// The plugin's word on the service; `None`: it is not a probe of its own.
    ///
    /// # Errors
    /// What went wrong in the plugin. It says nothing about the service.
    pub async fn verdict(self) -> Result<Option<ProbeReport>, HookError> {
        let Self { engine, plugin, bound, surroundings, input, wrong_options } = self;
        if let Some(wrong) = wrong_options {
            return Err(wrong);
        }
        let span = span(&plugin, Hook::Probe, input.project.as_str(), "");
        let (project, service, spec) = (input.project.to_string(), input.service.to_string(), input.spec);
        let verdict = call::call(&engine, &bound.callee, surroundings, span, move |contract, store| {
            contract.check(store, project, service, spec)
        });
        let Some(verdict) = verdict.await? else { return Ok(None) };
        let bytes = verdict.reason.len() + verdict.endpoint.len();
        if bytes > bound.callee.limits.result_bytes {
            return Err(LimitReached::result(bytes, &bound.callee.limits).of(&plugin.manifest.name, Hook::Probe));
        }
        Ok(Some(ProbeReport { state: verdict.state, reason: verdict.reason, endpoint: verdict.endpoint }))
    }
}

impl PluginHost {
    /// One question to one plugin.
    pub(super) fn asking(
        &self,
        plugin: &Arc<Plugin>,
        bound: &Bound,
        input: &ProbeInput,
        access: Arc<dyn ServiceAccess>,
    ) -> Asking {
        let surroundings = Surroundings {
            access: Some(access),
            scope: Scope::Probed(input.service.clone()),
            secrets: plugin.manifest.secrets.clone(),
            project: Some(input.project.clone()),
            options: self.options(&plugin.manifest.name, &input.choices),
            ..Surroundings::none()
        };
        Asking {
            engine: self.loader.engine.clone(),
            plugin: plugin.clone(),
            bound: bound.clone(),
            surroundings,
            input: input.clone(),
            wrong_options: self.check_merged(plugin, &input.choices).err(),
        }
    }
}

/// Whether a failure is the plugin's own. Time on the wall also passes while a service or a loaded host is slow.
pub fn is_its_fault(error: &HookError) -> bool {
    match error {
        HookError::Trap { .. } | HookError::Failed { .. } => true,
        HookError::Limit { limit, .. } => *limit != LimitReached::WALL,
        _ => false,
    }
}

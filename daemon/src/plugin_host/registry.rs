//! The loaded plugins: which of them a hook calls, in which order, and what an operation pins. Immutable once
//! made; a reload makes a new one and swaps it, so that calls in flight keep theirs.

use std::sync::Arc;

use serde::Serialize;

use super::approvals::Reaches;
use super::breaker::Breaker;
use super::grants::Interface;
use super::hooks::Pins;
use super::limits::{Hook, HookLimits};
use super::load::{Bound, Plugin};
use super::manifest::OnFailure;
use crate::domain::PluginChoices;
use crate::telemetry::HookUsage;

/// What is known of one plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// One sentence.
    pub summary: String,
    /// The contract it was built against.
    pub contract: String,
    /// Bytes of the component.
    pub size: usize,
    /// What the component imports.
    pub imports: Vec<Interface>,
    /// `shipped`, `signed by KEY` or `unsigned`.
    pub provenance: String,
    /// In what it reaches beyond its own call.
    pub reaches: Reaches,
    /// Its hooks.
    pub hooks: Vec<HookInfo>,
    /// Whether it runs only for projects that chose it.
    pub opt_in: bool,
    /// The JSON Schema of its options.
    pub settings: Option<serde_json::Value>,
}

/// What is known of one hook of a plugin.
#[derive(Debug, Clone, Serialize)]
pub struct HookInfo {
    /// Which.
    pub hook: Hook,
    /// Its place among the plugins of this hook.
    pub order: i32,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// What a call may use.
    pub limits: HookLimits,
    /// What its calls have used since the start.
    #[serde(skip)]
    pub usage: HookUsage,
}

/// A probe plugin, and whether it is to be asked.
#[derive(Clone)]
pub struct Probe {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Its hook.
    pub bound: Bound,
    /// Of this version of it.
    pub breaker: Arc<Breaker>,
}

/// All plugins that run.
#[derive(Default)]
pub struct Registry {
    /// By name.
    plugins: Vec<Arc<Plugin>>,
    /// In order.
    probes: Vec<Probe>,
}

impl Registry {
    /// These plugins. One that ran before goes on as it was, also if it is left alone for a while.
    pub fn new(mut plugins: Vec<Arc<Plugin>>, before: &Self) -> Self {
        plugins.sort_by(|one, other| one.manifest.name.cmp(&other.manifest.name));
        let breaker = |plugin: &Arc<Plugin>| {
            let known = before.probes.iter().find(|probe| Arc::ptr_eq(&probe.plugin, plugin));
            known.map(|probe| probe.breaker.clone()).unwrap_or_default()
        };
        let probes = bound_to(&plugins, Hook::Probe).into_iter();
        let probes = probes.map(|(plugin, bound)| Probe { breaker: breaker(&plugin), plugin, bound }).collect();
        Self { plugins, probes }
    }

    /// All, by name.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The one of this name.
    pub fn plugin(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.iter().find(|plugin| plugin.manifest.name == name)
    }

    /// Those that are asked how a service is doing, in order.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// What is known of each, by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.plugins.iter().map(|plugin| info(plugin)).collect()
    }

    /// What an operation that begins now uses from its beginning to its end. Probes are not part of it: how a
    /// service is doing is asked of the newest code.
    pub fn pins(&self, choices: &PluginChoices) -> Pins {
        let belongs = |hook: Hook| hook == Hook::Render || hook.works_on_a_project();
        let pinned = |plugin: &&Arc<Plugin>| plugin.runs(choices) && plugin.manifest.hook_kinds().into_iter().any(belongs);
        self.plugins.iter().filter(pinned).map(|plugin| (plugin.manifest.name.clone(), plugin.digest.clone())).collect()
    }

    /// The plugins of a hook, in order.
    pub fn bound_to(&self, hook: Hook) -> Vec<(Arc<Plugin>, Bound)> {
        bound_to(&self.plugins, hook)
    }
}

/// Those of the plugins that are bound to a hook, in its order.
pub fn bound_to(plugins: &[Arc<Plugin>], hook: Hook) -> Vec<(Arc<Plugin>, Bound)> {
    let bound = plugins.iter().filter_map(|plugin| Some((plugin.clone(), plugin.bound_to(hook)?.clone())));
    let mut found: Vec<(Arc<Plugin>, Bound)> = bound.collect();
    found.sort_by(|(one, a), (other, b)| (a.binding.order, &one.manifest.name).cmp(&(b.binding.order, &other.manifest.name)));
    found
}

/// What is known of one plugin.
pub fn info(plugin: &Plugin) -> PluginInfo {
    let hook = |bound: &Bound| HookInfo {
        hook: bound.binding.hook,
        order: bound.binding.order,
        on_failure: bound.binding.on_failure,
        limits: bound.callee.limits,
        usage: bound.callee.metrics.usage(),
    };
    PluginInfo {
        name: plugin.manifest.name.clone(),
        version: plugin.manifest.version.clone(),
        digest: plugin.digest.clone(),
        summary: plugin.summary.clone(),
        contract: plugin.manifest.contract.clone(),
        size: plugin.size,
        imports: plugin.imports.iter().copied().collect(),
        hooks: plugin.bound.iter().map(hook).collect(),
        provenance: plugin.provenance.to_string(),
        reaches: Reaches::of(&plugin.manifest),
        opt_in: plugin.manifest.opt_in,
        settings: plugin.settings.as_ref().map(|settings| settings.schema.clone()),
    }
}

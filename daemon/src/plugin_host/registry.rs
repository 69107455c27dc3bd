//! The loaded plugins: which of them a hook calls, in which order, and what an operation pins. Immutable once
//! made; a reload makes a new one and swaps it, so that calls in flight keep theirs.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::grants::Interface;
use super::hooks::{HookError, Pins};
use super::limits::{Hook, HookLimits};
use super::load::{self, Bound, LoadError, Loader, Plugin};
use super::manifest::OnFailure;
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
    /// Its hooks.
    pub hooks: Vec<HookInfo>,
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

/// All loaded plugins.
pub struct Registry {
    plugins: Vec<Arc<Plugin>>,
}

impl Registry {
    /// Loads every plugin of a folder.
    ///
    /// # Errors
    /// The first plugin that is broken; half a set of plugins would be another set.
    pub async fn load(loader: &Loader, folder: &Path) -> Result<Self, LoadError> {
        let mut plugins = Vec::new();
        for folder in load::plugin_folders(folder)? {
            plugins.push(Arc::new(load::load(loader, &folder).await?));
        }
        Ok(Self { plugins })
    }

    /// What is known of each, by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.plugins.iter().map(|plugin| info(plugin)).collect()
    }

    /// What an operation that begins now uses from its beginning to its end. Probes are not part of it: how a
    /// service is doing is asked of the newest code.
    pub fn pins(&self) -> Pins {
        let pinned =
            |plugin: &&Arc<Plugin>| plugin.bound_to(Hook::Render).is_some() || plugin.bound_to(Hook::PostCreate).is_some();
        self.plugins.iter().filter(pinned).map(|plugin| (plugin.manifest.name.clone(), plugin.digest.clone())).collect()
    }

    /// The plugins of a hook, in order.
    pub fn bound_to(&self, hook: Hook) -> Vec<(Arc<Plugin>, Bound)> {
        in_order(self.plugins.iter().filter_map(|plugin| Some((plugin.clone(), plugin.bound_to(hook)?.clone()))).collect())
    }

    /// The pinned plugins of a hook, in order.
    ///
    /// # Errors
    /// [`HookError::PinMissing`] when the code an operation began with is not there any more.
    pub fn pinned(&self, hook: Hook, pins: &Pins) -> Result<Vec<(Arc<Plugin>, Bound)>, HookError> {
        let mut found = Vec::new();
        for (name, digest) in pins {
            let same_name = self.plugins.iter().find(|plugin| plugin.manifest.name == *name);
            match same_name {
                Some(plugin) if plugin.digest == *digest => {
                    found.extend(plugin.bound_to(hook).map(|bound| (plugin.clone(), bound.clone())));
                }
                // The same plugin in another version that has nothing to do with this hook changes nothing here.
                Some(plugin) if plugin.bound_to(hook).is_none() => {}
                _ => return Err(HookError::PinMissing { plugin: name.clone(), digest: digest.clone() }),
            }
        }
        Ok(in_order(found))
    }
}

fn in_order(mut found: Vec<(Arc<Plugin>, Bound)>) -> Vec<(Arc<Plugin>, Bound)> {
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
    }
}

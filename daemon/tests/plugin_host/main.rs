//! The plugin host against the shipped plugins (from the folder in SUPAMANAGER_PLUGINS_DIR, `make plugins`) and
//! against guests that misbehave, made here from a few lines of WebAssembly text. All limits are the defaults
//! unless a test says otherwise.

mod access;
mod accounts;
mod book;
mod chains;
mod conformance;
mod example;
mod frozen;
mod guests;
mod hostile;
mod imports;
mod leave;
mod more_hooks;
mod names;
mod refused;
mod shipped;
mod swapped;
mod trial;
mod trials;

use std::collections::BTreeMap;
use std::path::Path;

use supamanager::domain::{OperationId, PluginChoices, ProjectRef};
use supamanager::plugin_host::hooks::{RenderInput, WorkInput};
use supamanager::plugin_host::{HostConfig, Leave, LoadError, PluginHost};

/// The defaults, and whoever the plugins are from.
fn config(folder: &Path) -> HostConfig {
    HostConfig { leave: Leave::of_everything(), ..HostConfig::without_cache(folder) }
}

async fn load(folder: &Path) -> Result<PluginHost, LoadError> {
    PluginHost::load(config(folder)).await
}

fn project() -> ProjectRef {
    ProjectRef::parse("abcdefghijklmnopqrst").expect("a ref")
}

fn operation() -> OperationId {
    OperationId::parse("op_0123456789abcdef01234567").expect("an operation id")
}

/// A render of nothing: for guests that are not about files.
fn render_input() -> RenderInput {
    RenderInput {
        project: project(),
        operation: operation(),
        context: serde_json::json!({}),
        files: Vec::new(),
        templates: BTreeMap::new(),
        choices: PluginChoices::default(),
    }
}

fn work_input(context: serde_json::Value) -> WorkInput {
    WorkInput { project: project(), operation: operation(), context, choices: PluginChoices::default() }
}

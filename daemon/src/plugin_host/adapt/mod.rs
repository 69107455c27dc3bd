//! What the host asks of a plugin, whatever contract it was built against. Each version of the contract has
//! one adapter, chosen at load; nothing after that looks at versions.

mod imports_v0_1;
mod v0_1;

use async_trait::async_trait;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};

use super::hooks::RenderedFile;
use super::limits::Hook;
use super::state::CallState;
use crate::domain::ServiceState;

pub use imports_v0_1::link;

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
}

/// A hook's own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestError {
    /// The input is wrong.
    InvalidInput(String),
    /// Something was refused.
    Denied(String),
    /// Again, in so many milliseconds.
    RetryAfter(u64),
    /// Everything else.
    Failed(String),
}

/// What a probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How the service is doing.
    pub state: ServiceState,
    /// Why.
    pub reason: String,
    /// What was asked.
    pub endpoint: String,
}

/// What a hook did that works on a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything changed.
    pub changed: bool,
    /// One sentence.
    pub summary: String,
}

/// What an admit plugin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// As it is.
    Admit,
    /// With these fields another, a JSON object.
    Amend(String),
    /// No, in words for whoever asked.
    Refuse(String),
}

/// The outer error is the call's (a trap, a limit), the inner one is the plugin's own.
pub type Answer<T> = wasmtime::Result<Result<T, GuestError>>;

/// One file to make: template, path, mode.
pub type Wanted = (String, String, u32);

/// A loaded plugin of some version of the contract. Each method makes a new instance in the given store.
#[async_trait]
pub trait Contract: Send + Sync {
    /// What it says of itself.
    async fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<Description>;

    /// Makes files.
    async fn render(
        &self,
        store: &mut Store<CallState>,
        context: String,
        wanted: Vec<Wanted>,
        so_far: Vec<RenderedFile>,
    ) -> Answer<Vec<RenderedFile>>;

    /// Says how a service is doing; `None` when the probe is not one of its own.
    async fn check(
        &self,
        store: &mut Store<CallState>,
        project: String,
        service: String,
        spec: String,
    ) -> Answer<Option<Verdict>>;

    /// Does its work after a creation.
    async fn run(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome>;

    /// Does its work before a project goes.
    async fn before_delete(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome>;

    /// Does its work after a resume.
    async fn after_resume(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome>;

    /// Looks at what is asked for.
    async fn admit(&self, store: &mut Store<CallState>, request: String) -> Answer<Decision>;

    /// Hears a message.
    async fn notify(&self, store: &mut Store<CallState>, message: String) -> Answer<()>;

    /// Takes back what `run` did.
    async fn undo(&self, store: &mut Store<CallState>, context: String, outcome: Outcome) -> Answer<()>;
}

/// The adapter of a component whose imports are linked. Every contract of `manifest::CONTRACTS` is 0.1 so far.
///
/// # Errors
/// wasmtime's words on the first export that is missing or of another type.
pub fn adapt(linker: &Linker<CallState>, component: &Component, hooks: &[Hook]) -> wasmtime::Result<Box<dyn Contract>> {
    Ok(Box::new(v0_1::Plugin::new(linker.instantiate_pre(component)?, hooks)?))
}

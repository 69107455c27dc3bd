//! Runs lifecycle hooks as sandboxed WebAssembly components loaded from disk. wasmtime lives here and
//! nowhere else. What host imports need of the outside (a project's services, templates) is handed in
//! through the traits of [`hooks`]; the host never sees the store, the engine or a secret value.
//!
//! The files in the order a plugin meets them: `build` makes it, `load` reads its `manifest`, holds its
//! `imports` against its `grants`, compiles it through the `cache` and links it through `adapt`; the
//! `registry` keeps it; `host` calls it through `call`, inside of its `limits`; `swap` puts another version in its place, out of
//! the folder or of the kept `versions`.

mod adapt;
mod approvals;
mod asked;
mod asks;
mod breaker;
pub mod build;
mod cache;
mod call;
mod egress;
mod engine;
mod grants;
pub mod hooks;
mod host;
mod imports;
mod limits;
mod load;
mod manifest;
mod meter;
mod output;
mod probing;
mod recipe;
mod registry;
mod scripted;
mod settings;
mod shadow;
mod state;
mod swap;
mod toolchain;
mod trial;
mod trust;
mod versions;
mod work;

pub use approvals::{Approval, Approvals, Leave, Reaches};
pub use asks::{GrantError, GrantInfo};
pub use egress::{EgressHost, of_plugins as egress_of_plugins};
pub use grants::Interface;
pub use host::{HostConfig, PluginHost};
pub use limits::{Hook, HookLimits, Limits};
pub use load::{COMPONENT_FILE, LoadError, MANIFEST_FILE, plugin_folders};
pub use manifest::OnFailure;
pub use registry::{HookInfo, PluginInfo};
pub use scripted::Exchange;
pub use shadow::{CANDIDATES, Difference, Promoted, Seen, ShadowError, Trial as ShadowTrial};
pub use swap::{Change, Fate, RollbackError};
pub use trial::{Bench, Trial, Tried};
pub use trust::{Provenance, SIGNATURE_FILE, new_key, record, sign};
pub use versions::held_in;
pub use work::Worker;

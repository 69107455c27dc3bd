//! Runs lifecycle hooks as sandboxed WebAssembly components loaded from disk. wasmtime lives here and
//! nowhere else. What host imports need of the outside (a project's services, templates) is handed in
//! through the traits of [`hooks`]; the host never sees the store, the engine or a secret value.

pub mod hooks;

//! Supamanager: your own Supabase backends on your own machines.
//!
//! The modules in the order data flows; ARCHITECTURE.md has the map, the invariants and three walks.

/// Builds every part, owns the tasks, stops them in order.
pub mod app;
/// The command line: `serve` and `token` on the data folder, the rest over REST.
pub mod cli;
/// One typed configuration, validated once; the only reader of the environment.
pub mod config;

/// Watches active projects through the probe hook.
pub mod health;
/// Holds projects to what they may use, round after round.
pub mod holding;
/// REST: the only module that knows axum and status codes.
pub mod http;
/// The operator's webhook: an outbox and who empties it.
pub mod notify;
/// Samples what active projects use.
pub mod usage;

/// The heart: operations, their steps, and their recovery.
pub mod lifecycle;

/// What a container engine must be able to do, and Docker doing it.
pub mod backend;
/// Tokens and the audit log.
pub mod people;
/// Lifecycle hooks as sandboxed WebAssembly components.
pub mod plugin_host;
/// Host ports: chosen, proved free, unique per engine.
pub mod ports;
/// The bounded way from the daemon to a project's services.
pub mod reach;
/// Generated, sealed, and opened only where they are used.
pub mod secrets;
/// Everything that must survive; sqlx lives here and nowhere else.
pub mod store;
/// A /27 per project.
pub mod subnets;
/// Template sets and image sets, read from disk.
pub mod templates;

/// What the file system below a folder has left.
pub mod disk;
/// The words everything else is said in: pure.
pub mod domain;
/// What a rendered stack is and what it may ask for: pure.
pub mod stack;

/// The only reader of the wall clock.
pub mod clock;
/// Logs and metrics.
pub mod telemetry;
/// The one place that makes HTTP clients.
pub mod web;

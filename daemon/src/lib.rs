//! Supamanager: your own Supabase backends on your own machines.
//!
//! The modules in the order data flows; ARCHITECTURE.md has the map, the invariants and three walks.

pub mod backend;
pub mod domain;
pub mod plugin_host;
pub mod stack;

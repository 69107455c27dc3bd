//! The native dialect: the design document's own API.

pub mod audit;
pub mod change;
pub mod create;
pub mod dto;
mod dto_update;
mod dto_usage;
pub mod events;
pub mod exec;
pub mod grants;
pub mod logs;
pub mod lost;
pub mod members;
pub mod notifications;
pub mod operations;
pub mod organizations;
pub mod plugins;
pub mod read;
pub mod resources;
pub mod sessions;
pub mod tokens;
pub mod trials;
pub mod update;
pub mod usage;

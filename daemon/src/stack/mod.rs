//! What a render hook produced, as a typed model, and what it may ask of the engine. Pure: no I/O.
//!
//! The way through is one-way: [`compose::parse`] reads `docker-compose.yml` into a [`Stack`],
//! [`fence::check`] turns it into a [`FencedStack`], and only a fenced stack can reach a backend.

pub mod compose;
pub mod diff;
pub mod fence;
mod image;
pub mod label_keys;
mod model;

pub use fence::{FenceRules, FencedStack, Violation};
pub use image::ImageReference;
pub use model::{BindMode, HealthCheck, Logging, Mount, MountSource, Network, PublishedPort, Service, Stack, Ulimit, Volume};

//! REST: the only module that knows axum and status codes. Errors of the inner modules are mapped here, once.

mod auth;
mod body;
mod error;
pub mod native;
mod openapi;
mod router;
mod system;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::lifecycle::Lifecycle;

pub use openapi::document;
pub use router::router;

/// What every handler sees. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The lifecycle and, through its parts, the read side of the store.
    pub lifecycle: Lifecycle,
    /// Requests at once.
    requests: Arc<Semaphore>,
    /// Event streams at once.
    streams: Arc<Semaphore>,
    /// Commands inside containers at once.
    commands: Arc<Semaphore>,
}

impl Api {
    /// An API over a lifecycle.
    pub fn new(lifecycle: Lifecycle, limits: &Limits) -> Self {
        let requests = Arc::new(Semaphore::new(limits.requests));
        let streams = Arc::new(Semaphore::new(limits.event_streams));
        let commands = Arc::new(Semaphore::new(limits.commands));
        Self { lifecycle, requests, streams, commands }
    }
}

//! REST: the only module that knows axum and status codes. Errors of the inner modules are mapped here, once.

mod body;
mod error;
mod gate;
mod management;
pub mod native;
mod need;
mod openapi;
mod router;
mod setup;
mod system;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::domain::{Caller, Project};
use crate::lifecycle::Lifecycle;
use crate::people::{Done, People, PeopleError};

pub use need::{Need, Route};
pub use openapi::document;
pub use router::{MANAGEMENT, NATIVE, router};

/// What every handler sees. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The lifecycle and, through its parts, the read side of the store.
    pub lifecycle: Lifecycle,
    /// Who calls, and what they did.
    pub people: People,
    /// Requests at once.
    requests: Arc<Semaphore>,
    /// Event streams at once.
    streams: Arc<Semaphore>,
    /// Commands inside containers at once.
    commands: Arc<Semaphore>,
}

impl Api {
    /// An API over a lifecycle.
    pub fn new(lifecycle: Lifecycle, people: People, limits: &Limits) -> Self {
        let requests = Arc::new(Semaphore::new(limits.requests));
        let streams = Arc::new(Semaphore::new(limits.event_streams));
        let commands = Arc::new(Semaphore::new(limits.commands));
        Self { lifecycle, people, requests, streams, commands }
    }

    /// Writes down what a caller did, on a project or with the installation; `detail` is a JSON object without secrets.
    async fn audit(
        &self,
        caller: &Caller,
        action: &str,
        project: Option<&Project>,
        detail: &serde_json::Value,
    ) -> Result<(), PeopleError> {
        let organization = project.map(|project| project.organization_id.as_str());
        self.people.audit(caller, Done { action, organization, project: project.map(|project| &project.id), detail }).await
    }
}

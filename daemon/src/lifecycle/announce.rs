//! Tells watchers what happened: an event row first, then a wake-up. Watchers read the store, so that nothing
//! is lost between two of their looks.

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::domain::{BudgetState, OperationId, ProjectRef, ProjectStatus, per_cent};
use crate::store::{EventKind, Standing, Store, StoreError};

/// Wake-ups kept for a slow watcher; one that falls behind reads the store anyway.
const WAKEUPS: usize = 256;

/// The one writer of events.
#[derive(Clone)]
pub struct Announcer {
    store: Store,
    clock: Clock,
    wake: broadcast::Sender<ProjectRef>,
}

impl Announcer {
    /// An announcer over the store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, wake: broadcast::channel(WAKEUPS).0 }
    }

    /// Hears the ref of every project that has something new.
    pub fn watch(&self) -> broadcast::Receiver<ProjectRef> {
        self.wake.subscribe()
    }

    /// A step began, moved or ended.
    pub async fn step(&self, project: &ProjectRef, operation: &OperationId, step: &str, state: &str, detail: &str) {
        let data = json!({"operation_id": operation, "step": step, "state": state, "detail": detail});
        self.append(project, EventKind::Step, &data).await;
    }

    /// The project's status changed.
    pub async fn status(&self, project: &ProjectRef, status: ProjectStatus, reason: &str) {
        self.append(project, EventKind::Status, &json!({"status": status, "reason": reason})).await;
    }

    /// Moves an active project between healthy and unhealthy and tells it, if it was not there already.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn stands(&self, project: &ProjectRef, status: ProjectStatus, reason: &str) -> Result<bool, StoreError> {
        let event = json!({"status": status, "reason": reason}).to_string();
        let moved = self.store.set_active_status(project, &Standing { status, reason, event }, self.clock.now()).await?;
        if moved {
            self.wake(project);
        }
        Ok(moved)
    }

    /// The address of the project changed before it was ever healthy (decision 3).
    pub async fn endpoint_changed(&self, project: &ProjectRef, what: &str) {
        self.append(
            project,
            EventKind::Status,
            &json!({"status": ProjectStatus::Creating, "reason": "endpoint_changed", "detail": what}),
        )
        .await;
    }

    /// A service's health changed.
    pub async fn health(&self, project: &ProjectRef, service: &str, state: &str, reason: &str) {
        self.append(project, EventKind::Health, &json!({"service": service, "state": state, "reason": reason})).await;
    }

    /// A project's storage passed one of its levels: `state` is `ok`, `warned` (80 %) or `frozen` (95 %, until below 90 %).
    /// Told at least once per change; the one place that whoever tells people about it hangs on to.
    pub async fn tell(&self, project: &ProjectRef, state: BudgetState, used_bytes: u64, limit_bytes: Option<u64>) {
        let percent = limit_bytes.map(|limit| per_cent(used_bytes, limit));
        let data = json!({"state": state, "used_bytes": used_bytes, "limit_bytes": limit_bytes, "percent": percent});
        self.append(project, EventKind::Budget, &data).await;
    }

    /// What is told when an operation ends: written with the end itself, followed by [`Announcer::wake`].
    pub fn ending(operation: &OperationId, state: &str, status: ProjectStatus, reason: &str) -> [(EventKind, String); 2] {
        let told = json!({"status": status, "reason": reason});
        let ended = json!({"operation_id": operation, "state": state, "status": status});
        [(EventKind::Status, told.to_string()), (EventKind::End, ended.to_string())]
    }

    /// Events were written by somebody else.
    pub fn wake(&self, project: &ProjectRef) {
        let _ = self.wake.send(project.clone());
    }

    /// Events are for watching; when one cannot be written the operation goes on.
    async fn append(&self, project: &ProjectRef, kind: EventKind, data: &Value) {
        if let Err(error) = self.store.append_event(project, kind, &data.to_string(), self.clock.now()).await {
            tracing::warn!(project.id = %project, %error, "an event was not kept");
        }
        self.wake(project);
    }
}

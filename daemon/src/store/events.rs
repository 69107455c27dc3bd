//! What happened to a project, kept so that a watcher who was away can catch up (decision 23).

use serde::Serialize;
use sqlx::Row;

use super::{Result, Store, Tx, word};
use crate::domain::{ProjectRef, UnixMillis};

/// Events kept per project; older ones are dropped.
const KEPT: i64 = 1000;

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A step began, moved or ended.
    Step,
    /// The project's status changed.
    Status,
    /// A service's health changed.
    Health,
    /// A project's storage passed one of its levels.
    Budget,
    /// An operation ended: nothing more comes of it.
    End,
}

impl EventKind {
    /// The word in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Status => "status",
            Self::Health => "health",
            Self::Budget => "budget",
            Self::End => "end",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Step, Self::Status, Self::Health, Self::Budget, Self::End].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Rises per project.
    pub id: i64,
    /// What it is about.
    pub kind: EventKind,
    /// JSON object as text.
    pub data: String,
    /// When.
    pub at: UnixMillis,
}

impl Store {
    /// Appends an event and returns its id.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn append_event(&self, project: &ProjectRef, kind: EventKind, data: &str, now: UnixMillis) -> Result<i64> {
        let mut tx = self.begin().await?;
        let id = append(&mut tx, project, kind, data, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Up to 100 events after an id, oldest first.
    ///
    /// # Errors
    /// [`super::StoreError::Database`].
    pub async fn events_after(&self, project: &ProjectRef, after: i64) -> Result<Vec<Event>> {
        let rows = sqlx::query("SELECT id, kind, data, at FROM events WHERE project_id = $1 AND id > $2 ORDER BY id LIMIT 100")
            .bind(project.as_str())
            .bind(after)
            .fetch_all(&self.readers)
            .await?;
        let events = rows.iter().map(|row| {
            let kind: String = row.get(1);
            let kind = word("events.kind", &kind, EventKind::from_word(&kind))?;
            Ok(Event { id: row.get(0), kind, data: row.get(2), at: row.get(3) })
        });
        events.collect()
    }
}

/// Appends an event inside a transaction.
pub(super) async fn append(tx: &mut Tx, project: &ProjectRef, kind: EventKind, data: &str, now: UnixMillis) -> Result<i64> {
    let row = sqlx::query("UPDATE projects SET next_event = next_event + 1 WHERE id = $1 RETURNING next_event")
        .bind(project.as_str())
        .fetch_one(&mut **tx)
        .await?;
    let id = row.get::<i64, _>(0) - 1;
    sqlx::query("INSERT INTO events (project_id, id, kind, data, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(project.as_str())
        .bind(id)
        .bind(kind.as_str())
        .bind(data)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM events WHERE project_id = $1 AND id <= $2")
        .bind(project.as_str())
        .bind(id - KEPT)
        .execute(&mut **tx)
        .await?;
    Ok(id)
}

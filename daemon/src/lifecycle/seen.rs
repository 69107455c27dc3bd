//! What was last seen of every service. The store has a row per service, written when something changes; when it was
//! last looked at and how long the answer took is kept in memory, for most looks see what the one before saw.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::Parts;
use crate::domain::{ProjectRef, ServiceName, ServiceState};
use crate::store::{Observation, StoreError};

/// The newest look at every service since the start.
#[derive(Default)]
pub struct Seen(Mutex<BTreeMap<ProjectRef, BTreeMap<ServiceName, Observation>>>);

impl Seen {
    /// Nothing is known of the project any more.
    pub(super) fn forget(&self, project: &ProjectRef) {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).remove(project);
    }

    /// What was last said of a service; `None` before the first look since the start.
    pub fn state(&self, project: &ProjectRef, service: &ServiceName) -> Option<ServiceState> {
        let all = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        Some(all.get(project)?.get(service)?.state)
    }

    /// Whether this look sees what the one before saw; it takes its place then.
    fn is_as_before(&self, project: &ProjectRef, seen: &Observation) -> bool {
        let mut all = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        let before = all.get_mut(project).and_then(|services| services.get_mut(&seen.service));
        match before.filter(|before| before.state == seen.state && before.reason == seen.reason) {
            Some(before) => {
                *before = Observation { since: before.since, ..seen.clone() };
                true
            }
            None => false,
        }
    }

    fn keep(&self, project: &ProjectRef, seen: Observation) {
        let mut all = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        all.entry(project.clone()).or_default().insert(seen.service.clone(), seen);
    }
}

impl Parts {
    /// Keeps what was seen, and tells it when the state is another one: returns whether it is.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn saw(&self, project: &ProjectRef, seen: Observation) -> Result<bool, StoreError> {
        if self.seen.is_as_before(project, &seen) {
            return Ok(false);
        }
        let Some(changed) = self.store.observe(project, &seen).await? else { return Ok(false) };
        self.seen.keep(project, seen.clone());
        if changed {
            self.announcer.health(project, seen.service.as_str(), seen.state.as_str(), &seen.reason).await;
        }
        Ok(changed)
    }

    /// The last look at every service that was ever looked at.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn observations(&self, project: &ProjectRef) -> Result<Vec<Observation>, StoreError> {
        let mut rows = self.store.observations(project).await?;
        let all = self.seen.0.lock().unwrap_or_else(|poison| poison.into_inner());
        let newest = all.get(project);
        for row in &mut rows {
            // Only the store decides what is known: what is in memory alone is of a project that has ended meanwhile.
            if let Some(seen) = newest.and_then(|services| services.get(&row.service)).filter(|seen| seen.state == row.state) {
                (row.latency_ms, row.observed_at) = (seen.latency_ms, seen.observed_at);
            }
        }
        Ok(rows)
    }
}

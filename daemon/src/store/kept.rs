//! The live projects as they were last read, good until somebody writes one. sqlx takes some 0.1 ms of a core for each
//! row on its way out of SQLite, so that a list of 900 projects cost 100 ms, and the health monitor reads one each round.
//!
//! Stale is decided without looking at what was written: each write transaction makes it stale unless it says that it
//! touches no project (`Store::begin_beside_projects`), so that forgetting to say so costs time and never the truth. It
//! holds for the one daemon that acts on the store (`lease.rs`), because nobody else writes projects then.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::Project;

/// What is kept.
#[derive(Default)]
pub(super) struct Kept(Mutex<State>);

#[derive(Default)]
struct State {
    /// Rises with each write that may have touched a project.
    writes: u64,
    /// A transaction went without saying how. It may be committed yet, until the next one begins.
    unsure: bool,
    /// The `writes` at which a reader last found nothing.
    missed: Option<u64>,
    /// Somebody reads all of them now.
    filling: bool,
    /// The `writes` they were read at, and all live projects, ordered by ref.
    projects: Option<(u64, Arc<Vec<Project>>)>,
}

/// What a reader finds.
pub(super) enum Found<'a> {
    /// All live projects, ordered by ref.
    Here(Arc<Vec<Project>>),
    /// Nothing, twice since the last write: read all and keep them.
    Fill(Turn<'a>),
    /// Nothing: read what is needed. While projects change, reading all of them for each page would be more work.
    Nothing,
}

/// The turn of the one who reads all.
pub(super) struct Turn<'a> {
    kept: &'a Kept,
    writes: u64,
}

/// The end of a transaction that writes.
pub(super) struct End(Option<Arc<Kept>>);

impl Kept {
    /// What there is.
    pub(super) fn look(&self) -> Found<'_> {
        let mut state = self.state();
        let writes = state.writes;
        match &state.projects {
            _ if state.unsure => Found::Nothing,
            Some((at, projects)) if *at == writes => Found::Here(projects.clone()),
            _ if state.filling => Found::Nothing,
            _ if state.missed == Some(writes) => {
                state.filling = true;
                Found::Fill(Turn { kept: self, writes })
            }
            _ => {
                state.missed = Some(writes);
                Found::Nothing
            }
        }
    }

    /// A transaction has begun: the one before it has ended, however it did, for there is one at a time.
    pub(super) fn begun(self: &Arc<Self>, touches_projects: bool) -> End {
        let mut state = self.state();
        if std::mem::take(&mut state.unsure) {
            state.writes += 1;
        }
        End(touches_projects.then(|| self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Turn<'_> {
    /// Keeps them, unless there was a write since the turn began.
    pub(super) fn keep(self, projects: Arc<Vec<Project>>) {
        let mut state = self.kept.state();
        if state.writes == self.writes {
            state.projects = Some((self.writes, projects));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.kept.state().filling = false;
    }
}

impl End {
    /// It is committed.
    pub(super) fn committed(mut self) {
        if let Some(kept) = self.0.take() {
            kept.state().writes += 1;
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            kept.state().unsure = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Arc<Kept> {
        let kept = Arc::new(Kept::default());
        fill(&kept);
        kept
    }

    fn fill(kept: &Kept) {
        assert!(matches!(kept.look(), Found::Nothing));
        let Found::Fill(turn) = kept.look() else { panic!("the second reader fills") };
        assert!(matches!(kept.look(), Found::Nothing), "one fills");
        turn.keep(Arc::default());
        assert!(matches!(kept.look(), Found::Here(_)));
    }

    #[test]
    fn a_write_makes_it_stale_and_one_beside_projects_does_not() {
        let kept = filled();
        kept.begun(false).committed();
        drop(kept.begun(false));
        assert!(matches!(kept.look(), Found::Here(_)));
        let end = kept.begun(true);
        assert!(matches!(kept.look(), Found::Here(_)), "what is not committed is not there");
        end.committed();
        fill(&kept);
    }

    #[test]
    fn a_transaction_that_went_silently_is_distrusted_until_the_next_has_begun() {
        let kept = filled();
        drop(kept.begun(true));
        assert!(matches!(kept.look(), Found::Nothing) && matches!(kept.look(), Found::Nothing));
        kept.begun(false).committed();
        fill(&kept);
    }

    #[test]
    fn what_was_read_before_a_write_is_not_kept_after_it() {
        let kept = filled();
        kept.begun(true).committed();
        assert!(matches!(kept.look(), Found::Nothing));
        let Found::Fill(turn) = kept.look() else { panic!("the second reader fills") };
        kept.begun(true).committed();
        turn.keep(Arc::default());
        fill(&kept);
    }
}

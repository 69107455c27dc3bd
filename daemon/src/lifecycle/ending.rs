//! How what is under way is ended before its time: cancelled, forced, or pushed aside. A person's word goes before what the
//! reconciler does of its own accord.

use super::planner::SNAPSHOT;
use super::{Lifecycle, LifecycleError, RECONCILER, runner};
use crate::domain::{Operation, OperationId, OperationKind, OperationState, Project, ProjectStatus, Step, StepState};
use crate::store::StoreError;

/// How often we look again at an operation that its own task moves on.
const TRIES: u32 = 10;

impl Lifecycle {
    /// Turns a project's operation round: it goes back from where it is.
    ///
    /// # Errors
    /// [`LifecycleError::State`] when nothing is under way, or only a delete.
    pub async fn cancel(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        let reason = format!("cancelled by {by}");
        let id = self.parts.store.cancel_operation(&project.id, &reason).await.map_err(|error| match error {
            StoreError::Transition(_) if project.status == ProjectStatus::Updating => LifecycleError::State {
                status: project.status.as_str(),
                way_out: "the update is done and removes what it kept of the old data; force ends that if it hangs",
            },
            StoreError::Transition(_) if project.status == ProjectStatus::Deleting => LifecycleError::State {
                status: project.status.as_str(),
                way_out: "a delete cannot be taken back; force ends one that hangs",
            },
            StoreError::Transition(_) => {
                LifecycleError::State { status: project.status.as_str(), way_out: "nothing is under way that could be cancelled" }
            }
            other => LifecycleError::Store(other),
        })?;
        if let Some(word) = self.parts.running.word(&project.id) {
            word.cancelled.cancel();
        }
        self.parts.announcer.wake(&project.id);
        self.begin(id.clone(), project.id.clone());
        Ok(id)
    }

    /// Ends an operation that does not come to its end: one on its way back, or a delete. What it leaves is removed,
    /// stopped or started later, by the reaper and the reconciler.
    ///
    /// # Errors
    /// [`LifecycleError::State`] when nothing hangs.
    pub async fn force(&self, project: &Project, by: &str) -> Result<OperationId, LifecycleError> {
        let state = |way_out| LifecycleError::State { status: project.status.as_str(), way_out };
        // Its task may move it on between our look and our word.
        let mut tries = 0;
        let operation = loop {
            let Some(operation) = self.under_way(project).await? else { return Err(state("nothing is under way")) };
            let goes_back = matches!(operation.state, OperationState::Unwinding | OperationState::Cleaning);
            if let Some(reason) = holds_old_data(&operation) {
                return Err(state(reason));
            }
            if !goes_back && operation.has_way_back() {
                return Err(state("cancel it first; force ends what does not come back by itself"));
            }
            tries += 1;
            match runner::force(&self.parts, &operation, project, by).await {
                Ok(()) => break operation,
                Err(StoreError::Transition(_)) if tries < TRIES => {}
                Err(error) => return Err(LifecycleError::Store(error)),
            }
        };
        if let Some(word) = self.parts.running.word(&project.id) {
            word.cancelled.cancel();
            word.forced.cancel();
        }
        self.parts.wake.notify_one();
        Ok(operation.id)
    }

    /// Ends a repair or a restart that the reconciler began, so that a person need not wait for it. Nothing is undone:
    /// whatever comes next starts, stops or removes what it is about, and the reconciler looks again.
    pub(super) async fn repair_gives_way(&self, project: &Project, to: OperationKind) -> Result<bool, LifecycleError> {
        for _ in 0..TRIES {
            let Some(operation) = self.under_way(project).await? else { return Ok(true) };
            let of_its_own_accord = matches!(operation.kind, OperationKind::Repair | OperationKind::Restart);
            if operation.requested_by != RECONCILER || !of_its_own_accord {
                return Ok(false);
            }
            match runner::pushed_aside(&self.parts, &operation, project, to).await {
                Ok(()) => {
                    if let Some(word) = self.parts.running.word(&project.id) {
                        word.cancelled.cancel();
                        word.forced.cancel();
                    }
                    return Ok(true);
                }
                Err(StoreError::Transition(_)) => {}
                Err(error) => return Err(LifecycleError::Store(error)),
            }
        }
        Ok(false)
    }

    async fn under_way(&self, project: &Project) -> Result<Option<Operation>, LifecycleError> {
        let newest = self.parts.store.operations_of(&project.id, 1).await?;
        Ok(newest.into_iter().find(|operation| operation.ended_at.is_none()))
    }
}

/// An update that goes back and has not put the old data in its place yet is not ended by force: what would run then are
/// old images on new data.
fn holds_old_data(operation: &Operation) -> Option<&'static str> {
    let copied = |step: &&Step| step.name == SNAPSHOT && !matches!(step.state, StepState::Undone);
    let goes_back = operation.kind == OperationKind::Update && operation.has_way_back();
    let holds = goes_back && operation.steps.iter().any(|step| copied(&step));
    holds.then_some(
        "the data as it was before the update is being put back: see why in the operation's steps, mend that, and wait",
    )
}

//! What comes next: a pure function of the plan and of what the store has recorded. A normal run and one
//! resumed after a kill ask the same question.

use crate::domain::{OperationKind, OperationState, Step, StepState};

/// One external effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The project's folder.
    Folder,
    /// The rendered files in it.
    Render,
    /// The images on the engine.
    Images,
    /// The project's network.
    Network,
    /// The folders of its data, and the named volumes over them.
    Volumes,
    /// The containers, not yet started.
    Containers,
    /// One wave of services, started once what they need is there.
    Start(usize),
    /// All services healthy, twice in a row.
    Healthy,
    /// The owner's database password.
    OwnerPassword,
    /// The post-create hooks.
    PostCreate,
    /// Nothing of the project is left on the engine.
    Absent,
}

/// Which way an effect is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Make it so.
    Ensure,
    /// Take it away.
    Remove,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Its name in the log of steps.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// Which way.
    pub direction: Direction,
}

/// What the runner does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// Do this step.
    Run(&'a PlannedStep),
    /// Undo this step.
    Undo(&'a PlannedStep),
    /// Every step is done.
    Succeed,
    /// Every step is undone.
    Fail,
}

/// The steps of an operation over a stack of so many start waves, in order.
pub fn plan(kind: OperationKind, waves: usize) -> Vec<PlannedStep> {
    let ensure = |name: &str, effect| PlannedStep { name: name.to_owned(), effect, direction: Direction::Ensure };
    let remove = |name: &str, effect| PlannedStep { name: name.to_owned(), effect, direction: Direction::Remove };
    match kind {
        OperationKind::Create => {
            let mut steps = vec![
                ensure("folder", Effect::Folder),
                ensure("render", Effect::Render),
                ensure("images", Effect::Images),
                ensure("network", Effect::Network),
                ensure("volumes", Effect::Volumes),
                ensure("containers", Effect::Containers),
            ];
            steps.extend((0..waves).map(|wave| ensure(&format!("start.{}", wave + 1), Effect::Start(wave))));
            steps.extend([
                ensure("healthy", Effect::Healthy),
                ensure("owner-password", Effect::OwnerPassword),
                ensure("post-create", Effect::PostCreate),
            ]);
            steps
        }
        OperationKind::Delete => vec![
            remove("containers", Effect::Containers),
            remove("network", Effect::Network),
            remove("volumes", Effect::Volumes),
            ensure("absent", Effect::Absent),
            remove("folder", Effect::Folder),
        ],
    }
}

/// The steps that must be done again when a port or a subnet was replaced: everything from the rendering on.
pub fn rewound(plan: &[PlannedStep]) -> Vec<String> {
    let from = plan.iter().position(|step| step.effect == Effect::Render).unwrap_or(plan.len());
    plan[from..].iter().map(|step| step.name.clone()).collect()
}

/// What comes next.
pub fn next<'a>(state: OperationState, plan: &'a [PlannedStep], recorded: &[Step]) -> Next<'a> {
    let seen = |step: &PlannedStep| recorded.iter().find(|record| record.name == step.name).map(|record| record.state);
    match state {
        OperationState::Accepted | OperationState::Running => {
            let pending = plan.iter().find(|step| seen(step) != Some(StepState::Succeeded));
            pending.map_or(Next::Succeed, Next::Run)
        }
        OperationState::Unwinding | OperationState::Cleaning => {
            // The failed step is undone too: its inverse is idempotent and finds by label what it left behind.
            let done = |step: &&PlannedStep| matches!(seen(step), Some(state) if state != StepState::Undone);
            plan.iter().rev().find(done).map_or(Next::Fail, Next::Undo)
        }
        OperationState::Succeeded => Next::Succeed,
        OperationState::Failed => Next::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [Option<StepState>; 5] =
        [None, Some(StepState::Started), Some(StepState::Succeeded), Some(StepState::Failed), Some(StepState::Undone)];

    fn record(plan: &[PlannedStep], states: &[Option<StepState>]) -> Vec<Step> {
        let rows = plan.iter().zip(states).filter_map(|(step, state)| {
            Some(Step { name: step.name.clone(), state: (*state)?, started_at: 0, ended_at: None, detail: None })
        });
        rows.collect()
    }

    #[test]
    fn going_forward_takes_the_first_step_that_is_not_done() {
        let plan = plan(OperationKind::Delete, 0);
        for position in 0..=plan.len() {
            for state in STATES.into_iter().filter(|state| *state != Some(StepState::Succeeded)) {
                let mut states = vec![Some(StepState::Succeeded); position];
                states.push(state);
                let next = next(OperationState::Running, &plan, &record(&plan, &states));
                assert_eq!(next, plan.get(position).map_or(Next::Succeed, Next::Run), "position {position}, {state:?}");
            }
        }
    }

    #[test]
    fn going_back_takes_the_last_step_that_was_begun_and_ends_when_all_are_undone() {
        let plan = plan(OperationKind::Create, 6);
        for position in 0..plan.len() {
            for state in [StepState::Started, StepState::Failed, StepState::Succeeded] {
                let mut states = vec![Some(StepState::Succeeded); position];
                states.push(Some(state));
                let next = next(OperationState::Unwinding, &plan, &record(&plan, &states));
                assert_eq!(next, Next::Undo(&plan[position]), "a begun step is undone, the failed one too");
            }
        }
        let undone = record(&plan, &vec![Some(StepState::Undone); plan.len()]);
        assert_eq!(next(OperationState::Cleaning, &plan, &undone), Next::Fail);
        assert_eq!(next(OperationState::Unwinding, &plan, &[]), Next::Fail);
    }

    #[test]
    fn step_names_are_unique_and_a_rewind_keeps_the_folder() {
        let plan = plan(OperationKind::Create, 6);
        let names: std::collections::BTreeSet<_> = plan.iter().map(|step| &step.name).collect();
        assert_eq!(names.len(), plan.len());
        let rewound = rewound(&plan);
        assert_eq!((rewound.len(), rewound.first().map(String::as_str)), (plan.len() - 1, Some("render")));
    }
}

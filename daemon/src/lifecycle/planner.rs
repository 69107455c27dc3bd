//! What comes next: a pure function of the plan and of what the store has recorded. A normal run and one
//! resumed after a kill ask the same question.

use crate::domain::{OperationKind, OperationState, POINT_OF_NO_RETURN, Step, StepState};

/// One external effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The project's folder.
    Folder,
    /// The rendered files in it.
    Render,
    /// The rendered files of an update, beside those that are in use.
    Stage,
    /// The rendered files of an update in place of those that were in use, which are kept.
    Switch,
    /// The images on the engine.
    Images,
    /// The project's network.
    Network,
    /// The folders of its data, and the named volumes over them.
    Volumes,
    /// The containers, not yet started.
    Containers,
    /// The containers that an update replaces, gone.
    Retired,
    /// A copy of the project's data, taken while nothing runs; taken back, the data is what it was.
    Snapshot,
    /// What an update keeps in case it fails, gone.
    Discarded,
    /// One wave of services, started once what they need is there.
    Start(usize),
    /// One wave of services, started without waiting for anything: the way back from stopping it.
    Up(usize),
    /// All services healthy, twice in a row.
    Healthy,
    /// The owner's database password.
    OwnerPassword,
    /// The post-create hooks.
    PostCreate,
    /// The before-delete hooks.
    BeforeDelete,
    /// The after-resume hooks.
    AfterResume,
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

/// Which stack a step works on: an update has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one that the project has.
    Present,
    /// The one that an update makes.
    Wanted,
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
    /// Which stack it works on, also when it is taken back.
    pub whose: Whose,
    /// What takes it back; `None` when there is nothing to take back.
    pub undo: Option<(Effect, Direction)>,
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

/// The steps of an operation, in order, over the start waves that it is about: all of them, or those of the services
/// that a restart names.
pub fn plan(kind: OperationKind, waves: &[usize]) -> Vec<PlannedStep> {
    let step = |name: String, effect, direction, undo| PlannedStep { name, effect, direction, whose: Whose::Present, undo };
    let made = |name: &str, effect| step(name.to_owned(), effect, Direction::Ensure, Some((effect, Direction::Remove)));
    let kept = |name: &str, effect| step(name.to_owned(), effect, Direction::Ensure, None);
    let gone = |name: &str, effect| step(name.to_owned(), effect, Direction::Remove, None);
    let started = |wave: &usize, undo| step(format!("start.{}", wave + 1), Effect::Start(*wave), Direction::Ensure, undo);
    let stopped = |wave: &usize| {
        let undo = Some((Effect::Up(*wave), Direction::Ensure));
        step(format!("stop.{}", wave + 1), Effect::Start(*wave), Direction::Remove, undo)
    };
    let undone_by_stopping = |wave: &usize| started(wave, Some((Effect::Start(*wave), Direction::Remove)));
    let mut steps = match kind {
        OperationKind::Update => return update(&Waves { present: waves, wanted: waves, snapshot: true }),
        OperationKind::Create => vec![
            made("folder", Effect::Folder),
            made("render", Effect::Render),
            made("images", Effect::Images),
            made("network", Effect::Network),
            made("volumes", Effect::Volumes),
            made("containers", Effect::Containers),
        ],
        OperationKind::Pause | OperationKind::Restart => waves.iter().rev().map(stopped).collect(),
        // What was lost behind our back is made again; what is there stays, also when the operation fails.
        OperationKind::Resume | OperationKind::Repair => {
            vec![kept("network", Effect::Network), kept("volumes", Effect::Volumes), kept("containers", Effect::Containers)]
        }
        OperationKind::Apply => return vec![kept("healthy", Effect::Healthy), made("apply", Effect::PostCreate)],
        OperationKind::Delete => vec![
            kept(BEFORE_DELETE, Effect::BeforeDelete),
            gone("post-create", Effect::PostCreate),
            gone("containers", Effect::Containers),
            gone("network", Effect::Network),
            gone("volumes", Effect::Volumes),
            kept("absent", Effect::Absent),
            gone("folder", Effect::Folder),
        ],
    };
    match kind {
        OperationKind::Create | OperationKind::Resume => steps.extend(waves.iter().map(undone_by_stopping)),
        OperationKind::Restart | OperationKind::Repair => steps.extend(waves.iter().map(|wave| started(wave, None))),
        OperationKind::Pause | OperationKind::Delete | OperationKind::Update | OperationKind::Apply => return steps,
    }
    steps.push(kept("healthy", Effect::Healthy));
    if kind == OperationKind::Create {
        steps.extend([kept("owner-password", Effect::OwnerPassword), made("post-create", Effect::PostCreate)]);
    }
    if kind == OperationKind::Resume {
        steps.push(kept("after-resume", Effect::AfterResume));
    }
    steps
}

/// The first step of a delete.
pub const BEFORE_DELETE: &str = "before-delete";

/// The step that copies the data.
pub const SNAPSHOT: &str = "snapshot";

/// What an update is about.
pub struct Waves<'a> {
    /// Waves of the stack that it finds, as far as their services stop.
    pub present: &'a [usize],
    /// Waves of the stack that it makes, as far as their services start.
    pub wanted: &'a [usize],
    /// Whether the data is copied before.
    pub snapshot: bool,
}

/// The steps of an update. Everything that may fail for other reasons than the new stack itself (rendering, pulling)
/// comes before anything stops. Taken back in the reverse order they give: what was started stops, its containers go, the
/// files and the data are what they were, the old containers are made again, and start.
pub fn update(waves: &Waves<'_>) -> Vec<PlannedStep> {
    let step = |name: &str, whose, effect, undo| PlannedStep {
        name: name.to_owned(),
        effect,
        direction: Direction::Ensure,
        whose,
        undo,
    };
    let stopped = |wave: &usize| PlannedStep {
        direction: Direction::Remove,
        ..step(&format!("stop.{}", wave + 1), Whose::Present, Effect::Start(*wave), Some((Effect::Up(*wave), Direction::Ensure)))
    };
    let started = |wave: &usize| {
        let undo = Some((Effect::Start(*wave), Direction::Remove));
        step(&format!("start.{}", wave + 1), Whose::Wanted, Effect::Start(*wave), undo)
    };
    let mut steps = vec![
        step("stage", Whose::Wanted, Effect::Stage, Some((Effect::Discarded, Direction::Ensure))),
        step("images", Whose::Wanted, Effect::Images, None),
    ];
    steps.extend(waves.present.iter().rev().map(stopped));
    steps.push(step("retire", Whose::Present, Effect::Retired, Some((Effect::Containers, Direction::Ensure))));
    if waves.snapshot {
        steps.push(step(SNAPSHOT, Whose::Present, Effect::Snapshot, Some((Effect::Snapshot, Direction::Remove))));
    }
    steps.extend([
        step("switch", Whose::Wanted, Effect::Switch, Some((Effect::Switch, Direction::Remove))),
        step("volumes", Whose::Wanted, Effect::Volumes, None),
        step("containers", Whose::Wanted, Effect::Containers, Some((Effect::Retired, Direction::Ensure))),
    ]);
    steps.extend(waves.wanted.iter().map(started));
    steps.push(step("healthy", Whose::Wanted, Effect::Healthy, None));
    steps.push(step(POINT_OF_NO_RETURN, Whose::Wanted, Effect::Discarded, None));
    steps
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
            let begun = |step: &&PlannedStep| matches!(seen(step), Some(state) if state != StepState::Undone);
            plan.iter().rev().filter(|step| step.undo.is_some()).find(begun).map_or(Next::Fail, Next::Undo)
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
        let plan = plan(OperationKind::Delete, &[]);
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
        let plan = plan(OperationKind::Create, &[0, 1, 2, 3, 4, 5]);
        for position in (0..plan.len()).filter(|position| plan[*position].undo.is_some()) {
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
    fn what_was_stopped_is_started_again_in_its_order_and_what_was_started_is_stopped() {
        let names = |plan: &[PlannedStep]| plan.iter().map(|step| step.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&plan(OperationKind::Pause, &[0, 1, 2])), "stop.3 stop.2 stop.1");
        assert_eq!(names(&plan(OperationKind::Restart, &[1])), "stop.2 start.2 healthy");
        assert_eq!(
            names(&plan(OperationKind::Resume, &[0, 1])),
            "network volumes containers start.1 start.2 healthy after-resume"
        );
        let pause = plan(OperationKind::Pause, &[0, 1, 2]);
        let stopped = record(&pause, &[Some(StepState::Succeeded), Some(StepState::Succeeded), Some(StepState::Started)]);
        let Next::Undo(first) = next(OperationState::Unwinding, &pause, &stopped) else { panic!("something to undo") };
        assert_eq!(first.undo, Some((Effect::Up(0), Direction::Ensure)), "the first wave comes up first");
        let resume = plan(OperationKind::Resume, &[0, 1]);
        let begun = record(&resume, &[Some(StepState::Succeeded); 4]);
        let Next::Undo(first) = next(OperationState::Unwinding, &resume, &begun) else { panic!("something to undo") };
        assert_eq!((first.name.as_str(), first.undo), ("start.1", Some((Effect::Start(0), Direction::Remove))));
    }

    #[test]
    fn an_update_goes_back_over_files_and_data_to_the_containers_it_found() {
        let plan = update(&Waves { present: &[0, 1], wanted: &[0, 1], snapshot: true });
        let names: Vec<&str> = plan.iter().map(|step| step.name.as_str()).collect();
        let there = "stage images stop.2 stop.1 retire snapshot switch volumes containers start.1 start.2 healthy discard";
        assert_eq!(names.join(" "), there);
        let mut recorded = record(&plan, &[Some(StepState::Succeeded); 12]);
        let mut back = Vec::new();
        while let Next::Undo(step) = next(OperationState::Unwinding, &plan, &recorded) {
            back.push((step.name.clone(), step.undo.map(|undo| undo.0)));
            recorded.iter_mut().filter(|record| record.name == step.name).for_each(|record| record.state = StepState::Undone);
        }
        let order: Vec<&str> = back.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order.join(" "), "start.2 start.1 containers switch snapshot retire stop.1 stop.2 stage");
        assert_eq!(back[5].1, Some(Effect::Containers), "made again from the files and the data that are back");
        let recorded = record(&plan, &[Some(StepState::Succeeded); 12]);
        assert!(matches!(next(OperationState::Running, &plan, &recorded), Next::Run(step) if step.name == POINT_OF_NO_RETURN));
    }

    #[test]
    fn step_names_are_unique_and_a_rewind_keeps_the_folder() {
        let plan = plan(OperationKind::Create, &[0, 1, 2, 3, 4, 5]);
        let names: std::collections::BTreeSet<_> = plan.iter().map(|step| &step.name).collect();
        assert_eq!(names.len(), plan.len());
        let rewound = rewound(&plan);
        assert_eq!((rewound.len(), rewound.first().map(String::as_str)), (plan.len() - 1, Some("render")));
    }
}

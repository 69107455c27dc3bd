//! Runs one operation to its end: intent, effect, record, and back again when a step fails. Each round reads the
//! operation from the store, so a resumed run and a fresh one are the same code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::failpoint::Position;
use super::parts::Word;
use super::planner::{self, Direction, Effect, Next, PlannedStep, Whose};
use super::steps::{self, Failure, StepContext, StepError};
use super::{Announcer, Parts, RECONCILER, inside, replace};
use crate::backend::ErrorClass;
use crate::domain::{
    LastError, Operation, OperationId, OperationKind, OperationState, POINT_OF_NO_RETURN, Project, ProjectStatus, ServiceName,
    StepState,
};
use crate::secrets::ProjectSecrets;
use crate::store::StoreError;
use crate::templates::LoadedSet;

/// First pause before a step is tried again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause before a step is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Lines kept of the service behind a failure.
const TAIL_LINES: u32 = 20;

/// What a round has come to.
enum Round {
    /// There is more to do.
    More,
    /// It did not work out and is to be tried again after a pause.
    Later(Duration),
    /// The operation has ended.
    Ended,
}

/// Runs the operation until it has ended, or until the boundary after a step once `stop` has fallen: what cannot be
/// recorded is tried again, what cannot be undone stays visible as `cleaning`. While it pauses, its turn is another's.
pub async fn run(parts: Arc<Parts>, id: OperationId, stop: CancellationToken, word: Word) {
    let mut pause = PAUSE_FIRST;
    loop {
        let turn = parts.turns.acquire().await;
        if stop.is_cancelled() {
            return;
        }
        let come_to = round(&parts, &id, &word).await;
        drop(turn);
        match come_to {
            Ok(Round::Ended) => return,
            Ok(Round::More) => pause = PAUSE_FIRST,
            Ok(Round::Later(pause)) => tokio::time::sleep(pause).await,
            // Somebody ended it, or turned it round, while a step was under way: the next round sees which.
            Err(StoreError::Transition(why)) => {
                tracing::debug!(op.id = %id, why, "a record was refused");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => {
                tracing::warn!(op.id = %id, %error, "the store did not take a record, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// One step or the end.
async fn round(parts: &Arc<Parts>, id: &OperationId, word: &Word) -> Result<Round, StoreError> {
    let gone = || StoreError::Corrupt(format!("operation {id} or its project is gone"));
    let mut operation = parts.store.operation(id).await?.ok_or_else(gone)?;
    if operation.state.is_terminal() {
        return Ok(Round::Ended);
    }
    let project = parts.store.project(&operation.project).await?.ok_or_else(gone)?;
    let stacks = Stacks::of(parts, &operation, project);
    let set_is_gone = stacks.set_is_gone;
    let mut plan = stacks.plan(&operation)?;
    let project = &stacks.present.0;
    if keeps_paused(&operation) {
        // What was started by hand is not started again because stopping it failed.
        plan.iter_mut().for_each(|step| step.undo = None);
    }
    let sealed = parts.store.sealed_secrets(&project.id).await?;
    let secrets =
        ProjectSecrets::open(&parts.key, &project.id, &sealed).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if operation.state == OperationState::Accepted {
        operation.deadline_at = parts.deadline(operation.kind);
        match parts.store.operation_begins(id, operation.deadline_at).await {
            // Cancelled before it began: the next round sees it.
            Err(StoreError::Transition(_)) => return Ok(Round::More),
            begun => begun?,
        }
        operation.state = OperationState::Running;
        // What was seen before it stood still, or fell, says nothing any more.
        if matches!(operation.kind, OperationKind::Create | OperationKind::Resume) {
            parts.seen.forget(&project.id);
        }
    }
    let next = planner::next(operation.state, &plan, &operation.steps);
    let step = match &next {
        Next::Run(step) | Next::Undo(step) => (*step).clone(),
        Next::Succeed if set_is_gone && operation.has_way_back() => {
            return turn_round(parts, &operation, "the template set is gone: put it back").await;
        }
        Next::Succeed => return succeed(parts, &operation, project).await.map(|()| Round::Ended),
        Next::Fail => return fail(parts, &operation, project).await.map(|()| Round::Ended),
    };
    let (project, set) = stacks.of_step(step.whose);
    let context = StepContext {
        whose: step.whose,
        deadline: Instant::now() + step_limit(parts, &operation, &step),
        step: step.name.clone(),
        cancelled: if matches!(next, Next::Undo(_)) { CancellationToken::new() } else { word.cancelled.clone() },
        forced: word.forced.clone(),
        parts: parts.clone(),
        secrets: Arc::new(secrets),
        project,
        operation,
        set,
    };
    let span = tracing::info_span!("step", project.id = %context.project.id, op.id = %id, step = step.name);
    match next {
        Next::Undo(_) => undo(&context, &step).instrument(span).await,
        _ if set_is_gone && context.operation.has_way_back() => {
            parts.store.step_started(id, &step.name, parts.clock.now()).await?;
            let message = format!("the template set `{}` is gone: put it back and retry", context.project.template_set);
            failed(&context, &step, &plan, StepError::permanent("template_set_gone", message)).await
        }
        _ => forward(&context, &step, &plan).instrument(span).await,
    }
}

/// The stack that a project has, and the one that an update makes.
struct Stacks {
    present: (Project, Arc<LoadedSet>),
    wanted: Option<(Project, Arc<LoadedSet>)>,
    set_is_gone: bool,
}

impl Stacks {
    fn of(parts: &Parts, operation: &Operation, project: Project) -> Self {
        let mut set_is_gone = false;
        let mut with_set = |project: Project| {
            let set = parts.set_of(&project).unwrap_or_else(|_| {
                set_is_gone = true;
                Arc::new(LoadedSet::gone(&project.template_set))
            });
            (project, set)
        };
        let wanted = operation.update.as_ref().map(|update| with_set(project.in_shape(&update.shape)));
        Self { present: with_set(project), wanted, set_is_gone }
    }

    fn plan(&self, operation: &Operation) -> Result<Vec<PlannedStep>, StoreError> {
        let waves = |(_, set): &(Project, Arc<LoadedSet>)| {
            let waves = set.spec.waves().map_err(|error| StoreError::Corrupt(error.to_string()))?;
            Ok::<_, StoreError>(waves_of(operation, &waves))
        };
        let present = waves(&self.present)?;
        let (Some(wanted), Some(update)) = (&self.wanted, &operation.update) else {
            let mut plan = planner::plan(operation.kind, &present);
            // A delete that a daemon without these steps began is past them.
            let recorded = |name: &str| operation.steps.iter().any(|step| step.name == name);
            if operation.kind == OperationKind::Delete && !operation.steps.is_empty() && !recorded(planner::BEFORE_DELETE) {
                plan.retain(|step| !matches!(step.effect, Effect::BeforeDelete | Effect::PostCreate));
            }
            return Ok(plan);
        };
        let wanted = waves(wanted)?;
        Ok(planner::update(&planner::Waves { present: &present, wanted: &wanted, snapshot: update.snapshot }))
    }

    fn of_step(&self, whose: Whose) -> (Project, Arc<LoadedSet>) {
        match (whose, &self.wanted) {
            (Whose::Wanted, Some(wanted)) => wanted.clone(),
            _ => self.present.clone(),
        }
    }
}

/// The start waves that an operation is about.
fn waves_of(operation: &Operation, waves: &[Vec<ServiceName>]) -> Vec<usize> {
    let meant = |service: &ServiceName| operation.services.is_empty() || operation.services.iter().any(|n| n == service.as_str());
    (0..waves.len()).filter(|wave| waves[*wave].iter().any(meant)).collect()
}

/// The step's own limit, cut by what is left of the operation's when going forward.
fn step_limit(parts: &Parts, operation: &Operation, step: &PlannedStep) -> Duration {
    let deadlines = &parts.config.deadlines;
    let own = match step.effect {
        Effect::Start(_) | Effect::Up(_) | Effect::Healthy => deadlines.healthy_s + deadlines.step_s,
        Effect::Images => deadlines.create_s,
        // Several plugins, of two minutes each.
        Effect::PostCreate | Effect::BeforeDelete | Effect::AfterResume => deadlines.create_s.max(deadlines.step_s),
        Effect::Snapshot => deadlines.snapshot_s,
        _ => deadlines.step_s,
    };
    let left = u64::try_from(operation.deadline_at - parts.clock.now()).unwrap_or(0);
    let own = Duration::from_secs(own);
    // On the way back there is always time: what is not undone is leaked.
    let forward = matches!(operation.state, OperationState::Accepted | OperationState::Running);
    let may_give_up = operation.kind.has_way_back() && step.name != POINT_OF_NO_RETURN;
    if may_give_up && forward { own.min(Duration::from_millis(left)) } else { own }
}

async fn forward(context: &StepContext, step: &PlannedStep, plan: &[PlannedStep]) -> Result<Round, StoreError> {
    let (parts, operation) = (&context.parts, &context.operation);
    let place = format!("{}.{}", operation.kind.as_str(), step.name);
    pass_store(parts, &place, Position::BeforeIntent).await?;
    match parts.store.step_started(&operation.id, &step.name, parts.clock.now()).await {
        Err(StoreError::Transition(why)) if operation.kind.has_way_back() => {
            // Somebody turned it round; else another step is begun that the plan of today does not have.
            let now = parts.store.operation(&operation.id).await?;
            if now.is_none_or(|now| now.state != OperationState::Running) {
                return Ok(Round::More);
            }
            return turn_round(parts, operation, &format!("the template set has changed: {why}")).await;
        }
        started => started?,
    }
    parts.announcer.step(&context.project.id, &operation.id, &step.name, "started", "").await;
    let begun = Instant::now();
    match persist(context, step, (step.effect, step.direction), &place).await {
        Ok(detail) => {
            record(context, step, StepState::Succeeded, Some(&detail)).await?;
            parts.metrics.step(operation.kind.as_str(), &step.name, begun.elapsed());
            tracing::info!(duration_ms = begun.elapsed().as_millis() as u64, detail, "step done");
            pass_store(parts, &place, Position::AfterRecord).await?;
            Ok(Round::More)
        }
        Err(error) => failed(context, step, plan, error).await,
    }
}

/// What failed is rewound or unwound; a delete goes on trying: there is no way back from it.
async fn failed(
    context: &StepContext,
    step: &PlannedStep,
    plan: &[PlannedStep],
    mut error: StepError,
) -> Result<Round, StoreError> {
    let (parts, operation) = (&context.parts, &context.operation);
    if let Some(what) = &error.replace
        && operation.kind == OperationKind::Create
        && replace::replace(context, what, &planner::rewound(plan)).await?
    {
        let (project, message) = (&context.project.id, &error.failure.message);
        parts.announcer.step(project, &operation.id, &step.name, StepState::Failed.as_str(), message).await;
        return Ok(Round::Later(replace::pause(operation.created_at, parts.clock.now())));
    }
    error.failure.message = context.secrets.redact(&error.failure.message);
    if !operation.kind.has_way_back() || step.name == POINT_OF_NO_RETURN {
        let what = operation.kind.as_str();
        tracing::warn!(code = error.failure.code, reason = error.failure.message, "a {what} is not done yet, trying again");
        record(context, step, StepState::Failed, Some(&error.failure.message)).await?;
        return Ok(Round::Later(PAUSE_MAX));
    }
    error.failure.log_tail = log_tail(context, &error).await;
    tracing::info!(code = error.failure.code, reason = error.failure.message, "step failed, unwinding");
    let detail = serde_json::to_string(&error.failure).unwrap_or_default();
    record(context, step, StepState::Failed, Some(&detail)).await?;
    parts.store.set_operation_state(&operation.id, OperationState::Unwinding).await.map(|()| Round::More)
}

async fn undo(context: &StepContext, step: &PlannedStep) -> Result<Round, StoreError> {
    let (parts, operation) = (&context.parts, &context.operation);
    let place = format!("{}.undo.{}", operation.kind.as_str(), step.name);
    pass_store(parts, &place, Position::BeforeIntent).await?;
    let Some(back) = step.undo else { return record(context, step, StepState::Undone, None).await.map(|()| Round::More) };
    match persist(context, step, back, &place).await {
        Ok(_) => {
            record(context, step, StepState::Undone, None).await?;
            pass_store(parts, &place, Position::AfterRecord).await?;
            Ok(Round::More)
        }
        Err(error) => {
            // Cleaning goes on until it succeeds; until then it shows in the API and in the metrics.
            tracing::warn!(code = error.failure.code, reason = error.failure.message, "undoing is not done yet, trying again");
            parts.store.set_operation_state(&operation.id, OperationState::Cleaning).await?;
            Ok(Round::Later(PAUSE_MAX))
        }
    }
}

/// Does the effect, again and again while its errors say that this may help, until the step's deadline.
async fn persist(
    context: &StepContext,
    step: &PlannedStep,
    (effect, direction): (Effect, Direction),
    place: &str,
) -> Result<String, StepError> {
    let effect = steps::effect(effect);
    let mut pause = PAUSE_FIRST;
    let mut told = String::new();
    loop {
        let attempt = async {
            context.parts.failpoints.pass(place, Position::AfterIntent).await?;
            let done = match direction {
                Direction::Ensure => effect.ensure(context).await?,
                Direction::Remove if effect.observe(context).await? => {
                    effect.remove(context).await?;
                    "removed".to_owned()
                }
                Direction::Remove => "nothing to remove".to_owned(),
            };
            context.parts.failpoints.pass(place, Position::AfterEffect).await?;
            Ok::<_, StepError>(done)
        };
        // A panic in a step is a failed step, not a lost operation.
        let guarded = std::panic::AssertUnwindSafe(attempt).catch_unwind();
        let error = match tokio::time::timeout_at(context.deadline, guarded).await {
            Ok(Ok(Ok(detail))) => return Ok(detail),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => return Err(StepError::permanent("panic", format!("step {} panicked: this is a defect", step.name))),
            Err(_) => {
                return Err(StepError::permanent("step_timeout", too_late(context, step)));
            }
        };
        if error.class != ErrorClass::Retry || context.time_left() < pause || context.forced.is_cancelled() {
            return Err(error);
        }
        tracing::debug!(code = error.failure.code, reason = error.failure.message, "trying a step again");
        if told != error.failure.message {
            told = error.failure.message;
            // What it waits for can be read while it waits; not being able to write it down is no reason to fail.
            let _ = context.parts.store.step_waits(&context.operation.id, &step.name, &told).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.cancelled.cancelled() => context.go_on()?,
            () = context.forced.cancelled() => return Err(error_of_force()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn too_late(context: &StepContext, step: &PlannedStep) -> String {
    let deadlines = &context.parts.config.deadlines;
    format!(
        "step {} did not end in time: a step has {} s (deadlines.step_s), a whole create {} s (deadlines.create_s), \
         any other operation {} s (deadlines.change_s)",
        step.name, deadlines.step_s, deadlines.create_s, deadlines.change_s
    )
}

async fn record(context: &StepContext, step: &PlannedStep, state: StepState, detail: Option<&str>) -> Result<(), StoreError> {
    let parts = &context.parts;
    parts.store.step_ended(&context.operation.id, &step.name, state, detail, parts.clock.now()).await?;
    let shown = detail.map(|detail| failure_of(detail).map_or(detail.to_owned(), |failure| failure.message)).unwrap_or_default();
    parts.announcer.step(&context.project.id, &context.operation.id, &step.name, state.as_str(), &shown).await;
    Ok(())
}

async fn succeed(parts: &Parts, operation: &Operation, project: &Project) -> Result<(), StoreError> {
    end(parts, operation, project, OperationState::Succeeded, operation.kind.succeeded(), None).await
}

async fn fail(parts: &Parts, operation: &Operation, project: &Project) -> Result<(), StoreError> {
    let failed = || operation.steps.iter().find_map(|step| Some((step, failure_of(step.detail.as_deref()?)?)));
    let reached = || operation.steps.last().map(|step| step.name.clone()).unwrap_or_default();
    let plain = |step, code: &str, message: &str| LastError {
        step,
        code: code.to_owned(),
        message: message.to_owned(),
        log_tail: Vec::new(),
    };
    let error = match (&operation.cancelled, failed()) {
        (Some(reason), _) => plain(reached(), "cancelled", reason),
        (None, Some((step, failure))) => {
            LastError { step: step.name.clone(), code: failure.code, message: failure.message, log_tail: failure.log_tail }
        }
        (None, None) => plain(reached(), "unknown", "the operation was unwound and left no reason"),
    };
    let status = if keeps_paused(operation) { ProjectStatus::Paused } else { operation.kind.failed() };
    end(parts, operation, project, OperationState::Failed, status, Some(&error)).await
}

/// A pause of a paused project: nobody asked for it to run.
fn keeps_paused(operation: &Operation) -> bool {
    operation.kind == OperationKind::Pause && operation.requested_by == RECONCILER
}

/// Sends an operation back that cannot go on.
async fn turn_round(parts: &Parts, operation: &Operation, why: &str) -> Result<Round, StoreError> {
    tracing::info!(project.id = %operation.project, op.id = %operation.id, why, "an operation cannot go on and goes back");
    parts.store.cancel_operation(&operation.project, why).await.map(|_| Round::More)
}

fn error_of_force() -> StepError {
    StepError::permanent("forced", "the operation was ended by force")
}

/// Ends an operation where it is, whatever it has left.
pub(super) async fn force(parts: &Parts, operation: &Operation, project: &Project, by: &str) -> Result<(), StoreError> {
    tracing::warn!(project.id = %project.id, op.id = %operation.id, by, "an operation was ended by force");
    let message = format!("{by} ended the operation; what it left is put right later");
    if !operation.has_way_back() && operation.kind.has_way_back() {
        // All that is left of the update is to throw the old data away.
        return succeed(parts, operation, project).await;
    }
    end_where_it_is(parts, operation, project, "forced", message).await
}

/// Ends what the reconciler began, because a person wants something else.
pub(super) async fn pushed_aside(
    parts: &Parts,
    operation: &Operation,
    project: &Project,
    to: OperationKind,
) -> Result<(), StoreError> {
    let message = format!("it gave way to a {}", to.as_str());
    end_where_it_is(parts, operation, project, "gave_way", message).await
}

async fn end_where_it_is(
    parts: &Parts,
    operation: &Operation,
    project: &Project,
    code: &str,
    message: String,
) -> Result<(), StoreError> {
    let step = operation.steps.last().map(|step| step.name.clone()).unwrap_or_default();
    let error = LastError { step, code: code.to_owned(), message, log_tail: Vec::new() };
    end(parts, operation, project, OperationState::Failed, operation.kind.failed(), Some(&error)).await
}

async fn end(
    parts: &Parts,
    operation: &Operation,
    project: &Project,
    state: OperationState,
    status: ProjectStatus,
    error: Option<&LastError>,
) -> Result<(), StoreError> {
    let place = format!("{}.end", operation.kind.as_str());
    pass_store(parts, &place, Position::BeforeIntent).await?;
    let reason = error.map(|error| error.message.as_str()).unwrap_or_default();
    let events = Announcer::ending(&operation.id, state.as_str(), status, reason);
    parts.store.end_operation(operation, state, status, error, &events, parts.clock.now()).await?;
    if !status.is_active() {
        parts.seen.forget(&project.id);
    }
    pass_store(parts, &place, Position::AfterRecord).await?;
    parts.announcer.wake(&project.id);
    parts.metrics.operation(operation.kind.as_str(), state.as_str());
    tracing::info!(project.id = %project.id, op.id = %operation.id, status = status.as_str(), "operation ended");
    Ok(())
}

/// Around a record only the record itself can fail.
async fn pass_store(parts: &Parts, place: &str, position: Position) -> Result<(), StoreError> {
    let passed = parts.failpoints.pass(place, position).await;
    passed.map_err(|error| StoreError::Database(error.failure.message))
}

/// A failure is kept as JSON, success as a plain sentence.
fn failure_of(detail: &str) -> Option<Failure> {
    serde_json::from_str(detail).ok()
}

/// The last lines of the service behind a failure, redacted before anybody keeps them.
async fn log_tail(context: &StepContext, error: &StepError) -> Vec<String> {
    let Some(service) = &error.service else { return Vec::new() };
    let Ok(observed) = context.observed().await else { return Vec::new() };
    let container = observed
        .containers
        .into_iter()
        .find(|container| container.labels.as_ref().and_then(|labels| labels.service.as_ref()) == Some(service));
    let Some(container) = container else { return Vec::new() };
    let lines = context.parts.backend.logs(&container.id, TAIL_LINES, None).await.unwrap_or_default();
    inside::shown(&context.secrets, lines).into_iter().map(|line| line.text).collect()
}

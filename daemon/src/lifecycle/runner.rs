//! Runs one operation to its end: intent, effect, record, and back again when a step fails. Each round reads the
//! operation from the store, so a resumed run and a fresh one are the same code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::failpoint::Position;
use super::planner::{self, Direction, Effect, Next, PlannedStep};
use super::steps::{self, Failure, StepContext, StepError};
use super::{Announcer, Parts, replace};
use crate::backend::ErrorClass;
use crate::domain::{LastError, Operation, OperationId, OperationKind, OperationState, Project, ProjectStatus, StepState};
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
    Later,
    /// The operation has ended.
    Ended,
}

/// Runs the operation until it has ended, or until the boundary after a step once `stop` has fallen: what cannot be
/// recorded is tried again, what cannot be undone stays visible as `cleaning`. While it pauses, its turn is another's.
pub async fn run(parts: Arc<Parts>, id: OperationId, stop: CancellationToken) {
    let mut pause = PAUSE_FIRST;
    loop {
        let turn = parts.turns.acquire().await;
        if stop.is_cancelled() {
            return;
        }
        let come_to = round(&parts, &id).await;
        drop(turn);
        match come_to {
            Ok(Round::Ended) => return,
            Ok(Round::More) => pause = PAUSE_FIRST,
            Ok(Round::Later) => tokio::time::sleep(PAUSE_MAX).await,
            Err(error) => {
                tracing::warn!(op.id = %id, %error, "the store did not take a record, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// One step or the end.
async fn round(parts: &Arc<Parts>, id: &OperationId) -> Result<Round, StoreError> {
    let gone = || StoreError::Corrupt(format!("operation {id} or its project is gone"));
    let mut operation = parts.store.operation(id).await?.ok_or_else(gone)?;
    if operation.state.is_terminal() {
        return Ok(Round::Ended);
    }
    let project = parts.store.project(&operation.project).await?.ok_or_else(gone)?;
    let set = parts.templates.set(&project.template_set);
    let set_is_gone = set.is_err();
    let set = set.unwrap_or_else(|_| Arc::new(LoadedSet::gone(&project.template_set)));
    let waves = set.spec.waves().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let plan = planner::plan(operation.kind, waves.len());
    let sealed = parts.store.sealed_secrets(&project.id).await?;
    let secrets =
        ProjectSecrets::open(&parts.key, &project.id, &sealed).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if operation.state == OperationState::Accepted {
        operation.deadline_at = parts.deadline(operation.kind);
        parts.store.operation_begins(id, operation.deadline_at).await?;
    }
    let next = planner::next(operation.state, &plan, &operation.steps);
    let step = match &next {
        Next::Run(step) | Next::Undo(step) => (*step).clone(),
        Next::Succeed => return succeed(parts, &operation, &project).await.map(|()| Round::Ended),
        Next::Fail => return fail(parts, &operation, &project).await.map(|()| Round::Ended),
    };
    let context = StepContext {
        deadline: Instant::now() + step_limit(parts, &operation, &step),
        step: step.name.clone(),
        parts: parts.clone(),
        secrets: Arc::new(secrets),
        project,
        operation,
        set,
    };
    let span = tracing::info_span!("step", project.id = %context.project.id, op.id = %id, step = step.name);
    match next {
        Next::Undo(_) => undo(&context, &step).instrument(span).await,
        _ if set_is_gone && context.operation.kind == OperationKind::Create => {
            parts.store.step_started(id, &step.name, parts.clock.now()).await?;
            let message = format!("the template set `{}` is gone: put it back and retry", context.project.template_set);
            failed(&context, &step, &plan, StepError::permanent("template_set_gone", message)).await
        }
        _ => forward(&context, &step, &plan).instrument(span).await,
    }
}

/// The step's own limit, cut by what is left of the operation's when going forward.
fn step_limit(parts: &Parts, operation: &Operation, step: &PlannedStep) -> Duration {
    let deadlines = &parts.config.deadlines;
    let own = match step.effect {
        Effect::Start(_) | Effect::Healthy => deadlines.healthy_s + deadlines.step_s,
        Effect::Images => deadlines.create_s,
        _ => deadlines.step_s,
    };
    let left = u64::try_from(operation.deadline_at - parts.clock.now()).unwrap_or(0);
    let own = Duration::from_secs(own);
    // On the way back there is always time: what is not undone is leaked.
    let forward = matches!(operation.state, OperationState::Accepted | OperationState::Running);
    if operation.kind == OperationKind::Create && forward { own.min(Duration::from_millis(left)) } else { own }
}

async fn forward(context: &StepContext, step: &PlannedStep, plan: &[PlannedStep]) -> Result<Round, StoreError> {
    let (parts, operation) = (&context.parts, &context.operation);
    let place = format!("{}.{}", operation.kind.as_str(), step.name);
    parts.failpoints.pass(&place, Position::BeforeIntent).await;
    parts.store.step_started(&operation.id, &step.name, parts.clock.now()).await?;
    parts.announcer.step(&context.project.id, &operation.id, &step.name, "started", "").await;
    parts.failpoints.pass(&place, Position::AfterIntent).await;
    let begun = Instant::now();
    match persist(context, step, step.direction).await {
        Ok(detail) => {
            parts.failpoints.pass(&place, Position::AfterEffect).await;
            record(context, step, StepState::Succeeded, Some(&detail)).await?;
            parts.metrics.step(operation.kind.as_str(), &step.name, begun.elapsed());
            tracing::info!(duration_ms = begun.elapsed().as_millis() as u64, detail, "step done");
            parts.failpoints.pass(&place, Position::AfterRecord).await;
            Ok(Round::More)
        }
        Err(error) => failed(context, step, plan, error).await,
    }
}

/// A create that failed is rewound or unwound; a delete goes on trying: there is no way back from it.
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
        return Ok(Round::More);
    }
    if operation.kind == OperationKind::Delete {
        tracing::warn!(code = error.failure.code, reason = error.failure.message, "a delete is not done yet, trying again");
        record(context, step, StepState::Failed, Some(&error.failure.message)).await?;
        return Ok(Round::Later);
    }
    error.failure.log_tail = log_tail(context, &error).await;
    error.failure.message = context.secrets.redact(&error.failure.message);
    tracing::info!(code = error.failure.code, reason = error.failure.message, "step failed, unwinding");
    let detail = serde_json::to_string(&error.failure).unwrap_or_default();
    record(context, step, StepState::Failed, Some(&detail)).await?;
    parts.store.set_operation_state(&operation.id, OperationState::Unwinding).await.map(|()| Round::More)
}

async fn undo(context: &StepContext, step: &PlannedStep) -> Result<Round, StoreError> {
    let (parts, operation) = (&context.parts, &context.operation);
    let place = format!("{}.undo.{}", operation.kind.as_str(), step.name);
    parts.failpoints.pass(&place, Position::BeforeIntent).await;
    match persist(context, step, Direction::Remove).await {
        Ok(_) => {
            parts.failpoints.pass(&place, Position::AfterEffect).await;
            record(context, step, StepState::Undone, None).await?;
            parts.failpoints.pass(&place, Position::AfterRecord).await;
            Ok(Round::More)
        }
        Err(error) => {
            // Cleaning goes on until it succeeds; until then it shows in the API and in the metrics.
            tracing::warn!(code = error.failure.code, reason = error.failure.message, "undoing is not done yet, trying again");
            parts.store.set_operation_state(&operation.id, OperationState::Cleaning).await?;
            Ok(Round::Later)
        }
    }
}

/// Does the effect, again and again while its errors say that this may help, until the step's deadline.
async fn persist(context: &StepContext, step: &PlannedStep, direction: Direction) -> Result<String, StepError> {
    let effect = steps::effect(step.effect);
    let mut pause = PAUSE_FIRST;
    loop {
        let attempt = async {
            match direction {
                Direction::Ensure => effect.ensure(context).await,
                Direction::Remove => match effect.observe(context).await? {
                    false => Ok("nothing to remove".to_owned()),
                    true => effect.remove(context).await.map(|()| "removed".to_owned()),
                },
            }
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
        if error.class != ErrorClass::Retry || context.time_left() < pause {
            return Err(error);
        }
        tracing::debug!(code = error.failure.code, reason = error.failure.message, "trying a step again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn too_late(context: &StepContext, step: &PlannedStep) -> String {
    let deadlines = &context.parts.config.deadlines;
    format!(
        "step {} did not end in time: a step has {} s (deadlines.step_s), a whole create {} s (deadlines.create_s)",
        step.name, deadlines.step_s, deadlines.create_s
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
    let status = match operation.kind {
        OperationKind::Create => ProjectStatus::ActiveHealthy,
        OperationKind::Delete => ProjectStatus::Deleted,
    };
    end(parts, operation, project, OperationState::Succeeded, status, None).await
}

async fn fail(parts: &Parts, operation: &Operation, project: &Project) -> Result<(), StoreError> {
    let found = operation.steps.iter().find_map(|step| Some((step, failure_of(step.detail.as_deref()?)?)));
    let error = match found {
        Some((step, failure)) => {
            LastError { step: step.name.clone(), code: failure.code, message: failure.message, log_tail: failure.log_tail }
        }
        None => LastError {
            step: String::new(),
            code: "unknown".to_owned(),
            message: "the operation was unwound and left no reason".to_owned(),
            log_tail: Vec::new(),
        },
    };
    end(parts, operation, project, OperationState::Failed, ProjectStatus::Failed, Some(&error)).await
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
    parts.failpoints.pass(&place, Position::BeforeIntent).await;
    let reason = error.map(|error| error.message.as_str()).unwrap_or_default();
    let events = Announcer::ending(&operation.id, state.as_str(), status, reason);
    parts.store.end_operation(operation, state, status, error, &events, parts.clock.now()).await?;
    parts.failpoints.pass(&place, Position::AfterRecord).await;
    parts.announcer.wake(&project.id);
    parts.metrics.operation(operation.kind.as_str(), state.as_str());
    tracing::info!(project.id = %project.id, op.id = %operation.id, status = status.as_str(), "operation ended");
    Ok(())
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
    let lines = context.parts.backend.logs(&container.id, TAIL_LINES).await.unwrap_or_default();
    lines.iter().map(|line| context.secrets.redact(&line.text)).collect()
}

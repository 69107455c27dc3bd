//! One call of one hook: a new store, a slot, two clocks, and an error that says what happened.
//!
//! Two clocks, because ticks reach a guest only while it runs: one that waits inside an import is ended from
//! outside. Nothing of a call outlives it, so there is nothing a bad call could break for the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;
use wasmtime::{Store, Trap, UpdateDeadline};

use super::adapt::{Answer, Contract, GuestError};
use super::engine::{SLOTS, WasmEngine};
use super::hooks::HookError;
use super::limits::{Hook, HookLimits, LimitReached};
use super::meter::Metered;
use super::state::{CallState, Surroundings};
use crate::telemetry::{CallError, Ended, HookMetrics};

/// What a call needs to know of its plugin.
#[derive(Clone)]
pub struct Callee {
    /// Its name.
    pub name: Arc<str>,
    /// Which hook is called.
    pub hook: Hook,
    /// Where its calls are counted.
    pub metrics: HookMetrics,
    /// What the call may use.
    pub limits: HookLimits,
    /// The code.
    pub contract: Arc<dyn Contract>,
}

/// What one call used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// From its beginning to its answer, a wait for a slot included.
    pub took: Duration,
    /// Processor time of the guest.
    pub cpu: Duration,
    /// Linear memory, at its largest.
    pub memory_bytes: usize,
    /// Calls into the host.
    pub host_calls: u32,
}

/// Runs `body` in a new store on the plugin threads.
///
/// # Errors
/// A limit, a trap, or the plugin's own error.
pub async fn call<T, B>(
    engine: &WasmEngine,
    callee: &Callee,
    surroundings: Surroundings,
    span: tracing::Span,
    body: B,
) -> Result<T, HookError>
where
    T: Send + 'static,
    B: for<'a> FnOnce(&'a dyn Contract, &'a mut Store<CallState>) -> BoxFuture<'a, Answer<T>> + Send + 'static,
{
    measured(engine, callee, surroundings, span, body).await.0
}

/// The same, with what it used.
pub async fn measured<T, B>(
    engine: &WasmEngine,
    callee: &Callee,
    surroundings: Surroundings,
    span: tracing::Span,
    body: B,
) -> (Result<T, HookError>, Used)
where
    T: Send + 'static,
    B: for<'a> FnOnce(&'a dyn Contract, &'a mut Store<CallState>) -> BoxFuture<'a, Answer<T>> + Send + 'static,
{
    let (started, project) = (Instant::now(), surroundings.project.clone());
    let mut used = Used::default();
    let result = within_limits(engine, callee, surroundings, span.clone(), body, &mut used).await;
    used.took = started.elapsed();
    let error = result.as_ref().err();
    span.in_scope(|| report(callee, &used, error));
    callee.metrics.ended(Ended {
        took: used.took,
        cpu: used.cpu,
        memory_bytes: used.memory_bytes,
        limit: error.and_then(HookError::limit).unwrap_or_default(),
        error: error.map(|error| CallError { at: engine.clock().now(), project, code: error.code(), message: error.to_string() }),
    });
    (result, used)
}

async fn within_limits<T, B>(
    engine: &WasmEngine,
    callee: &Callee,
    surroundings: Surroundings,
    span: tracing::Span,
    body: B,
    used: &mut Used,
) -> Result<T, HookError>
where
    T: Send + 'static,
    B: for<'a> FnOnce(&'a dyn Contract, &'a mut Store<CallState>) -> BoxFuture<'a, Answer<T>> + Send + 'static,
{
    let limits = callee.limits;
    let waiting = timeout(limits.wall, engine.slots().acquire_owned());
    let Ok(Ok(slot)) = waiting.await else {
        return Err(HookError::Busy {
            plugin: callee.name.to_string(),
            waited_ms: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
            calls: SLOTS,
        });
    };
    let _under_way = engine.computing().call();
    let state = CallState::new(callee.metrics.clone(), limits, surroundings, Handle::current(), engine.computing().clone());
    let cpu = state.cpu.clone();
    let started = Instant::now();
    let mut store = new_store(engine, state);
    let contract = callee.contract.clone();
    let guest = async move {
        let answer = body(&*contract, &mut store).await;
        let (memory_bytes, host_calls) = (store.data().memory.bytes(), store.data().host_calls());
        drop(store);
        // Held until the instance is gone, also when the caller has gone before.
        drop(slot);
        (answer, memory_bytes, host_calls)
    };
    let guest = Metered::new(guest.instrument(span), cpu.clone());
    let mut task = EndWithCaller(engine.guests().spawn(guest));
    let ended = timeout(limits.wall, &mut task.0).await;
    used.cpu = cpu.total();
    let answer = match ended {
        Ok(Ok((answer, memory_bytes, host_calls))) => {
            (used.memory_bytes, used.host_calls) = (memory_bytes, host_calls);
            answer
        }
        Ok(Err(_)) => {
            let message = "the host's side of the call ended early".to_owned();
            return Err(HookError::Trap { plugin: callee.name.to_string(), message });
        }
        Err(_) => return Err(LimitReached::wall(started.elapsed(), &limits).of(&callee.name, callee.hook)),
    };
    judge(callee, answer)
}

fn new_store(engine: &WasmEngine, state: CallState) -> Store<CallState> {
    let crossing_bytes = state.limits().crossing_bytes;
    let mut store = Store::new(engine.wasm(), state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(crossing_bytes);
    // Before instantiation: the default deadline is over already, and a module's start function is guest code.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        context.data().check_time()?;
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}

fn judge<T>(callee: &Callee, answer: Answer<T>) -> Result<T, HookError> {
    let plugin = callee.name.to_string();
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(GuestError::InvalidInput(message))) => Err(HookError::InvalidInput { plugin, message: bounded(message) }),
        Ok(Err(GuestError::Denied(message))) => Err(HookError::Denied { plugin, message: bounded(message) }),
        Ok(Err(GuestError::RetryAfter(after_ms))) => Err(HookError::RetryAfter { plugin, after_ms }),
        Ok(Err(GuestError::Failed(message))) => Err(HookError::Failed { plugin, message: bounded(message) }),
        Err(error) => Err(explain(callee, &error)),
    }
}

/// Told apart by type: a limit of ours, a trap of the guest, or something the guest handed over that the
/// host did not take (text that is not UTF-8, a pointer out of its memory, more than a crossing may copy).
fn explain(callee: &Callee, error: &wasmtime::Error) -> HookError {
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return limit.clone().of(&callee.name, callee.hook);
    }
    let plugin = callee.name.to_string();
    match error.downcast_ref::<Trap>() {
        Some(trap) => HookError::Trap { plugin, message: trap.to_string() },
        // wasmtime has no type for it.
        None if format!("{error:#}").contains("fuel allocated for hostcalls") => {
            LimitReached::crossing(&callee.limits).of(&callee.name, callee.hook)
        }
        None => {
            let allowed = callee.limits.crossing_bytes / 1024;
            let message = format!("it handed over what the host does not take (at most {allowed} KiB at once): {error:#}");
            HookError::Trap { plugin, message: bounded(message) }
        }
    }
}

/// A plugin's words go into rows and answers; they stay short.
fn bounded(mut words: String) -> String {
    const BYTES_MAX: usize = 4 * 1024;
    if words.len() > BYTES_MAX {
        let end = (0..=BYTES_MAX).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
        words.truncate(end);
        words.push_str("...");
    }
    words
}

fn report(callee: &Callee, used: &Used, error: Option<&HookError>) {
    tracing::debug!(
        duration_ms = used.took.as_secs_f64() * 1e3,
        cpu_ms = used.cpu.as_secs_f64() * 1e3,
        memory_bytes = used.memory_bytes,
        host_calls = used.host_calls,
        outcome = error.map_or("ok", HookError::code),
        "plugin `{}` was called",
        callee.name
    );
}

/// The guest ends when nobody waits for it any more, at its next tick at the latest.
struct EndWithCaller<T>(JoinHandle<T>);

impl<T> Drop for EndWithCaller<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

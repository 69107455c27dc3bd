//! What a running call has used: memory as it grows, processor time as the thread spends it. Processor time
//! and not time passed, so that a busy machine or a slow host call is never taken for a busy guest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use super::limits::{HookLimits, LimitReached};

/// Bytes a table's element takes in the host; tables count as memory, or a guest could grow those instead.
const TABLE_ELEMENT_BYTES: usize = 16;

/// Memory of one call, over all its modules.
pub struct MemoryMeter {
    limits: HookLimits,
    bytes: usize,
    tables_bytes: usize,
}

impl MemoryMeter {
    /// Nothing used yet.
    pub fn new(limits: HookLimits) -> Self {
        Self { limits, bytes: 0, tables_bytes: 0 }
    }

    /// Linear memory in use. Wasm memory never shrinks, so this is the peak too.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn allow(&self, bytes: usize, tables_bytes: usize) -> Result<(), LimitReached> {
        let total = bytes.saturating_add(tables_bytes);
        if total > self.limits.memory_bytes { Err(LimitReached::memory(total, &self.limits)) } else { Ok(()) }
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        // An error and not `false`: a guest that is only told so would abort with words about anything else.
        self.allow(bytes, self.tables_bytes)?;
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES);
        let tables_bytes = self.tables_bytes.saturating_add(grown);
        self.allow(self.bytes, tables_bytes)?;
        self.tables_bytes = tables_bytes;
        Ok(true)
    }
}

/// Processor time of one call, on whichever threads it ran.
#[derive(Debug, Default)]
pub struct CpuMeter {
    spent_ns: AtomicU64,
    since_ns: AtomicU64,
}

impl CpuMeter {
    /// Up to now; to be asked on the thread that runs the call.
    pub fn used(&self) -> Duration {
        let running = thread_ns().saturating_sub(self.since_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed) + running)
    }

    fn begin(&self) {
        self.since_ns.store(thread_ns(), Ordering::Relaxed);
    }

    fn end(&self) {
        let running = thread_ns().saturating_sub(self.since_ns.load(Ordering::Relaxed));
        self.spent_ns.fetch_add(running, Ordering::Relaxed);
    }

    /// After the call.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }
}

/// Nanoseconds of processor time of this thread.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A future whose polls are charged to a meter.
pub struct Metered<F> {
    inner: Pin<Box<F>>,
    meter: Arc<CpuMeter>,
}

impl<F> Metered<F> {
    /// Charges `inner` to `meter`.
    pub fn new(inner: F, meter: Arc<CpuMeter>) -> Self {
        Self { inner: Box::pin(inner), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let poll = self.inner.as_mut().poll(context);
        self.meter.end();
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin_host::limits::Limits;

    #[test]
    fn memory_and_tables_share_one_budget() {
        let limits = Limits::default().probe;
        let mut meter = MemoryMeter::new(limits);
        assert!(meter.memory_growing(0, limits.memory_bytes - 1_600, None).unwrap());
        assert!(meter.table_growing(0, 100, None).unwrap());
        let refused = meter.table_growing(100, 101, None).unwrap_err();
        assert!(refused.downcast_ref::<LimitReached>().is_some());
        assert!(meter.memory_growing(0, usize::MAX, None).is_err());
    }

    #[test]
    fn waiting_is_not_charged_and_working_is() {
        let meter = CpuMeter::default();
        meter.begin();
        std::thread::sleep(Duration::from_millis(30));
        meter.end();
        let asleep = meter.total();
        meter.begin();
        while meter.used() < asleep + Duration::from_millis(20) {
            std::hint::black_box(thread_ns());
        }
        meter.end();
        assert!(asleep < Duration::from_millis(15), "{asleep:?}");
        assert!(meter.total() >= asleep + Duration::from_millis(20));
    }
}

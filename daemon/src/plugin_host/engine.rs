//! The wasm engine with its own ticker and its own threads. It cannot be had without a ticker, so no limit on
//! time can be on paper only. Plugins run on a small runtime of their own: a guest that loops would make the
//! daemon's timers late by hundreds of milliseconds (measured: 610 ms), its own threads keep that to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::limits::Limits;
use crate::clock::Clock;

/// The grain of every limit on time. Deadlines are numbers of ticks; no tick is ever made for one plugin.
pub const TICK: Duration = Duration::from_millis(10);

/// Calls at one time. Each takes a slot of the pool: its memory, its tables and a stack.
pub const SLOTS: u32 = 24;

/// What a free slot keeps of a memory and of a table: a probe's call touches some 30 KiB of its memory.
const KEPT_BYTES: usize = 256 << 10;

/// Modules one component may be made of. Rust makes three, componentize-js four, componentize-py 0.25 makes 38.
const MODULES_PER_COMPONENT: u32 = 64;

/// Tables one component may have: Rust's, componentize-js's and componentize-py's have two.
const TABLES_PER_COMPONENT: u32 = 8;

/// Address space kept per memory; less than a 32-bit memory could want, since limits are far below that.
const MEMORY_RESERVATION: usize = 64 << 20;

/// The engine, its ticker, its threads and its slots.
pub struct WasmEngine {
    engine: Engine,
    guests: Handle,
    /// Only there to be ended; `None` once it is.
    runtime: Option<Runtime>,
    slots: Arc<Semaphore>,
    computing: Computing,
    clock: Clock,
}

/// How many guests compute now: calls under way, less those that wait for the host. Whoever drives the daemon by a
/// clock of his own must not move it on while one does.
#[derive(Clone, Default)]
pub struct Computing(Arc<AtomicI64>);

impl Computing {
    /// A call is under way as long as the answer lives.
    pub fn call(&self) -> Counted {
        self.count(1)
    }

    /// Its guest waits for the host as long as the answer lives. Taken and given back on the host's side: a guest that
    /// has been answered computes before it is woken.
    pub fn host_call(&self) -> Counted {
        self.count(-1)
    }

    /// Guests that compute now.
    pub fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn count(&self, by: i64) -> Counted {
        self.0.fetch_add(by, Ordering::SeqCst);
        Counted { of: self.clone(), by }
    }
}

/// Counts until it is dropped.
pub struct Counted {
    of: Computing,
    by: i64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.by, Ordering::SeqCst);
    }
}

impl WasmEngine {
    /// Starts an engine whose slots hold what the limits allow.
    pub fn start(limits: &Limits, clock: Clock) -> Result<Self, String> {
        let memory_bytes = limits.memory_bytes_max();
        // A pool reserves address space once; where the machine refuses that, every call maps its own.
        let engine = Engine::new(&config(memory_bytes, true)).or_else(|error| {
            tracing::warn!(reason = format!("{error:#}"), "no pool for plugin instances, each call maps its own memory");
            Engine::new(&config(memory_bytes, false))
        });
        let engine = engine.map_err(|error| format!("{error:#}"))?;
        start_ticker(&engine)?;
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("plugin").build();
        let runtime = runtime.map_err(|error| format!("no threads for plugins: {error}"))?;
        Ok(Self {
            engine,
            guests: runtime.handle().clone(),
            runtime: Some(runtime),
            slots: Arc::new(Semaphore::new(SLOTS as usize)),
            computing: Computing::default(),
            clock,
        })
    }

    /// wasmtime's.
    pub fn wasm(&self) -> &Engine {
        &self.engine
    }

    /// One permit per call.
    pub fn slots(&self) -> Arc<Semaphore> {
        self.slots.clone()
    }

    /// Guests that compute.
    pub fn computing(&self) -> &Computing {
        &self.computing
    }

    /// When something happened.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where guests run.
    pub fn guests(&self) -> &Handle {
        &self.guests
    }
}

impl Drop for WasmEngine {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed inside of another runtime, and nothing is lost by not waiting.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn config(memory_bytes: usize, pool: bool) -> Config {
    let reservation = memory_bytes.max(MEMORY_RESERVATION);
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true).memory_reservation(reservation as u64);
    if pool {
        let mut slots = PoolingAllocationConfig::new();
        slots
            .total_component_instances(SLOTS)
            .total_stacks(SLOTS)
            .total_core_instances(SLOTS * MODULES_PER_COMPONENT)
            .total_memories(SLOTS * 2)
            .total_tables(SLOTS * TABLES_PER_COMPONENT)
            .max_core_instances_per_component(MODULES_PER_COMPONENT)
            .max_memories_per_component(2)
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_memory_size(memory_bytes);
        // Where the kernel can say which pages a call has touched (Linux 6.7), those are written over after it. Elsewhere
        // the whole slot goes back to the kernel, which stops both cores for a moment, 900 times a second with 900 projects.
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            slots.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEPT_BYTES).table_keep_resident(KEPT_BYTES);
        }
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(slots));
    }
    config
}

/// A thread and not a task: a task would be as late as the executor it is meant to protect.
fn start_ticker(engine: &Engine) -> Result<(), String> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    let thread = thread::Builder::new().name("plugin-ticks".into()).spawn(tick);
    thread.map(drop).map_err(|error| format!("no thread for the plugins' clock: {error}"))
}

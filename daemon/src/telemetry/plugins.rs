//! What plugins cost, by plugin and hook. The same numbers are behind `/metrics` and behind `GET /platform/plugins`:
//! whoever asks which plugin is slow, greedy or broken gets one answer.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Durations;
use crate::domain::{ProjectRef, UnixMillis};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabels {
    plugin: String,
    hook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    plugin: String,
    hook: &'static str,
    outcome: &'static str,
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostCallLabels {
    plugin: String,
    hook: &'static str,
    interface: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadedLabels {
    plugin: String,
    version: String,
    digest: String,
    provenance: String,
}

impl LoadedLabels {
    fn of(plugin: &str, version: &str, digest: &str, provenance: &str) -> Self {
        let (plugin, version) = (plugin.to_owned(), version.to_owned());
        Self { plugin, version, digest: digest.to_owned(), provenance: provenance.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadLabels {
    plugin: String,
    cache: &'static str,
}

/// By plugin and hook.
type Hooks = BTreeMap<(String, &'static str), Arc<Mutex<HookUsage>>>;

/// What all plugins have used since the start. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PluginMetrics {
    calls: Family<CallLabels, Counter>,
    durations: Durations<HookLabels>,
    cpu: Family<HookLabels, Counter<f64, AtomicU64>>,
    memory: Family<HookLabels, Gauge>,
    host_calls: Family<HostCallLabels, Counter>,
    denied: Family<HostCallLabels, Counter>,
    loaded: Family<LoadedLabels, Gauge>,
    loads: Durations<LoadLabels>,
    hooks: Arc<Mutex<Hooks>>,
}

impl Default for PluginMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(call_buckets),
            cpu: Family::default(),
            memory: Family::default(),
            host_calls: Family::default(),
            denied: Family::default(),
            loaded: Family::default(),
            loads: Family::new_with_constructor(call_buckets),
            hooks: Arc::default(),
        }
    }
}

/// 50 us to 105 s: a call that waits for nothing takes 24 us, a post-create hook may take two minutes.
fn call_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 22))
}

/// What one hook of one plugin has used since the start, over all its versions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HookUsage {
    /// Calls by outcome: `ok`, or the code of the error.
    pub calls: BTreeMap<&'static str, u64>,
    /// Time of all calls, waits included.
    pub took: Duration,
    /// Processor time of the guests.
    pub cpu: Duration,
    /// The most memory that a call had, bytes.
    pub memory_peak_bytes: usize,
    /// Calls into the host by interface.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// Those of them that were denied.
    pub denied: BTreeMap<&'static str, u64>,
    /// What went wrong last.
    pub last_error: Option<CallError>,
}

/// A call that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// When.
    pub at: UnixMillis,
    /// For which project.
    pub project: Option<ProjectRef>,
    /// The error's code.
    pub code: &'static str,
    /// Its words.
    pub message: String,
}

/// How a call ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// From the wish for a slot to the answer.
    pub took: Duration,
    /// Processor time of the guest.
    pub cpu: Duration,
    /// Its memory at the end, bytes; wasm memory never shrinks.
    pub memory_bytes: usize,
    /// The limit that was reached; empty when none was.
    pub limit: &'static str,
    /// What went wrong.
    pub error: Option<CallError>,
}

impl PluginMetrics {
    /// Where the calls of one hook of one plugin are counted.
    pub fn of(&self, plugin: &str, hook: &'static str) -> HookMetrics {
        let mut hooks = self.hooks.lock().unwrap_or_else(|poison| poison.into_inner());
        let usage = hooks.entry((plugin.to_owned(), hook)).or_default().clone();
        HookMetrics { all: self.clone(), plugin: plugin.to_owned(), hook, usage }
    }

    /// A plugin was made ready to be called, its code from our own cache or compiled.
    pub fn loaded(&self, plugin: &str, from_cache: bool, took: Duration) {
        let cache = if from_cache { "hit" } else { "miss" };
        self.loads.get_or_create(&LoadLabels { plugin: plugin.to_owned(), cache }).observe(took.as_secs_f64());
    }

    /// This version is called from now on; `provenance` is `shipped`, `signed` or `unsigned`.
    pub fn runs(&self, plugin: &str, version: &str, digest: &str, provenance: &str) {
        self.loaded.get_or_create(&LoadedLabels::of(plugin, version, digest, provenance)).set(1);
    }

    /// This version is called no more.
    pub fn gone(&self, plugin: &str, version: &str, digest: &str, provenance: &str) {
        self.loaded.remove(&LoadedLabels::of(plugin, version, digest, provenance));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("plugin_calls", "Calls of plugins, by hook, outcome and limit", self.calls.clone());
        let words = "Time of plugin calls, the wait for a slot included";
        registry.register_with_unit("plugin_call_duration", words, Unit::Seconds, self.durations.clone());
        registry.register_with_unit("plugin_cpu", "Processor time of plugins", Unit::Seconds, self.cpu.clone());
        let words = "The most memory that a call of a plugin had";
        registry.register_with_unit("plugin_memory_peak", words, Unit::Bytes, self.memory.clone());
        registry.register("plugin_host_calls", "Calls of plugins into the host, by interface", self.host_calls.clone());
        registry.register("plugin_denied_host_calls", "Calls into the host that were denied", self.denied.clone());
        registry.register("plugin_loaded", "Plugins by version and digest; 1 when it is loaded", self.loaded.clone());
        let words = "Time to compile a plugin or to take it from the cache";
        registry.register_with_unit("plugin_load_duration", words, Unit::Seconds, self.loads.clone());
    }
}

/// Counts the calls of one hook of one plugin. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HookMetrics {
    all: PluginMetrics,
    plugin: String,
    hook: &'static str,
    usage: Arc<Mutex<HookUsage>>,
}

impl HookMetrics {
    /// The plugin.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// What it has used so far.
    pub fn usage(&self) -> HookUsage {
        self.usage.lock().unwrap_or_else(|poison| poison.into_inner()).clone()
    }

    /// A call ended.
    pub fn ended(&self, call: Ended) {
        let outcome = call.error.as_ref().map_or("ok", |error| error.code);
        let (plugin, hook) = (self.plugin.clone(), self.hook);
        self.all.calls.get_or_create(&CallLabels { plugin: plugin.clone(), hook, outcome, limit: call.limit }).inc();
        let labels = HookLabels { plugin, hook };
        self.all.durations.get_or_create(&labels).observe(call.took.as_secs_f64());
        self.all.cpu.get_or_create(&labels).inc_by(call.cpu.as_secs_f64());
        let mut usage = self.usage.lock().unwrap_or_else(|poison| poison.into_inner());
        *usage.calls.entry(outcome).or_default() += 1;
        usage.took += call.took;
        usage.cpu += call.cpu;
        usage.memory_peak_bytes = usage.memory_peak_bytes.max(call.memory_bytes);
        self.all.memory.get_or_create(&labels).set(i64::try_from(usage.memory_peak_bytes).unwrap_or(i64::MAX));
        if call.error.is_some() {
            usage.last_error = call.error;
        }
    }

    /// A guest called into the host.
    pub fn host_call(&self, interface: &'static str) {
        self.all.host_calls.get_or_create(&self.labels(interface)).inc();
        *self.usage.lock().unwrap_or_else(|poison| poison.into_inner()).host_calls.entry(interface).or_default() += 1;
    }

    /// What it asked for was denied.
    pub fn denied(&self, interface: &'static str) {
        self.all.denied.get_or_create(&self.labels(interface)).inc();
        *self.usage.lock().unwrap_or_else(|poison| poison.into_inner()).denied.entry(interface).or_default() += 1;
    }

    fn labels(&self, interface: &'static str) -> HostCallLabels {
        HostCallLabels { plugin: self.plugin.clone(), hook: self.hook, interface }
    }
}

//! Logs and metrics. Levels: ERROR means that a person must look, WARN that something was refused or is being
//! tried again, INFO what an operator wants to read in the morning.

mod plugins;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::Log;

pub use plugins::{CallError, Ended, HookMetrics, HookUsage, PluginMetrics};

/// Sends logs to standard error, as text or as JSON lines.
///
/// # Errors
/// A sentence that names the key, when the filter is malformed or a logger is set already.
pub fn init(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| format!("log.filter is `{}`: {error}", log.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    let done = if log.format == "json" {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    done.map_err(|error| error.to_string())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    kind: String,
    step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabels {
    kind: String,
    outcome: String,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// What Prometheus reads at `/metrics`. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    operations: Family<OperationLabels, Counter>,
    steps: Durations<StepLabels>,
    projects: Family<StatusLabels, Gauge>,
    requests: Family<RequestLabels, Counter>,
    reaped: Counter,
    notices: Family<NoticeLabels, Counter>,
}

impl Metrics {
    /// With those of the plugins, which were loaded before.
    pub fn new(plugins: &PluginMetrics) -> Self {
        let operations = Family::default();
        let steps: Durations<StepLabels> = Family::new_with_constructor(step_buckets);
        let projects = Family::default();
        let requests = Family::default();
        let reaped = Counter::default();
        let notices: Family<NoticeLabels, Counter> = Family::default();
        let mut registry = Registry::with_prefix("supamanager");
        registry.register("operations", "Operations that ended, by kind and outcome", operations.clone());
        registry.register_with_unit("step_duration", "Time of the steps that succeeded", Unit::Seconds, steps.clone());
        registry.register("projects", "Projects by status", projects.clone());
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("reaped_objects", "Left-over engine objects that were removed", reaped.clone());
        registry.register("notices", "Tries of messages to the webhook, by kind and outcome", notices.clone());
        plugins.register(&mut registry);
        Self { registry: Arc::new(registry), operations, steps, projects, requests, reaped, notices }
    }
}

/// 10 ms to 160 s.
fn step_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 15))
}

impl Metrics {
    /// An operation ended.
    pub fn operation(&self, kind: &str, outcome: &str) {
        self.operations.get_or_create(&OperationLabels { kind: kind.to_owned(), outcome: outcome.to_owned() }).inc();
    }

    /// A step succeeded.
    pub fn step(&self, kind: &str, step: &str, took: Duration) {
        let labels = StepLabels { kind: kind.to_owned(), step: step.to_owned() };
        self.steps.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A request was answered. `route` is the pattern, so that a ref never becomes a label.
    pub fn request(&self, method: &str, route: &str, status: u16) {
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    /// Objects were removed by the reaper.
    pub fn reaped(&self, objects: u64) {
        self.reaped.inc_by(objects);
    }

    /// A message to the webhook was `sent`, is to be `repeated`, or has `failed` for good.
    pub fn notice(&self, kind: &str, outcome: &str) {
        self.notices.get_or_create(&NoticeLabels { kind: kind.to_owned(), outcome: outcome.to_owned() }).inc();
    }

    /// The text form, with the given counts of projects.
    ///
    /// # Errors
    /// A sentence when it cannot be written.
    pub fn text(&self, projects: &[(String, i64)]) -> Result<String, String> {
        self.projects.clear();
        for (status, count) in projects {
            self.projects.get_or_create(&StatusLabels { status: status.clone() }).set(*count);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| error.to_string())?;
        Ok(text)
    }
}

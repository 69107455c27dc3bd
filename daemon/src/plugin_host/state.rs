//! What the host knows of one call while it runs: whom it is for, what it may still use, and the way out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::egress::EgressHost;
use super::engine::Computing;
use super::grants::{Interface, Scope};
use super::hooks::{AccessError, Egress, Memory, MemoryOf, ServiceAccess};
use super::limits::{HookLimits, LimitReached};
use super::meter::{CpuMeter, MemoryMeter};
use crate::domain::{ProjectRef, ServiceName};
use crate::telemetry::HookMetrics;

/// What a call is about and what its imports lead to.
pub struct Surroundings {
    /// Texts of the template set, for a renderer.
    pub templates: BTreeMap<String, String>,
    /// The way to the project's services.
    pub access: Option<Arc<dyn ServiceAccess>>,
    /// Which of them.
    pub scope: Scope,
    /// Secrets that headers may refer to.
    pub secrets: Vec<String>,
    /// Where its lines go beside the log.
    pub lines: Option<Arc<Lines>>,
    /// Whose call it is.
    pub project: Option<ProjectRef>,
    /// What the project's people chose for the plugin, a JSON object.
    pub options: String,
    /// Where the plugin remembers.
    pub memory: Option<Arc<dyn Memory>>,
    /// The way to hosts outside, and to which.
    pub egress: Option<(Arc<dyn Egress>, Vec<EgressHost>)>,
}

/// Lines that a plugin wrote, with their level, for whoever shows them.
pub type Lines = Mutex<Vec<String>>;

impl Surroundings {
    /// For a call that needs nothing of the outside.
    pub fn none() -> Self {
        Self {
            templates: BTreeMap::new(),
            access: None,
            scope: Scope::Nothing,
            secrets: Vec::new(),
            lines: None,
            project: None,
            options: "{}".to_owned(),
            memory: None,
            egress: None,
        }
    }
}

/// The data of a store.
pub struct CallState {
    metrics: HookMetrics,
    surroundings: Surroundings,
    /// The daemon's own runtime: what an import asks of the outside runs there, not among the guests.
    outside: Handle,
    computing: Computing,
    limits: HookLimits,
    started: Instant,
    pub(super) memory: MemoryMeter,
    pub(super) cpu: Arc<CpuMeter>,
    host_calls: u32,
    log_bytes: usize,
    log_full: bool,
}

impl CallState {
    /// At the beginning of a call.
    pub fn new(
        metrics: HookMetrics,
        limits: HookLimits,
        surroundings: Surroundings,
        outside: Handle,
        computing: Computing,
    ) -> Self {
        Self {
            metrics,
            surroundings,
            outside,
            computing,
            limits,
            started: Instant::now(),
            memory: MemoryMeter::new(limits),
            cpu: Arc::default(),
            host_calls: 0,
            log_bytes: 0,
            log_full: false,
        }
    }

    /// Time since the call began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The limits of the call.
    pub fn limits(&self) -> &HookLimits {
        &self.limits
    }

    /// Host calls so far.
    pub fn host_calls(&self) -> u32 {
        self.host_calls
    }

    /// The texts of the template set.
    pub fn templates(&self) -> &BTreeMap<String, String> {
        &self.surroundings.templates
    }

    /// Which services may be reached.
    pub fn scope(&self) -> &Scope {
        &self.surroundings.scope
    }

    /// Names of secrets that headers may refer to.
    pub fn secrets(&self) -> &[String] {
        &self.surroundings.secrets
    }

    /// What the project's people chose for the plugin.
    pub fn options(&self) -> &str {
        &self.surroundings.options
    }

    /// Where the plugin remembers, and of whom.
    pub fn memory_of(&self) -> Option<(Arc<dyn Memory>, MemoryOf)> {
        let (memory, project) = (self.surroundings.memory.clone()?, self.surroundings.project.clone()?);
        Some((memory, MemoryOf { plugin: self.metrics.plugin().to_owned(), project }))
    }

    /// The way outside, and to which hosts.
    ///
    /// # Errors
    /// Denied, when this call has none.
    pub fn way_outside(&self) -> Result<&(Arc<dyn Egress>, Vec<EgressHost>), AccessError> {
        self.surroundings.egress.as_ref().ok_or_else(|| AccessError::Denied("this call has no way outside".to_owned()))
    }

    /// Whether the guest may go on; asked at every tick while it runs.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn check_time(&self) -> Result<(), LimitReached> {
        let (elapsed, cpu) = (self.elapsed(), self.cpu.used());
        if cpu > self.limits.cpu {
            Err(LimitReached::cpu(cpu, &self.limits))
        } else if elapsed > self.limits.wall {
            Err(LimitReached::wall(elapsed, &self.limits))
        } else {
            Ok(())
        }
    }

    /// Counts one call into the host.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn count_host_call(&mut self, interface: Interface) -> Result<(), LimitReached> {
        self.host_calls += 1;
        self.metrics.host_call(interface.as_str());
        if self.host_calls > self.limits.host_calls {
            return Err(LimitReached::host_calls(self.host_calls, &self.limits));
        }
        Ok(())
    }

    /// What is answered to a guest, a denial counted.
    pub fn answer<T>(&self, interface: Interface, answer: Result<T, AccessError>) -> Result<T, AccessError> {
        if let Err(AccessError::Denied(_)) = &answer {
            self.metrics.denied(interface.as_str());
        }
        answer
    }

    /// What a guest asked as a deadline, cut to what is left of the call.
    pub fn deadline(&self, asked_ms: u32) -> Duration {
        let left = self.limits.wall.saturating_sub(self.elapsed());
        Duration::from_millis(u64::from(asked_ms)).min(left).max(Duration::from_millis(1))
    }

    /// A line of the log, as far as there is room for it, written down for whoever shows it.
    pub fn log_line(&mut self, level: &str, message: String) -> Option<String> {
        let line = self.admit_log(message)?;
        if let Some(lines) = &self.surroundings.lines {
            lines.lock().unwrap_or_else(|poison| poison.into_inner()).push(format!("{level} {line}"));
        }
        Some(line)
    }

    /// Takes a log line in, as far as there is room for it; `None` when there is none.
    fn admit_log(&mut self, message: String) -> Option<String> {
        if self.log_full {
            return None;
        }
        self.log_bytes += message.len();
        if self.log_bytes <= self.limits.log_bytes {
            return Some(one_line(&message));
        }
        self.log_full = true;
        tracing::warn!(
            plugin.id = self.metrics.plugin(),
            allowed_bytes = self.limits.log_bytes,
            "plugin wrote more than its `log_kib`, the rest of this call's lines is dropped"
        );
        None
    }

    /// Asks the outside, on the daemon's runtime and within a deadline. Ended when the call ends.
    ///
    /// # Errors
    /// What the way out says, or that it did not answer in time.
    pub async fn ask<T, F>(&self, deadline: Duration, ask: impl FnOnce(Arc<dyn ServiceAccess>) -> F) -> Result<T, AccessError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AccessError>> + Send + 'static,
    {
        let Some(access) = self.surroundings.access.clone() else {
            return Err(AccessError::Denied("this call has no way to a service".to_owned()));
        };
        self.outside(deadline, ask(access)).await
    }

    /// Waits for an answer of the outside, on the daemon's runtime and within a deadline. Ended when the call ends.
    ///
    /// # Errors
    /// As the answer, or that it did not come in time.
    pub async fn outside<T, F>(&self, deadline: Duration, answer: F) -> Result<T, AccessError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AccessError>> + Send + 'static,
    {
        let computing = self.computing.clone();
        let bounded = async move {
            let _waiting = computing.host_call();
            let late = || AccessError::TimedOut(format!("no answer within {} ms", deadline.as_millis()));
            tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| Err(late()))
        };
        let mut task = EndWithCall(self.outside.spawn(bounded));
        (&mut task.0).await.unwrap_or_else(|_| Err(AccessError::Failed("the daemon is stopping".to_owned())))
    }
}

/// A guest's words cannot look like a line of the daemon's own, or move the cursor of who reads them.
pub(super) fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// A task on the daemon's runtime that ends when the call that wanted it ends.
struct EndWithCall<T>(JoinHandle<T>);

impl<T> Drop for EndWithCall<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A service's name as a guest wrote it.
///
/// # Errors
/// Denied, when it is no name.
pub fn service_name(text: &str) -> Result<ServiceName, AccessError> {
    ServiceName::parse(text).map_err(AccessError::Denied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin_host::limits::Limits;
    use crate::telemetry::PluginMetrics;

    fn state() -> CallState {
        let metrics = PluginMetrics::default().of("guest", "probe");
        CallState::new(metrics, Limits::default().probe, Surroundings::none(), Handle::current(), Computing::default())
    }

    #[tokio::test]
    async fn log_lines_stay_lines_and_end_at_the_limit() {
        let mut state = state();
        assert_eq!(state.admit_log("a\nERROR b\u{1b}[2J".into()).as_deref(), Some("a\\nERROR b\\u{1b}[2J"));
        assert!(state.admit_log("x".repeat(16 << 10)).is_none());
        assert!(state.admit_log("short".into()).is_none(), "once full, the rest is dropped");
    }

    #[tokio::test]
    async fn a_deadline_is_never_later_than_the_end_of_the_call() {
        let state = state();
        assert!(state.deadline(u32::MAX) <= Limits::default().probe.wall);
        assert_eq!(state.deadline(20), Duration::from_millis(20));
        assert_eq!(state.deadline(0), Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_call_without_a_way_out_is_denied() {
        let answer: Result<(), _> = state().ask(Duration::from_secs(1), |_| async { Ok(()) }).await;
        assert!(matches!(answer, Err(AccessError::Denied(_))));
    }
}

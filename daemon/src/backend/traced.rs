//! Says when each engine call was open, so that a bench can tell the daemon's own time from the engine's
//! (decision 40). Off unless asked for: `log.filter = "info,supamanager::spans=debug"`.
//!
//! Each call is a span `engine`, and ends as one event with `kind`, `call`, `begin_ms` and `end_ms`. Written inside a
//! step, the event carries that step's span, and with it the operation.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{
    Backend, Bounds, ContainerSpec, EngineInfo, ExecOutput, ExecRequest, Held, Labels, LogLine, NetworkSpec, Observed,
    ObservedContainer, Progress, Result, Usage, VolumeSpec,
};
use crate::clock::Clock;
use crate::domain::{InstallationId, Limits, ProjectRef, UnixMillis};

/// A backend that tells of its calls and changes nothing about them.
pub struct Traced<B> {
    inner: B,
    clock: Clock,
}

impl<B> Traced<B> {
    /// Tells of every call of `inner`.
    pub fn new(inner: B, clock: Clock) -> Self {
        Self { inner, clock }
    }

    async fn call<T>(&self, call: &'static str, work: impl Future<Output = T> + Send) -> T {
        let span = tracing::debug_span!(target: "supamanager::spans", "engine", call);
        async {
            let _open = Open::now("engine", call, &self.clock);
            work.await
        }
        .instrument(span)
        .await
    }
}

/// Something that is open from now until it is dropped: also when its caller gave up waiting.
pub struct Open {
    kind: &'static str,
    call: &'static str,
    begin_ms: UnixMillis,
    begun: Instant,
    not_yet_ms: Option<UnixMillis>,
}

impl Open {
    /// Opens it. `kind` is `engine` for a call, `wait` for a readiness wait.
    pub fn now(kind: &'static str, call: &'static str, clock: &Clock) -> Self {
        Self { kind, call, begin_ms: clock.now(), begun: Instant::now(), not_yet_ms: None }
    }

    /// What is waited for was not there yet at this moment. The time from the last such moment to the end is the
    /// waiter's own: a pause too long, a look too many.
    pub fn not_yet(&mut self) {
        self.not_yet_ms = Some(self.now_ms());
    }

    /// Unix milliseconds that a clock which is set meanwhile cannot turn back.
    fn now_ms(&self) -> UnixMillis {
        self.begin_ms.saturating_add(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (kind, call, begin_ms, end_ms, not_yet_ms) = (self.kind, self.call, self.begin_ms, self.now_ms(), self.not_yet_ms);
        tracing::debug!(target: "supamanager::spans", kind, call, begin_ms, end_ms, not_yet_ms);
    }
}

#[async_trait]
impl<B: Backend> Backend for Traced<B> {
    async fn info(&self) -> Result<EngineInfo> {
        self.call("info", self.inner.info()).await
    }

    async fn list(&self, installation: &InstallationId) -> Result<Observed> {
        self.call("list", self.inner.list(installation)).await
    }

    async fn list_project(&self, installation: &InstallationId, project: &ProjectRef) -> Result<Observed> {
        self.call("list_project", self.inner.list_project(installation, project)).await
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>> {
        self.call("image_digest", self.inner.image_digest(reference)).await
    }

    async fn pull(&self, reference: &str, no_progress: Duration, progress: Progress<'_>) -> Result<String> {
        self.call("pull", self.inner.pull(reference, no_progress, progress)).await
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String> {
        self.call("ensure_network", self.inner.ensure_network(spec)).await
    }

    async fn remove_network(&self, id: &str) -> Result<()> {
        self.call("remove_network", self.inner.remove_network(id)).await
    }

    async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()> {
        self.call("ensure_volume", self.inner.ensure_volume(spec)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.call("remove_volume", self.inner.remove_volume(name)).await
    }

    async fn ensure_container(&self, spec: &ContainerSpec<'_>) -> Result<String> {
        self.call("ensure_container", self.inner.ensure_container(spec)).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.call("start_container", self.inner.start_container(id)).await
    }

    async fn stop_container(&self, id: &str, grace_s: u32) -> Result<()> {
        self.call("stop_container", self.inner.stop_container(id, grace_s)).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.call("remove_container", self.inner.remove_container(id)).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<ObservedContainer>> {
        self.call("inspect", self.inner.inspect(id)).await
    }

    async fn logs(&self, id: &str, tail: u32, since: Option<UnixMillis>) -> Result<Vec<LogLine>> {
        self.call("logs", self.inner.logs(id, tail, since)).await
    }

    async fn follow_logs(&self, id: &str, since: UnixMillis, lines: mpsc::Sender<LogLine>) -> Result<()> {
        self.inner.follow_logs(id, since, lines).await
    }

    async fn usage(&self, id: &str) -> Result<Usage> {
        self.call("usage", self.inner.usage(id)).await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecOutput> {
        self.call("exec", self.inner.exec(id, request)).await
    }

    async fn empty_folder(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()> {
        self.call("empty_folder", self.inner.empty_folder(folder, image, labels)).await
    }

    async fn copy_folder(&self, from: &Path, to: &Path, image: &str, labels: &Labels, limit: Duration) -> Result<()> {
        self.call("copy_folder", self.inner.copy_folder(from, to, image, labels, limit)).await
    }

    async fn ensure_group(&self, project: &ProjectRef, bounds: &Bounds) -> Result<Option<String>> {
        self.call("ensure_group", self.inner.ensure_group(project, bounds)).await
    }

    async fn remove_group(&self, project: &ProjectRef) -> Result<()> {
        self.call("remove_group", self.inner.remove_group(project)).await
    }

    async fn groups(&self) -> Result<Vec<ProjectRef>> {
        self.call("groups", self.inner.groups()).await
    }

    async fn set_limits(&self, id: &str, limits: &Limits) -> Result<()> {
        self.call("set_limits", self.inner.set_limits(id, limits)).await
    }

    async fn held(&self, id: &str) -> Result<Option<Held>> {
        self.call("held", self.inner.held(id)).await
    }

    /// Not told of: it is open for as long as nothing happens, and nobody waits for it to finish.
    async fn changed(&self, installation: &InstallationId) -> Result<()> {
        self.inner.changed(installation).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("a lock").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `work` logs with this filter, as the daemon writes it.
    fn logged(filter: &str, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().expect("a lock").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn a_call_that_was_given_up() {
        let traced = Traced::new((), Clock::from_fn(|| 1_000));
        let step = tracing::info_span!("step", op.id = "op1");
        let _inside = step.enter();
        let call = traced.call("inspect", std::future::pending::<()>());
        // Polled once, then dropped: what a timeout does.
        assert!(futures_util::FutureExt::now_or_never(call).is_none());
    }

    #[test]
    fn a_call_tells_its_times_and_its_operation_even_when_it_was_given_up() {
        let line = logged("info,supamanager::spans=debug", a_call_that_was_given_up);
        let line: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!((&line["kind"], &line["call"]), (&"engine".into(), &"inspect".into()));
        assert_eq!(line["begin_ms"], 1_000);
        assert!(line["end_ms"].as_i64().expect("a number") >= 1_000);
        assert_eq!(line["spans"][0]["op.id"], "op1");
        assert_eq!(line["not_yet_ms"], serde_json::Value::Null);
    }

    #[test]
    fn a_wait_tells_when_it_was_last_not_over() {
        let line = logged("supamanager::spans=debug", || {
            let mut open = Open::now("wait", "healthy", &Clock::from_fn(|| 1_000));
            open.not_yet();
        });
        let line: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        assert!(
            line["not_yet_ms"].as_i64() >= line["begin_ms"].as_i64() && line["not_yet_ms"].as_i64() <= line["end_ms"].as_i64()
        );
    }

    #[test]
    fn nothing_is_told_unless_asked_for() {
        assert_eq!(logged("info", a_call_that_was_given_up), "");
    }
}

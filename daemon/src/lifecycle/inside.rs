//! Looking into a project's containers and running commands in them: what changes no state of ours.

mod position;

use std::time::Duration;

use tokio::sync::mpsc;

use self::position::{Gate, nanos};
use super::{Lifecycle, LifecycleError};
use crate::backend::{BackendError, ContainerState, ExecRequest, LINE_BYTES_MAX, LogLine, ObservedContainer};
use crate::domain::{Project, ProjectRef, ProjectStatus, ServiceName, UnixMillis};
use crate::secrets::ProjectSecrets;

pub use self::position::Positions;

/// Between two looks for the container of a service whose lines are followed: it may be stopped, or be replaced.
const GONE: Duration = Duration::from_secs(1);
/// The longest such pause, after looks in vain: a project may stay paused.
const LONG_GONE: Duration = Duration::from_secs(5);
/// How much before the newest line an engine is asked to go on: its two streams are not written in strict order.
const OVERLAP_MS: UnixMillis = 60_000;
/// Bytes shown of a line. The engine itself splits lines at this length.
const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// Which lines to follow.
pub enum FollowFrom {
    /// The last so many, written since then, and all after them.
    Tail(u32, Option<UnixMillis>),
    /// All after those that were handed over.
    After(Positions),
}

/// What comes of following.
#[derive(Debug)]
pub enum Followed {
    /// A line, and how far its service was followed with it.
    Line(LogLine, Positions),
    /// The project is deleted: nothing will come any more.
    Deleted,
}

/// A command to run in a service's container.
pub struct Command {
    /// The service.
    pub service: ServiceName,
    /// Program and arguments: no shell reads them.
    pub argv: Vec<String>,
    /// When it is given up.
    pub deadline: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub exit_code: i64,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether either was cut at `limits.exec_output_bytes`.
    pub truncated: bool,
}

/// Why a command has no exit code.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It was not begun.
    #[error(transparent)]
    NotBegun(#[from] LifecycleError),
    /// It was begun and not done at its deadline, so many milliseconds. It goes on.
    #[error("the command did not end within {0} ms; it goes on inside the container, a restart of the service ends it")]
    Late(u64),
    /// It was begun, and how it ended is not known.
    #[error("the command was begun and how it ended is not known ({0}): look at what it was to do before you run it again")]
    Unfinished(String),
}

impl Lifecycle {
    /// The last lines of a service written since then, with the project's secrets taken out. Fewer than `tail` when they
    /// hold more than 1 MiB.
    ///
    /// # Errors
    /// [`LifecycleError::Meaning`] for an unknown service, [`LifecycleError::State`] while it has no container, else the
    /// engine's.
    pub async fn logs(
        &self,
        project: &Project,
        service: &ServiceName,
        tail: u32,
        since: Option<UnixMillis>,
    ) -> Result<Vec<LogLine>, LifecycleError> {
        let container = self.container_of(project, service).await?;
        let secrets = self.secrets(&project.id).await?;
        Ok(shown(&secrets, self.parts.backend.logs(&container.id, tail, since).await?))
    }

    /// The lines of a service as they are written, until nobody takes them any more, the project is deleted or the daemon
    /// stops. A container that ends or is replaced is waited for.
    ///
    /// # Errors
    /// As [`Lifecycle::logs`]; a container that is not there is waited for when lines were followed before.
    pub async fn follow_logs(
        &self,
        project: &Project,
        service: ServiceName,
        from: FollowFrom,
    ) -> Result<mpsc::Receiver<Followed>, LifecycleError> {
        let (tail, positions) = match from {
            FollowFrom::After(positions) => {
                self.known_service(project, &service)?;
                (Vec::new(), positions)
            }
            FollowFrom::Tail(tail, since) => {
                let lines = self.logs(project, &service, tail, since).await?;
                let complete = lines.len() < tail as usize;
                placed(lines, complete, since.unwrap_or(0))
            }
        };
        let (out, lines) = mpsc::channel(64);
        let (lifecycle, project) = (self.clone(), project.id.clone());
        tokio::spawn(async move {
            let follow = async {
                for (line, positions) in tail {
                    if out.send(Followed::Line(line, positions)).await.is_err() {
                        return;
                    }
                }
                lifecycle.follow(&project, &service, positions, &out).await;
            };
            tokio::select! {
                () = lifecycle.stop.cancelled() => {}
                () = out.closed() => {}
                () = follow => {}
            }
        });
        Ok(lines)
    }

    async fn follow(&self, project: &ProjectRef, service: &ServiceName, mut seen: Positions, out: &mpsc::Sender<Followed>) {
        let mut pause = GONE;
        loop {
            // A store that does not answer is no reason to end: the next round asks again.
            let there = self.parts.store.project(project).await;
            if there.is_ok_and(|there| there.is_none_or(|project| project.status == ProjectStatus::Deleted)) {
                let _ = out.send(Followed::Deleted).await;
                return;
            }
            let before = seen;
            if let (Ok(Some(container)), Ok(secrets)) = (self.find(project, service).await, self.secrets(project).await) {
                let (sender, mut lines) = mpsc::channel(64);
                // From what was handed over, not from now: an engine may be away for longer than the overlap.
                let since = (seen.newest() - OVERLAP_MS).max(0);
                let reading = self.parts.backend.follow_logs(&container.id, since, sender);
                let passing = async {
                    let (mut gate, mut begun) = (Gate::new(seen), Begun::default());
                    while let Some(line) = lines.recv().await {
                        let (stream, first) = (line.stream, begun.first(line.stream));
                        let Some(at) = nanos(&line.timestamp) else { continue };
                        if gate.is_new(stream, at) {
                            seen.pass(stream, at);
                            if out.send(Followed::Line(clean(&secrets, line, first), seen)).await.is_err() {
                                return;
                            }
                        }
                    }
                };
                // Either way of ending is answered by another look.
                let _ = tokio::join!(reading, passing);
            }
            pause = if seen == before { (pause * 2).min(LONG_GONE) } else { GONE };
            tokio::time::sleep(pause).await;
        }
    }

    /// Runs a command in a service's container. The engine cannot end one: after the deadline it goes on by itself.
    ///
    /// # Errors
    /// [`ExecError`], which says whether it was begun.
    pub async fn execute(&self, project: &Project, command: Command) -> Result<Ran, ExecError> {
        let container = self.container_of(project, &command.service).await?;
        let refused = |way_out| ExecError::NotBegun(LifecycleError::State { status: project.status.as_str(), way_out });
        if container.state != ContainerState::Running {
            return Err(refused("the container of this service does not run: resume or restart the project first"));
        }
        let limit = self.parts.config.limits.exec_output_bytes;
        // A byte more than is kept shows that there was more.
        let output_limit = limit.saturating_add(1);
        let request = ExecRequest { argv: command.argv, stdin: None, deadline: command.deadline, output_limit };
        let run = self.parts.backend.exec(&container.id, request);
        let ended = tokio::select! {
            ended = run => ended,
            () = self.stop.cancelled() => return Err(ExecError::Unfinished("the daemon stops".to_owned())),
        };
        let output = ended.map_err(|error| match error {
            BackendError::TimedOut { deadline_ms, .. } => ExecError::Late(deadline_ms),
            BackendError::Unfinished { reason, .. } => ExecError::Unfinished(reason),
            BackendError::NotFound { .. } => refused("the container of this service has just gone: look again in a moment"),
            other => ExecError::NotBegun(other.into()),
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]).into_owned();
        Ok(Ran {
            exit_code: output.exit_code,
            truncated: output.stdout.len() > limit || output.stderr.len() > limit,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    async fn container_of(&self, project: &Project, service: &ServiceName) -> Result<ObservedContainer, LifecycleError> {
        self.known_service(project, service)?;
        self.find(&project.id, service).await?.ok_or(LifecycleError::State {
            status: project.status.as_str(),
            way_out: "this service has no container now: it gets one by a create, a retry, a resume or a restart",
        })
    }

    async fn find(&self, project: &ProjectRef, service: &ServiceName) -> Result<Option<ObservedContainer>, LifecycleError> {
        let observed = self.parts.backend.list_project(&self.parts.installation, project).await?;
        let of =
            |container: &ObservedContainer| container.labels.as_ref().and_then(|labels| labels.service.as_ref()) == Some(service);
        Ok(observed.containers.into_iter().find(of))
    }

    /// Refuses a service that the project's set does not have. Where the set is gone nobody knows, and the engine says.
    fn known_service(&self, project: &Project, service: &ServiceName) -> Result<(), LifecycleError> {
        let Ok(set) = self.set_of(project) else { return Ok(()) };
        let known: Vec<&str> = set.spec.services.iter().map(|service| service.name.as_str()).collect();
        if known.contains(&service.as_str()) {
            return Ok(());
        }
        Err(LifecycleError::Meaning {
            field: "service",
            code: "unknown_value",
            message: format!("`{service}` is no service of the project: use {}", known.join(", ")),
        })
    }
}

/// Whether a stream's first line of an answer was seen yet.
#[derive(Default)]
struct Begun([bool; 2]);

impl Begun {
    fn first(&mut self, stream: &str) -> bool {
        !std::mem::replace(&mut self.0[usize::from(stream == "stderr")], true)
    }
}

/// What may be shown or stored of an engine's answer.
pub(super) fn shown(secrets: &ProjectSecrets, lines: Vec<LogLine>) -> Vec<LogLine> {
    let mut begun = Begun::default();
    lines
        .into_iter()
        .map(|line| {
            let first = begun.first(line.stream);
            clean(secrets, line, first)
        })
        .collect()
}

/// A line without secrets, then cut: the other way round the first half of one would stay. The first of a stream may be
/// the rest of a line that the engine had split.
fn clean(secrets: &ProjectSecrets, line: LogLine, first: bool) -> LogLine {
    let cut = line.text.len() >= LINE_BYTES_MAX;
    let mut text = secrets.redact_piece(&line.text, first, cut);
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    LogLine { text, ..line }
}

/// The last lines, each with the positions that its service was followed to with it, and those after the last. They are
/// not `complete` when older ones were left out.
fn placed(lines: Vec<LogLine>, complete: bool, since: UnixMillis) -> (Vec<(LogLine, Positions)>, Positions) {
    let oldest = lines.iter().filter_map(|line| nanos(&line.timestamp)).min();
    let oldest = oldest.and_then(|at| i64::try_from(at / 1_000_000).ok());
    let (mut positions, mut begun) = (Positions::before(oldest.unwrap_or(since)), Begun::default());
    let place = |line: LogLine| {
        let first = begun.first(line.stream);
        match nanos(&line.timestamp) {
            Some(at) if first && !complete => positions.pass_oldest(line.stream, at),
            Some(at) => positions.pass(line.stream, at),
            None => {}
        }
        (line, positions)
    };
    let placed = lines.into_iter().map(place).collect();
    (placed, positions)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::Secret;

    fn line(stream: &'static str, second: u32, text: &str) -> LogLine {
        LogLine { timestamp: format!("2026-11-23T10:00:{second:02}.000000000Z"), stream, text: text.to_owned() }
    }

    fn id(out: &str, err: &str) -> String {
        let part = |text: &str| {
            let (second, count) = text.split_once('/').expect("test data");
            format!("2026-11-23T10:00:{second}.000000000Z/{count}")
        };
        format!("{},{}", part(out), part(err))
    }

    #[test]
    fn the_lines_of_a_tail_have_ids_that_lead_on() {
        let lines = || vec![line("stdout", 5, "a"), line("stdout", 5, "b"), line("stderr", 3, "c"), line("stdout", 6, "d")];
        let ids = |complete| {
            let (lines, last) = placed(lines(), complete, 0);
            assert_eq!(lines.last().map(|(_, id)| *id), Some(last));
            lines.into_iter().map(|(_, positions)| positions.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(true), [id("05/1", "03/0"), id("05/2", "03/0"), id("05/2", "03/1"), id("06/1", "03/1")]);
        // What was left out may have had the same time as a stream's oldest.
        assert_eq!(ids(false), [id("05/all", "03/0"), id("05/all", "03/0"), id("05/all", "03/all"), id("06/1", "03/all")]);
        assert_eq!(placed(Vec::new(), true, 7_000).1, Positions::before(7_000));
    }

    #[test]
    fn a_secret_at_the_cut_of_a_line_is_not_shown_in_part() {
        let value = "abcdefghijklmnopqrstuvwxyz";
        let values = BTreeMap::from([("KEY".to_owned(), Secret::new(value.to_owned()))]);
        let secrets = ProjectSecrets::from_values(values);
        // Many before it: what is taken out makes the line shorter, and its end moves into what is shown.
        for repeats in [0, 300, 900] {
            let mut text = value.repeat(repeats);
            let room = LINE_BYTES_MAX - text.len() - 10;
            text = format!("{text}{}{}", "x".repeat(room), &value[..10]);
            let shown = clean(&secrets, line("stdout", 1, &text), false).text;
            assert!(shown.len() <= SHOWN_BYTES_MAX && !shown.contains("abc"), "{repeats}: {shown}");
        }
        // Across what is shown of an uncut line.
        let text = format!("{}{value}", "x".repeat(SHOWN_BYTES_MAX - 10));
        assert!(!clean(&secrets, line("stdout", 1, &text), false).text.contains("abc"));
        let lines = vec![line("stdout", 1, &value[9..]), line("stdout", 2, &value[9..])];
        let texts: Vec<_> = shown(&secrets, lines).into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["[KEY]", &value[9..]], "only the first of a stream may be the rest of a line");
    }
}

//! Commands inside a container. The engine cannot end one: after the deadline the connection is dropped and the
//! program is on its own, so a caller runs only what ends by itself once its input is closed.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::DockerBackend;
use crate::backend::{BackendError, ExecOutput, ExecRequest, Result};

/// How long the engine may take to book the exit code after the output has ended.
const EXIT_CODE_POLLS: u32 = 40;
const EXIT_CODE_PAUSE: Duration = Duration::from_millis(25);

impl DockerBackend {
    pub(super) async fn run_inside(&self, id: &str, request: ExecRequest) -> Result<ExecOutput> {
        let what = format!("exec {}", request.argv.first().map_or("", String::as_str));
        let deadline = request.deadline;
        let run = |docker: bollard::Docker| async move {
            let options = CreateExecOptions {
                attach_stdin: Some(request.stdin.is_some()),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                cmd: Some(request.argv.clone()),
                ..CreateExecOptions::default()
            };
            let exec = docker.create_exec(id, options).await?.id;
            // A refusal says that it was not begun; any other error from here on does not.
            let started = match docker.start_exec(&exec, None::<StartExecOptions>).await {
                Err(refused @ Error::DockerResponseServerError { .. }) => return Err(refused),
                Err(error) => return Ok(Err(error.to_string())),
                Ok(started) => started,
            };
            Ok(finish(&docker, &exec, started, &request).await.map_err(|error| error.to_string()))
        };
        let output = self.call(&what, deadline, run).await?;
        match output {
            Ok(Some(output)) => Ok(output),
            Ok(None) => Err(unfinished(what, "it closed its output and goes on running")),
            Err(reason) => Err(unfinished(what, &reason)),
        }
    }
}

fn unfinished(what: String, reason: &str) -> BackendError {
    BackendError::Unfinished { what, reason: reason.to_owned() }
}

/// What it printed and its exit code; `None` when it goes on without its output.
async fn finish(
    docker: &bollard::Docker,
    exec: &str,
    started: StartExecResults,
    request: &ExecRequest,
) -> std::result::Result<Option<ExecOutput>, Error> {
    let (stdout, stderr) = converse(started, request).await?;
    for _ in 0..EXIT_CODE_POLLS {
        let now = docker.inspect_exec(exec).await?;
        if let (Some(false) | None, Some(exit_code)) = (now.running, now.exit_code) {
            return Ok(Some(ExecOutput { exit_code, stdout, stderr }));
        }
        tokio::time::sleep(EXIT_CODE_PAUSE).await;
    }
    Ok(None)
}

/// Writes and reads at once: a program that fills its output before it reads its input would else stand still.
async fn converse(started: StartExecResults, request: &ExecRequest) -> std::result::Result<(Vec<u8>, Vec<u8>), Error> {
    let StartExecResults::Attached { mut output, mut input } = started else { return Ok((Vec::new(), Vec::new())) };
    let write = async {
        if let Some(stdin) = &request.stdin {
            // A program that ends early closes its input: its exit code says more than the broken pipe.
            let _ = input.write_all(stdin.expose()).await;
            let _ = input.shutdown().await;
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let read = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(part) = output.next().await {
            let (kept, message) = match part? {
                LogOutput::StdErr { message } => (&mut stderr, message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => (&mut stdout, message),
                LogOutput::StdIn { .. } => continue,
            };
            let room = request.output_limit.saturating_sub(kept.len()).min(message.len());
            kept.extend_from_slice(&message[..room]);
        }
        Ok((stdout, stderr))
    };
    // The output ends with the program, the input may not: the engine does not take what nobody reads any more.
    tokio::select! {
        output = read => output,
        never = write => match never {},
    }
}

//! The last lines of a container. With the driver `fluentd` the engine answers from its own cache.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::DockerBackend;
use crate::backend::{LogLine, Result};

/// A longer line is cut. The engine itself splits lines at this length.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// More lines than a person reads.
const MAX_TAIL: u32 = 10_000;
/// What one call may hold in memory; the oldest lines win, so a caller asks for a shorter tail.
const MAX_TOTAL_BYTES: usize = 16 << 20;

impl DockerBackend {
    pub(super) async fn last_lines(&self, id: &str, tail: u32) -> Result<Vec<LogLine>> {
        let tail = tail.min(MAX_TAIL);
        if tail == 0 {
            return Ok(Vec::new());
        }
        let options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(false).tail(&tail.to_string()).build();
        let collect = |docker: bollard::Docker| async move {
            let mut stream = std::pin::pin!(docker.logs(id, Some(options)));
            let mut lines = Lines::default();
            while let Some(part) = stream.next().await {
                match part? {
                    LogOutput::StdErr { message } => lines.take("stderr", &message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => lines.take("stdout", &message),
                    LogOutput::StdIn { .. } => {}
                }
                if lines.bytes > MAX_TOTAL_BYTES {
                    break;
                }
            }
            Ok(lines.finish(tail as usize))
        };
        Ok(self.read(&format!("logs of {id}"), collect).await?)
    }
}

/// Lines put together again: each part comes with a timestamp of its own, and only the last ends in a newline.
#[derive(Default)]
struct Lines {
    done: Vec<LogLine>,
    open: Vec<(&'static str, String, Vec<u8>)>,
    bytes: usize,
}

impl Lines {
    fn take(&mut self, stream: &'static str, message: &[u8]) {
        let (ended, message) = match message.split_last() {
            Some((b'\n', rest)) => (true, rest),
            _ => (false, message),
        };
        let space = message.iter().position(|byte| *byte == b' ').unwrap_or(message.len());
        let timestamp = String::from_utf8_lossy(&message[..space]).into_owned();
        let text = message.get(space + 1..).unwrap_or_default();
        let at = self.open.iter().position(|(open, ..)| *open == stream).unwrap_or_else(|| {
            self.open.push((stream, timestamp, Vec::new()));
            self.open.len() - 1
        });
        let line = &mut self.open[at].2;
        let room = MAX_LINE_BYTES.saturating_sub(line.len()).min(text.len());
        line.extend_from_slice(&text[..room]);
        self.bytes += room;
        if ended {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let (stream, timestamp, text) = self.open.remove(at);
        let text = String::from_utf8_lossy(&text).trim_end_matches('\r').to_owned();
        self.done.push(LogLine { timestamp, stream, text });
    }

    fn finish(mut self, tail: usize) -> Vec<LogLine> {
        while !self.open.is_empty() {
            self.close(0);
        }
        // Drivers count parts of a split line, so there may be a line more or less than was asked for.
        let extra = self.done.len().saturating_sub(tail);
        self.done.split_off(extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_lines_are_joined_and_cut() {
        let mut lines = Lines::default();
        let long = "x".repeat(MAX_LINE_BYTES - 1);
        lines.take("stdout", format!("T1 {long}").as_bytes());
        lines.take("stderr", b"T2 warning\r\n");
        lines.take("stdout", b"T3 abc\n");
        lines.take("stdout", b"T4 \xff two words\n");
        lines.take("stdout", b"T5 \n");
        lines.take("stdout", b"T6 no newline");
        let lines = lines.finish(10);
        let seen: Vec<_> = lines.iter().map(|line| (line.timestamp.as_str(), line.stream, line.text.len())).collect();
        assert_eq!(
            seen,
            [
                ("T2", "stderr", 7),
                ("T1", "stdout", MAX_LINE_BYTES),
                ("T4", "stdout", 13),
                ("T5", "stdout", 0),
                ("T6", "stdout", 10)
            ]
        );
        assert!(lines[1].text.ends_with("xa"));
    }
}

//! The last lines of a container. With the driver `fluentd` the engine answers from its own cache.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::DockerBackend;
use super::errors::Failure;
use crate::backend::{LINE_BYTES_MAX, LogLine, Result};
use crate::clock::parse_rfc3339;
use crate::domain::UnixMillis;

/// More lines than a person reads.
const MAX_TAIL: u32 = 10_000;
/// What one call may hold in memory. The newest lines stay, as with a shorter tail.
const MAX_TOTAL_BYTES: usize = 1 << 20;

impl DockerBackend {
    pub(super) async fn last_lines(&self, id: &str, tail: u32, since: Option<UnixMillis>) -> Result<Vec<LogLine>> {
        let tail = tail.min(MAX_TAIL);
        if tail == 0 {
            return Ok(Vec::new());
        }
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(false);
        let options = options.since(seconds(since.unwrap_or(0))).tail(&tail.to_string()).build();
        let collect = |docker: bollard::Docker| async move {
            let mut stream = std::pin::pin!(docker.logs(id, Some(options)));
            let mut lines = Lines::since(since);
            while let Some(part) = stream.next().await {
                lines.part(part?);
                while lines.bytes > MAX_TOTAL_BYTES && lines.take_oldest().is_some() {}
            }
            Ok(lines.finish(tail as usize))
        };
        Ok(self.read(&format!("logs of {id}"), collect).await?)
    }

    pub(super) async fn lines_to_come(&self, id: &str, since: UnixMillis, out: mpsc::Sender<LogLine>) -> Result<()> {
        let what = format!("logs of {id}");
        // Only the connection has a deadline: the stream lasts as long as somebody reads it.
        let docker = self.read(&what, |docker| async move { Ok(docker) }).await?;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(true);
        let mut stream = std::pin::pin!(docker.logs(id, Some(options.since(seconds(since)).build())));
        let mut lines = Lines::since(Some(since));
        loop {
            let part = tokio::select! {
                part = stream.next() => part,
                () = out.closed() => return Ok(()),
            };
            let ended = part.is_none();
            match part {
                // A program's last words may have no newline.
                None => lines.close_all(),
                Some(Err(error)) => return Err(Failure::read(&what, error).into()),
                Some(Ok(part)) => lines.part(part),
            }
            while let Some(line) = lines.take_oldest() {
                if out.send(line).await.is_err() {
                    return Ok(());
                }
            }
            if ended {
                return Ok(());
            }
        }
    }
}

/// The API counts in seconds, and takes 0 for the beginning. What lies before `since` in its second is left out here.
fn seconds(at: UnixMillis) -> i32 {
    i32::try_from((at / 1000).clamp(0, i64::from(i32::MAX))).unwrap_or_default()
}

/// Lines put together again: each part comes with a timestamp of its own, and only the last ends in a newline.
#[derive(Default)]
struct Lines {
    since: UnixMillis,
    done: VecDeque<LogLine>,
    open: Vec<Open>,
    /// Held in `done` and in `open`.
    bytes: usize,
}

/// A line whose end has not come.
struct Open {
    stream: &'static str,
    timestamp: String,
    text: Vec<u8>,
    /// Before `since`, so it is read to its end and left out.
    early: bool,
}

impl Lines {
    fn since(since: Option<UnixMillis>) -> Self {
        Self { since: since.unwrap_or(0), ..Self::default() }
    }

    fn part(&mut self, part: LogOutput) {
        match part {
            LogOutput::StdErr { message } => self.take("stderr", &message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => self.take("stdout", &message),
            LogOutput::StdIn { .. } => {}
        }
    }

    fn take(&mut self, stream: &'static str, message: &[u8]) {
        let (ended, message) = match message.split_last() {
            Some((b'\n', rest)) => (true, rest),
            _ => (false, message),
        };
        let space = message.iter().position(|byte| *byte == b' ').unwrap_or(message.len());
        let timestamp = String::from_utf8_lossy(&message[..space]);
        // The engine's own words come between ("Error grabbing logs", in frames of a third kind): no container's line.
        let Some(moment) = parse_rfc3339(&timestamp) else { return };
        let text = message.get(space + 1..).unwrap_or_default();
        let at = self.open.iter().position(|open| open.stream == stream).unwrap_or_else(|| {
            let (timestamp, early) = (timestamp.into_owned(), moment < self.since);
            self.open.push(Open { stream, timestamp, text: Vec::new(), early });
            self.open.len() - 1
        });
        let line = &mut self.open[at].text;
        let room = LINE_BYTES_MAX.saturating_sub(line.len()).min(text.len());
        line.extend_from_slice(&text[..room]);
        self.bytes += room;
        if ended {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let Open { stream, timestamp, text, early } = self.open.remove(at);
        self.bytes = self.bytes.saturating_sub(text.len());
        if early {
            return;
        }
        let cut = text.len() >= LINE_BYTES_MAX;
        let text = String::from_utf8_lossy(&text);
        // Whoever takes secrets out has to see by its length that it was cut.
        let text = if cut { text.into_owned() } else { text.trim_end_matches('\r').to_owned() };
        self.bytes += timestamp.len() + text.len();
        self.done.push_back(LogLine { timestamp, stream, text });
    }

    fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
    }

    fn take_oldest(&mut self) -> Option<LogLine> {
        let line = self.done.pop_front()?;
        self.bytes = self.bytes.saturating_sub(line.timestamp.len() + line.text.len());
        Some(line)
    }

    fn finish(mut self, tail: usize) -> Vec<LogLine> {
        self.close_all();
        // Drivers count parts of a split line, so there may be a line more or less than was asked for.
        let extra = self.done.len().saturating_sub(tail);
        self.done.into_iter().skip(extra).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At this second of the year 2026.
    fn at(second: u32, rest: &str) -> Vec<u8> {
        format!("2026-11-23T10:00:{second:02}.000000001Z {rest}").into_bytes()
    }

    #[test]
    fn split_lines_are_joined_and_cut() {
        let mut lines = Lines::default();
        let long = "x".repeat(LINE_BYTES_MAX - 1);
        lines.take("stdout", &at(1, &long));
        lines.take("stderr", &at(2, "warning\r\n"));
        lines.take("stdout", &at(3, "abc\n"));
        lines.take("stdout", &[at(4, "").as_slice(), b"\xff two words\n"].concat());
        lines.take("stdout", &at(5, "\n"));
        lines.take("stdout", &at(6, "no newline"));
        let lines = lines.finish(10);
        let seen: Vec<_> = lines.iter().map(|line| (&line.timestamp[17..19], line.stream, line.text.len())).collect();
        assert_eq!(
            seen,
            [
                ("02", "stderr", 7),
                ("01", "stdout", LINE_BYTES_MAX),
                ("04", "stdout", 13),
                ("05", "stdout", 0),
                ("06", "stdout", 10)
            ]
        );
        assert!(lines[1].text.ends_with("xa"));
    }

    #[test]
    fn words_of_the_engine_are_no_line() {
        let mut lines = Lines::default();
        let frame = [b"\x03\0\0\0\0\0\0\x30".as_slice(), b"Error grabbing logs: invalid character 'x'\n"].concat();
        lines.part(LogOutput::Console { message: frame.into() });
        lines.part(LogOutput::StdOut { message: b"\n".as_slice().into() });
        lines.part(LogOutput::StdErr { message: at(1, "kept\n").into() });
        let lines = lines.finish(10);
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["kept"]);
    }

    #[test]
    fn lines_before_since_are_left_out_though_they_are_of_its_second() {
        let since = parse_rfc3339("2026-11-23T10:00:05.500Z");
        let mut lines = Lines::since(since);
        lines.take("stdout", b"2026-11-23T10:00:05.499999999Z early\n");
        lines.take("stdout", b"2026-11-23T10:00:05.499999999Z early, in two ");
        lines.take("stdout", b"2026-11-23T10:00:05.600000000Z parts\n");
        lines.take("stdout", b"2026-11-23T10:00:05.500000001Z in time\n");
        assert_eq!(lines.finish(10).into_iter().map(|line| line.text).collect::<Vec<_>>(), ["in time"]);
    }

    #[test]
    fn seconds_stay_within_what_the_engine_takes() {
        assert_eq!([-6_000_000_000_000, -1, 0, 1_999, 4_102_444_800_000].map(seconds), [0, 0, 0, 1, i32::MAX]);
    }

    #[test]
    fn the_newest_lines_stay_when_there_is_no_room_for_all() {
        let mut lines = Lines::default();
        for second in 1..=3 {
            lines.take("stdout", &at(second, "four\n"));
        }
        assert_eq!(lines.bytes, 3 * (30 + 4));
        assert!(lines.take_oldest().is_some() && lines.bytes == 2 * (30 + 4));
        assert_eq!(lines.finish(10)[0].timestamp[17..19], *"02");
    }
}

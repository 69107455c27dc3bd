//! How far the lines of a service were handed over, so that a reader who was cut off, or an engine that is asked again,
//! goes on without a gap. Each stream has a position of its own, since both are written at once and come mixed.
//!
//! An engine's times are those of single lines, and two lines may have the same one: a position is a time and how many
//! lines of exactly that time were handed over. As text: `TIME/COUNT,TIME/COUNT`, standard output first.

use std::cmp::Ordering;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::domain::UnixMillis;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// A count that stands for all lines of a time.
const ALL: u32 = u32::MAX;

/// How far one stream was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// The time of the last line, in nanoseconds since the Unix epoch.
    at: u64,
    /// How many lines of exactly that time were handed over; [`ALL`] when nobody counted.
    count: u32,
}

impl Position {
    fn to(&mut self, at: u64) {
        let count = if at == self.at { self.count.saturating_add(1) } else { 1 };
        *self = Self { at, count };
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, count) = text.split_once('/')?;
        Some(Self { at: nanos(time)?, count: if count == "all" { ALL } else { count.parse().ok()? } })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(self.at));
        match self.count {
            ALL => write!(f, "{time}/all"),
            count => write!(f, "{time}/{count}"),
        }
    }
}

/// How far both streams of a service were handed over. Its text is the id of a followed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    stdout: Position,
    stderr: Position,
}

impl Positions {
    /// Before everything written from that moment on.
    pub(super) fn before(at: UnixMillis) -> Self {
        let at = u64::try_from(at).unwrap_or(0).saturating_mul(NANOS_PER_MILLI);
        Self::both(Position { at, count: 0 })
    }

    /// Reads an id. A mere time is taken too, and means after every line of that time.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(',') {
            Some((stdout, stderr)) => Some(Self { stdout: Position::parse(stdout)?, stderr: Position::parse(stderr)? }),
            None => Some(Self::both(Position { at: nanos(text)?, count: ALL })),
        }
    }

    fn both(position: Position) -> Self {
        Self { stdout: position, stderr: position }
    }

    /// A line was handed over.
    pub(super) fn pass(&mut self, stream: &str, at: u64) {
        self.of(stream).to(at);
    }

    /// The same for the oldest line of a listing that was cut before it: others of its time may have been left out.
    pub(super) fn pass_oldest(&mut self, stream: &str, at: u64) {
        *self.of(stream) = Position { at, count: ALL };
    }

    /// The time of the newest line.
    pub(super) fn newest(&self) -> UnixMillis {
        let newest = self.stdout.at.max(self.stderr.at) / NANOS_PER_MILLI;
        i64::try_from(newest).unwrap_or(i64::MAX)
    }

    fn of(&mut self, stream: &str) -> &mut Position {
        if stream == "stderr" { &mut self.stderr } else { &mut self.stdout }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.stdout, self.stderr)
    }
}

/// Holds back what was handed over before, in one answer of an engine that begins somewhere before the positions.
pub(super) struct Gate {
    seen: Positions,
    /// Standard output and error: whether the last line that was handed over lies behind. From there on all are new, even
    /// with an earlier time: clocks are set back.
    open: [bool; 2],
}

impl Gate {
    pub(super) fn new(seen: Positions) -> Self {
        Self { seen, open: [false; 2] }
    }

    /// Whether the next line is a new one.
    pub(super) fn is_new(&mut self, stream: &str, at: u64) -> bool {
        let open = &mut self.open[usize::from(stream == "stderr")];
        if *open {
            return true;
        }
        let last = self.seen.of(stream);
        match at.cmp(&last.at) {
            Ordering::Less => return false,
            Ordering::Equal if last.count == ALL => return false,
            Ordering::Equal if last.count > 0 => {
                last.count -= 1;
                // It was the last one: what comes after it is new, whatever its time.
                *open = last.count == 0;
                return false;
            }
            Ordering::Equal | Ordering::Greater => *open = true,
        }
        true
    }
}

/// A time of the engine or of an id, in nanoseconds since the Unix epoch, whatever number of digits it was written with.
pub(super) fn nanos(time: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `lines` again from their beginning: what is new after these positions, and how far that leads.
    fn again(mut positions: Positions, lines: &[(&str, u64)]) -> (Vec<usize>, Positions) {
        let mut gate = Gate::new(positions);
        let mut new = Vec::new();
        for (index, (stream, at)) in lines.iter().enumerate() {
            if gate.is_new(stream, *at) {
                positions.pass(stream, *at);
                new.push(index);
            }
        }
        (new, positions)
    }

    #[test]
    fn cut_anywhere_no_line_is_lost_and_none_comes_twice() {
        // Mixed streams, equal times within one and across both.
        let lines = [
            ("stdout", 5),
            ("stderr", 3),
            ("stdout", 5),
            ("stdout", 5),
            ("stderr", 5),
            ("stderr", 5),
            ("stdout", 6),
            ("stderr", 4),
            ("stderr", 9),
            ("stdout", 7),
        ];
        for cut in 0..=lines.len() {
            let (first, positions) = again(Positions::before(0), &lines[..cut]);
            assert_eq!(first.len(), cut);
            let resumed = Positions::parse(&positions.to_string()).expect("an id is read again");
            assert_eq!(resumed, positions);
            let (new, _) = again(resumed, &lines);
            if cut == 8 {
                // A clock that was set back just before the cut: lines come again rather than not at all.
                assert_eq!(new, [4, 5, 7, 8, 9]);
            } else {
                assert_eq!(new, (cut..lines.len()).collect::<Vec<_>>(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_other_streams_newer_line_holds_nothing_back() {
        let mut positions = Positions::before(0);
        positions.pass("stdout", 100);
        let (new, _) = again(positions, &[("stderr", 90), ("stdout", 100), ("stderr", 95)]);
        assert_eq!(new, [0, 2]);
    }

    #[test]
    fn of_the_oldest_of_a_tail_none_comes_again() {
        let mut positions = Positions::before(0);
        positions.pass_oldest("stdout", 5);
        positions.pass("stdout", 5);
        let (new, _) = again(positions, &[("stdout", 5), ("stdout", 5), ("stdout", 5), ("stdout", 6)]);
        assert_eq!(new, [3]);
        assert_eq!(Positions::parse(&positions.to_string()), Some(positions));
    }

    #[test]
    fn a_mere_time_is_an_id_whatever_its_digits() {
        for time in ["2026-11-23T10:00:01Z", "2026-11-23T10:00:01.0Z", "2026-11-23T10:00:01.000000000Z"] {
            let positions = Positions::parse(time).unwrap_or_else(|| panic!("{time} is no id"));
            assert_eq!(positions.to_string().split(',').next(), Some("2026-11-23T10:00:01.000000000Z/all"));
            assert_eq!(positions.newest(), 1_795_428_001_000);
        }
        for wrong in ["", "7", "2026-11-23", "2026-11-23T10:00:01Z/1", "a/1,b/1", "2026-11-23T10:00:01Z/x,2026-11-23T10:00:01Z/1"]
        {
            assert_eq!(Positions::parse(wrong), None, "{wrong}");
        }
    }
}

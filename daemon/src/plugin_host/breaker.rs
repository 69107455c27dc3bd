//! A probe plugin that fails again and again is not asked for a while. Its verdict is then *unknown*: a
//! broken probe says nothing about a service, and must never make one look down.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 5;

/// How long it stays open before one call is let through again.
const PAUSE: Duration = Duration::from_secs(30);

/// Of one plugin.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// How long the plugin is left alone still; `None` when it may be asked. Of those who wait for the end of
    /// the pause only the first gets through.
    pub fn closed_for(&self, now: Instant) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let left = state.open_until?.checked_duration_since(now).filter(|left| !left.is_zero());
        if left.is_none() {
            state.open_until = Some(now + PAUSE);
        }
        left
    }

    /// Notes how a call went; true when this call opened it.
    pub fn note(&self, failed: bool, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !failed {
            *state = State::default();
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Some(now + PAUSE);
        }
        state.failures == FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            assert!(!breaker.note(true, now));
        }
        breaker.note(false, now);
        for _ in 0..4 {
            assert!(!breaker.note(true, now));
        }
        assert_eq!(breaker.closed_for(now), None);
        assert!(breaker.note(true, now));
        assert_eq!(breaker.closed_for(now), Some(PAUSE));
    }

    #[test]
    fn after_the_pause_one_call_is_let_through() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..5 {
            breaker.note(true, start);
        }
        let later = start + PAUSE;
        assert_eq!(breaker.closed_for(later), None);
        assert_eq!(breaker.closed_for(later), Some(PAUSE));
        breaker.note(true, later);
        assert!(breaker.closed_for(later).is_some());
        breaker.note(false, later);
        assert_eq!(breaker.closed_for(later), None);
    }
}

//! When a service changes its name between healthy and unhealthy, and with it the project: pure, so that every short
//! sequence of looks can be tried.
//!
//! Hysteresis both ways: some failures in a row make unhealthy, some successes in a row make healthy again. A look that
//! saw nothing (*unknown*) counts for neither: it never takes a service down, nor up.

use crate::domain::{ProjectStatus, ServiceState};

/// Looks in a row that it takes.
#[derive(Debug, Clone, Copy)]
pub struct Takes {
    /// Failures that make a service unhealthy.
    pub down: u32,
    /// Successes that make it healthy again.
    pub up: u32,
}

/// What is held of one service from look to look.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    standing: ServiceState,
    good: u32,
    bad: u32,
}

impl Default for Steady {
    fn default() -> Self {
        Self { standing: ServiceState::Starting, good: 0, bad: 0 }
    }
}

impl Steady {
    /// Healthy, starting or unhealthy: never unknown.
    pub fn standing(&self) -> ServiceState {
        self.standing
    }

    /// It failed and does not count as unhealthy yet: more failures decide.
    pub fn is_suspect(&self) -> bool {
        self.bad > 0 && self.standing != ServiceState::Unhealthy
    }

    /// One look; returns what is to be said of the service. `written` is what is said of it now: somebody else may have
    /// seen its container end, or an operation may have waited for it, and that is where counting begins.
    pub fn look(&mut self, written: Option<ServiceState>, seen: ServiceState, takes: Takes) -> ServiceState {
        if let Some(written) = written.filter(|written| *written != ServiceState::Unknown && *written != self.standing) {
            *self = Self { standing: written, good: 0, bad: 0 };
        }
        match seen {
            ServiceState::Unknown => return ServiceState::Unknown,
            ServiceState::Healthy => {
                (self.good, self.bad) = (self.good.saturating_add(1), 0);
                if self.good >= takes.up {
                    self.standing = ServiceState::Healthy;
                }
            }
            ServiceState::Starting | ServiceState::Unhealthy => {
                (self.good, self.bad) = (0, self.bad.saturating_add(1));
                if self.bad >= takes.down {
                    self.standing = ServiceState::Unhealthy;
                }
            }
        }
        self.standing
    }
}

/// Where the project stands: one service known to be unhealthy takes it down; only when all are known to be healthy it
/// comes up again; in between it stays where it is.
pub fn overall(now: ProjectStatus, services: &[ServiceState]) -> ProjectStatus {
    if services.contains(&ServiceState::Unhealthy) {
        ProjectStatus::ActiveUnhealthy
    } else if services.iter().all(|state| *state == ServiceState::Healthy) {
        ProjectStatus::ActiveHealthy
    } else {
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [ServiceState; 4] =
        [ServiceState::Healthy, ServiceState::Starting, ServiceState::Unhealthy, ServiceState::Unknown];
    const TAKES: Takes = Takes { down: 3, up: 2 };

    /// What is said after each look.
    fn said(from: ServiceState, looks: &[ServiceState], takes: Takes) -> Vec<ServiceState> {
        let mut steady = Steady { standing: from, ..Steady::default() };
        let mut written = Some(from);
        let mut said = Vec::new();
        for seen in looks {
            written = Some(steady.look(written, *seen, takes));
            said.extend(written);
        }
        said
    }

    /// How many of the last looks that saw something say the same, and which.
    fn run(looks: &[ServiceState]) -> (bool, u32) {
        let known = looks.iter().filter(|seen| **seen != ServiceState::Unknown).map(|seen| *seen == ServiceState::Healthy);
        let known: Vec<bool> = known.collect();
        let Some(last) = known.last() else { return (true, 0) };
        let length = known.iter().rev().take_while(|good| *good == last).count();
        (*last, u32::try_from(length).expect("short"))
    }

    #[test]
    fn every_sequence_of_six_looks_changes_the_name_only_after_enough_in_a_row() {
        for from in [ServiceState::Healthy, ServiceState::Starting, ServiceState::Unhealthy] {
            for takes in [TAKES, Takes { down: 1, up: 1 }, Takes { down: 2, up: 4 }] {
                for number in 0..4_usize.pow(6) {
                    let looks: Vec<ServiceState> = (0..6).map(|place| SEEN[number / 4_usize.pow(place) % 4]).collect();
                    let said = said(from, &looks, takes);
                    let mut known = from;
                    for (at, state) in said.iter().enumerate() {
                        let (good, length) = run(&looks[..=at]);
                        let expected = match (good, length) {
                            (true, length) if length >= takes.up => ServiceState::Healthy,
                            (false, length) if length >= takes.down => ServiceState::Unhealthy,
                            _ => known,
                        };
                        known = expected;
                        let shown = if looks[at] == ServiceState::Unknown { ServiceState::Unknown } else { expected };
                        assert_eq!(*state, shown, "from {from:?} after {:?} with {takes:?}", &looks[..=at]);
                    }
                }
            }
        }
    }

    #[test]
    fn one_failure_is_not_unhealthy_and_one_success_not_healthy_again() {
        use ServiceState::{Healthy, Starting, Unhealthy, Unknown};
        assert_eq!(said(Healthy, &[Unhealthy, Starting, Healthy, Unhealthy], TAKES), [Healthy; 4]);
        assert_eq!(said(Healthy, &[Unhealthy, Starting, Unhealthy, Healthy], TAKES)[2..], [Unhealthy; 2]);
        assert_eq!(said(Unhealthy, &[Healthy, Unhealthy, Healthy, Healthy], TAKES), [Unhealthy, Unhealthy, Unhealthy, Healthy]);
        assert_eq!(said(Unhealthy, &[Healthy, Unknown, Healthy], TAKES), [Unhealthy, Unknown, Healthy]);
    }

    #[test]
    fn who_failed_is_suspect_until_it_is_decided() {
        use ServiceState::{Healthy, Unhealthy};
        let mut steady = Steady { standing: Healthy, ..Steady::default() };
        let looks =
            [Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Healthy, Unhealthy, Healthy, Healthy, Unhealthy, Healthy];
        let suspect = looks.map(|seen| {
            steady.look(None, seen, TAKES);
            steady.is_suspect()
        });
        assert_eq!(suspect, [false, true, true, false, false, false, false, false, false, true, false]);
    }

    #[test]
    fn what_somebody_else_wrote_is_where_counting_begins() {
        let mut steady = Steady { standing: ServiceState::Healthy, ..Steady::default() };
        steady.look(Some(ServiceState::Healthy), ServiceState::Healthy, TAKES);
        // Its container was seen to have ended: one success does not make it healthy.
        let first = steady.look(Some(ServiceState::Unhealthy), ServiceState::Healthy, TAKES);
        assert_eq!(first, ServiceState::Unhealthy);
        assert_eq!(steady.look(Some(first), ServiceState::Healthy, TAKES), ServiceState::Healthy);
        let mut steady = Steady::default();
        assert_eq!(steady.look(Some(ServiceState::Starting), ServiceState::Healthy, TAKES), ServiceState::Starting);
        assert_eq!(steady.look(None, ServiceState::Healthy, TAKES), ServiceState::Healthy);
    }

    #[test]
    fn unknown_is_not_down_and_not_up() {
        use ServiceState::{Healthy, Starting, Unhealthy, Unknown};
        for now in [ProjectStatus::ActiveHealthy, ProjectStatus::ActiveUnhealthy] {
            for first in SEEN {
                for second in SEEN {
                    let expected = match (first, second) {
                        (Unhealthy, _) | (_, Unhealthy) => ProjectStatus::ActiveUnhealthy,
                        (Healthy, Healthy) => ProjectStatus::ActiveHealthy,
                        (Starting | Unknown, _) | (_, Starting | Unknown) => now,
                    };
                    assert_eq!(overall(now, &[first, second]), expected, "{first:?} and {second:?} in {now:?}");
                }
            }
        }
    }
}

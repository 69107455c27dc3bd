//! Which state leads where: one table, read by the store when it accepts, by the runner when it ends, and by a test
//! that walks every path.

use super::{OperationKind, ProjectStatus};

impl OperationKind {
    /// The states in which it may be asked for.
    pub fn allowed_from(self) -> &'static [ProjectStatus] {
        use ProjectStatus::{ActiveHealthy, ActiveUnhealthy, Failed, Paused};
        match self {
            Self::Create => &[Failed],
            // A paused project whose containers run is paused again by the reconciler.
            Self::Pause => &[ActiveHealthy, ActiveUnhealthy, Paused],
            Self::Resume => &[Paused],
            Self::Restart | Self::Repair | Self::Update | Self::Apply => &[ActiveHealthy, ActiveUnhealthy],
            Self::Delete => &[ActiveHealthy, ActiveUnhealthy, Paused, Failed],
        }
    }

    /// Where the project stands while it is under way.
    pub fn transit(self) -> ProjectStatus {
        match self {
            Self::Create => ProjectStatus::Creating,
            Self::Pause => ProjectStatus::Pausing,
            Self::Resume => ProjectStatus::Resuming,
            Self::Restart => ProjectStatus::Restarting,
            Self::Repair => ProjectStatus::ActiveUnhealthy,
            Self::Update | Self::Apply => ProjectStatus::Updating,
            Self::Delete => ProjectStatus::Deleting,
        }
    }

    /// Where it stands after success.
    pub fn succeeded(self) -> ProjectStatus {
        match self {
            Self::Create | Self::Resume | Self::Restart | Self::Repair | Self::Update | Self::Apply => {
                ProjectStatus::ActiveHealthy
            }
            Self::Pause => ProjectStatus::Paused,
            Self::Delete => ProjectStatus::Deleted,
        }
    }

    /// Where it stands after a failure, once what could be undone is undone. A delete does not fail: it goes on until
    /// nothing is left, or until somebody forces its end and leaves the rest to the reaper.
    pub fn failed(self) -> ProjectStatus {
        match self {
            Self::Create => ProjectStatus::Failed,
            Self::Pause | Self::Restart | Self::Repair | Self::Update | Self::Apply => ProjectStatus::ActiveUnhealthy,
            Self::Resume => ProjectStatus::Paused,
            Self::Delete => ProjectStatus::Deleted,
        }
    }

    /// Whether it ever gives up and goes back; an update only until its last step.
    pub fn has_way_back(self) -> bool {
        self != Self::Delete
    }

    /// Whether it renders the stack anew; the others work on the one that is there.
    pub fn renders(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }

    /// What a caller may do when the state does not allow it.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::Create => "only a FAILED project can be retried",
            Self::Pause => "only an active project can be paused; wait for its operation to end, or cancel it",
            Self::Resume => "only a PAUSED project can be resumed",
            Self::Restart | Self::Repair => "only an active project can be restarted; resume a paused one",
            Self::Update => {
                "only an active project can be updated; resume a paused one, wait for its operation to end, or cancel it"
            }
            Self::Apply => "a plugin is applied to an active project only; resume a paused one, or wait for its operation to end",
            Self::Delete => "wait until its operation has ended, or cancel it; GET its /operations shows how far it is",
        }
    }
}

impl ProjectStatus {
    /// Whether an operation is under way in this state.
    pub fn in_transit(self) -> bool {
        matches!(self, Self::Creating | Self::Pausing | Self::Resuming | Self::Restarting | Self::Updating | Self::Deleting)
    }

    /// Whether its containers should run.
    pub fn is_active(self) -> bool {
        matches!(self, Self::ActiveHealthy | Self::ActiveUnhealthy)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every state that one step leads to: accepting, succeeding, failing (also by cancel), a forced end, and health.
    fn next(from: ProjectStatus) -> BTreeSet<&'static str> {
        let mut to = BTreeSet::new();
        for kind in OperationKind::ALL {
            if kind.allowed_from().contains(&from) {
                to.insert(kind.transit().as_str());
            }
            if kind.transit() == from {
                to.insert(kind.succeeded().as_str());
                to.insert(kind.failed().as_str());
            }
        }
        match from {
            ProjectStatus::ActiveHealthy => to.insert(ProjectStatus::ActiveUnhealthy.as_str()),
            ProjectStatus::ActiveUnhealthy => to.insert(ProjectStatus::ActiveHealthy.as_str()),
            _ => false,
        };
        to
    }

    fn reachable(from: ProjectStatus) -> BTreeSet<&'static str> {
        let mut seen = BTreeSet::from([from.as_str()]);
        let mut open = vec![from];
        while let Some(state) = open.pop() {
            for word in next(state) {
                if seen.insert(word) {
                    open.extend(ProjectStatus::from_word(word));
                }
            }
        }
        seen
    }

    #[test]
    fn from_every_reachable_state_a_person_gets_to_active_or_deleted() {
        let states = reachable(ProjectStatus::Creating);
        let all: BTreeSet<_> = ProjectStatus::ALL.iter().map(|state| state.as_str()).collect();
        assert_eq!(states, all, "a state that nothing leads to");
        for word in states {
            let state = ProjectStatus::from_word(word).expect("a state");
            let ends = reachable(state);
            assert!(ends.contains("DELETED"), "{word} is never deleted");
            if state != ProjectStatus::Deleted && state != ProjectStatus::Deleting {
                assert!(ends.contains("ACTIVE_HEALTHY"), "{word} never becomes active");
            }
        }
    }

    #[test]
    fn a_state_in_transit_has_an_operation_that_leads_out_and_no_other_may_begin() {
        for state in ProjectStatus::ALL.iter().filter(|state| state.in_transit()) {
            assert!(OperationKind::ALL.iter().any(|kind| kind.transit() == *state), "{state:?}");
            assert!(OperationKind::ALL.iter().all(|kind| !kind.allowed_from().contains(state)), "{state:?}");
        }
        for kind in OperationKind::ALL {
            assert!(!kind.succeeded().in_transit() && !kind.failed().in_transit(), "{kind:?}");
        }
    }
}

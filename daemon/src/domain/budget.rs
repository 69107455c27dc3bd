//! A project's storage against what it may hold: three states, and levels far enough apart that a project which
//! stands at one of them does not flicker.

use serde::Serialize;

/// Where a project's storage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetState {
    /// There is room, or no limit.
    Ok,
    /// Nearly full: somebody was told.
    Warned,
    /// Full: nothing more is written.
    Frozen,
}

/// Per cent at which somebody is told.
pub const WARN_AT: u64 = 80;
/// Per cent below which that is over.
const CALM_BELOW: u64 = 75;
/// Per cent at which nothing more is written: the rest is what a database needs to be cleaned up.
pub const FREEZE_AT: u64 = 95;
/// Per cent below which writing goes on.
pub const RELEASE_BELOW: u64 = 90;

impl BudgetState {
    /// The word in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warned => "warned",
            Self::Frozen => "frozen",
        }
    }

    /// The inverse of [`BudgetState::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ok, Self::Warned, Self::Frozen].into_iter().find(|state| state.as_str() == word)
    }

    /// Where it stands after a measuring. What could not be measured in full is at least `used`: it may fill a
    /// project, but it releases none.
    #[must_use]
    pub fn after(self, used: u64, limit: Option<u64>, complete: bool) -> Self {
        let Some(limit) = limit else { return Self::Ok };
        let reached = |per_cent: u64| u128::from(used) * 100 >= u128::from(limit) * u128::from(per_cent);
        match self {
            _ if reached(FREEZE_AT) => Self::Frozen,
            Self::Frozen if !complete || reached(RELEASE_BELOW) => Self::Frozen,
            _ if reached(WARN_AT) => Self::Warned,
            Self::Warned | Self::Frozen if reached(CALM_BELOW) => Self::Warned,
            _ => Self::Ok,
        }
    }
}

/// Whole per cent of the limit, rounded down.
pub fn per_cent(used: u64, limit: u64) -> u64 {
    u64::try_from(u128::from(used) * 100 / u128::from(limit.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use BudgetState::{Frozen, Ok, Warned};

    use super::*;

    #[test]
    fn it_warns_at_eighty_freezes_at_ninety_five_and_releases_below_ninety() {
        let walk = [(79, Ok), (80, Warned), (94, Warned), (95, Frozen), (94, Frozen), (90, Frozen), (89, Warned), (80, Warned)];
        let mut state = Ok;
        for (used, expected) in walk {
            state = state.after(used, Some(100), true);
            assert_eq!(state, expected, "at {used} %");
        }
        assert_eq!(Warned.after(76, Some(100), true), Warned, "no flicker around a level");
        assert_eq!(Warned.after(74, Some(100), true), Ok);
        assert_eq!(Frozen.after(10, Some(100), true), Ok);
        assert_eq!(Ok.after(200, Some(100), true), Frozen, "past everything at once");
    }

    #[test]
    fn without_a_limit_nothing_is_full_and_half_a_look_releases_nothing() {
        for state in [Ok, Warned, Frozen] {
            assert_eq!(state.after(u64::MAX, None, true), Ok);
        }
        assert_eq!(Frozen.after(1, Some(100), false), Frozen);
        assert_eq!(Ok.after(95, Some(100), false), Frozen);
    }

    #[test]
    fn per_cent_of_anything_is_a_number() {
        assert_eq!((per_cent(95, 100), per_cent(u64::MAX, 1), per_cent(1, 0)), (95, u64::MAX, 100));
    }
}

//! When a message is tried again, and when it is given up. Pure.

use std::time::Duration;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3600);

/// The pause after this many tries: doubled each time up to an hour, and of that between a half and the whole, by
/// `chance` (0 to 1), so that receivers that were down are not all asked in the same second.
pub fn pause(first: Duration, tries: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// The longest time for which a plugin keeps a message back: what is newer of its project waits behind it, for the webhook too.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The pause when a receiver named a time before which it does not want to be asked; of that up to five minutes.
pub fn asked_for(pause: Duration, not_before: Duration) -> Duration {
    pause.max(not_before.min(LONGEST_ASKED))
}

/// Whether a message that failed so often and is so old is given up.
pub fn is_over(tries: u32, age: Duration, tries_max: u32, age_max: Duration) -> bool {
    tries >= tries_max || age >= age_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_are_spread() {
        let first = Duration::from_secs(5);
        let whole: Vec<u64> = (1..=12).map(|tries| pause(first, tries, 1.0).as_secs()).collect();
        assert_eq!(whole, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        for tries in 1..200 {
            let (least, most) = (pause(first, tries, 0.0), pause(first, tries, 1.0));
            assert_eq!(least * 2, most, "{tries}");
            assert!(pause(first, tries, 0.4) > least && pause(first, tries, 0.4) < most, "{tries}");
        }
    }

    #[test]
    fn a_receiver_lengthens_a_pause_and_never_shortens_it() {
        let seconds = Duration::from_secs;
        assert_eq!(asked_for(seconds(5), seconds(60)), seconds(60));
        assert_eq!(asked_for(seconds(5), Duration::ZERO), seconds(5));
        assert_eq!(asked_for(seconds(5), Duration::MAX), seconds(300));
    }

    #[test]
    fn the_end_is_a_number_of_tries_or_an_age() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        assert!(!is_over(29, hour, 30, day) && is_over(30, hour, 30, day) && is_over(1, day, 30, day));
        // With the defaults a day is over before the tries are: nobody gives up early.
        let least: Duration = (1..30).map(|tries| pause(Duration::from_secs(5), tries, 1.0)).sum();
        assert!(least > Duration::from_secs(18 * 3600), "{least:?}");
    }
}

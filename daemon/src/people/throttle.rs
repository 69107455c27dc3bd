//! How often somebody may try a password: per user's address, so that one account is not guessed, and per address of the
//! network, so that one machine does not guess many.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::PeopleError;

/// Addresses remembered before those that may try again are forgotten.
const KEYS: usize = 10_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

#[derive(Clone)]
pub(super) struct Throttle {
    by_user: Arc<Limiter<String>>,
    by_network: Arc<Limiter<IpAddr>>,
}

impl Throttle {
    pub(super) fn new(tries_per_minute: u32) -> Self {
        let quota = |tries: u32| Quota::per_minute(NonZeroU32::new(tries).unwrap_or(NonZeroU32::MIN));
        Self {
            by_user: Arc::new(RateLimiter::hashmap(quota(tries_per_minute))),
            by_network: Arc::new(RateLimiter::hashmap(quota(tries_per_minute.saturating_mul(4)))),
        }
    }

    /// Counts a try.
    pub(super) fn may_try(&self, user: &str, network: Option<IpAddr>) -> Result<(), PeopleError> {
        if let Some(network) = network {
            checked(&self.by_network, &one_site(network))?;
        }
        checked(&self.by_user, &user.to_owned())
    }
}

/// Whoever has one address of IPv6 has the other 2^64 of its network too.
fn one_site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.into(),
            None => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        },
    }
}

fn checked<K: Clone + Eq + std::hash::Hash>(limiter: &Limiter<K>, key: &K) -> Result<(), PeopleError> {
    if limiter.len() > KEYS {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|wait| {
        let left = wait.wait_time_from(DefaultClock::default().now());
        PeopleError::TooManyTries(left.as_secs() + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_one_account_nor_many_from_one_machine_are_guessed() {
        let throttle = Throttle::new(3);
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let tries = |user: &str, network| (0..20).filter(|_| throttle.may_try(user, Some(network)).is_ok()).count();
        assert_eq!(tries("a@b", here), 3);
        assert_eq!(tries("a@b", there), 0, "another machine does not help");
        assert_eq!(tries("c@d", IpAddr::from([10, 0, 0, 3])), 3, "another account is not shut out");
        let guessed = (0..20).filter(|number| throttle.may_try(&format!("u{number}@b"), Some(here)).is_ok()).count();
        assert_eq!(guessed, 0, "twenty tries from here were made already");
        let site: IpAddr = "2001:db8::1".parse().expect("an address");
        assert_eq!(one_site(site), one_site("2001:db8::ffff:1".parse().expect("an address")));
        assert_ne!(one_site(site), one_site("2001:db8:0:1::1".parse().expect("an address")));
        let refused = throttle.may_try("a@b", None);
        assert!(matches!(refused, Err(PeopleError::TooManyTries(1..=60))), "{refused:?}");
    }
}

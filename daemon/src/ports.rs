//! Host ports: chosen from a named range, proved free by a real bind, unique per engine by the store.
//!
//! The default ranges lie inside Linux's ephemeral range (32768-60999), so a passing client connection can hold
//! one for a moment: a candidate that fails to bind is tried again before it is given up.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Tries per candidate when nothing else is left.
const ROUNDS: u32 = 3;
/// Pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// No port is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the port range `{name}` ({first}-{last}) is full: widen ports.{name} or delete a project")]
pub struct RangeFull {
    /// The range's name.
    pub name: String,
    /// Its first port.
    pub first: u16,
    /// Its last port.
    pub last: u16,
}

/// The lowest port of the range that is neither taken nor avoided and can really be bound.
///
/// # Errors
/// [`RangeFull`] when there is none.
pub async fn choose(
    name: &str,
    range: RangeInclusive<u16>,
    avoid: Option<&RangeInclusive<u16>>,
    taken: &[u16],
    address: IpAddr,
) -> Result<u16, RangeFull> {
    let candidates: Vec<u16> =
        range.clone().filter(|port| !taken.contains(port) && !avoid.is_some_and(|avoid| avoid.contains(port))).collect();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        if let Some(port) = candidates.iter().find(|port| can_bind(address, **port)) {
            return Ok(*port);
        }
    }
    Err(RangeFull { name: name.to_owned(), first: *range.start(), last: *range.end() })
}

/// Whether a listener could be made there now. The standard library sets `SO_REUSEADDR`, as the engine's own
/// proxy does: a connection in TIME_WAIT does not count, a listener or a live connection on that port does.
pub fn can_bind(address: IpAddr, port: u16) -> bool {
    TcpListener::bind(SocketAddr::new(address, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn taken_avoided_and_bound_ports_are_passed_over() {
        let holder = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).expect("a free port");
        let held = holder.local_addr().expect("bound").port();
        let range = held..=held.saturating_add(40);
        let chosen = choose("api", range.clone(), Some(&(held + 2..=held + 3)), &[held + 1], LOOPBACK).await;
        assert!(chosen.expect("free") > held + 3);
    }

    #[tokio::test]
    async fn a_full_range_names_itself() {
        let full = choose("api", 54000..=54001, None, &[54000, 54001], LOOPBACK).await.expect_err("full");
        assert_eq!(full.to_string(), "the port range `api` (54000-54001) is full: widen ports.api or delete a project");
    }
}

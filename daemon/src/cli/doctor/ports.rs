//! Host ports and subnets: whether the ranges are there to be taken.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Finding, advice, bad, good};
use crate::config::Config;
use crate::subnets::{Pool, host_routes};
use crate::templates::LoadedSet;

/// Ports tried per range: enough to see whether something else lives there.
const SAMPLE: usize = 50;

/// The configured ranges that the set takes ports from, by name, with how many one project takes.
pub fn wanted(config: &Config, set: &LoadedSet) -> BTreeMap<String, (RangeInclusive<u16>, usize)> {
    let mut wanted: BTreeMap<String, (RangeInclusive<u16>, usize)> = BTreeMap::new();
    for port in &set.spec.ports {
        if let Ok(range) = config.port_range(&port.range) {
            wanted.entry(port.range.clone()).or_insert((range, 0)).1 += 1;
        }
    }
    wanted
}

/// Whether a range is free at its beginning, where the next project's port comes from.
pub fn ranges(config: &Config, set: &LoadedSet) -> Vec<Finding> {
    let look = |(name, (range, _)): (String, (RangeInclusive<u16>, usize))| {
        let sample: Vec<u16> = range.clone().take(SAMPLE).collect();
        let free = sample.iter().filter(|port| crate::ports::can_bind(config.publish_address, **port)).count();
        good(format!("ports.{name} {}-{}: {free} of the first {} are free", range.start(), range.end(), sample.len()))
    };
    wanted(config, set).into_iter().map(look).collect()
}

/// Ports of ours that the kernel may give to a client's connection.
pub fn ephemeral(config: &Config, set: Option<&LoadedSet>) -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = text.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (first, last) = (bounds.next()?, bounds.next()?);
    let reserved = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let ours = wanted(config, set?).into_values().map(|(range, _)| range);
    let line = to_reserve(reserved.trim(), ours.filter(|range| *range.start() <= last && *range.end() >= first))?;
    Some(advice(format!(
        "client connections may take ports of {first}-{last}: reserve ours with `sysctl net.ipv4.ip_local_reserved_ports={line}`"
    )))
}

/// What the setting should hold, with what it holds already; `None` when ours are in it. The kernel joins ranges that
/// touch, so texts cannot be compared.
fn to_reserve(reserved: &str, ours: impl Iterator<Item = RangeInclusive<u16>>) -> Option<String> {
    let read = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    };
    let there: Vec<RangeInclusive<u16>> = reserved.split(',').filter_map(read).collect();
    let is_there =
        |range: &RangeInclusive<u16>| there.iter().any(|known| known.contains(range.start()) && known.contains(range.end()));
    let missing: Vec<String> =
        ours.filter(|range| !is_there(range)).map(|range| format!("{}-{}", range.start(), range.end())).collect();
    let known = Some(reserved.to_owned()).filter(|text| !text.is_empty());
    (!missing.is_empty()).then(|| known.into_iter().chain(missing).collect::<Vec<_>>().join(","))
}

/// Whether the pool is clear of the host's routes.
pub fn subnets(config: &Config) -> Finding {
    let Some(pool) = Pool::parse(&config.subnets.pool) else { return bad("subnets.pool is no network") };
    match pool.choose(&[], &host_routes()) {
        Some(first) => {
            good(format!("subnets.pool {} holds {} projects, the first on {first}", config.subnets.pool, pool.capacity()))
        }
        None => bad(format!("subnets.pool {} overlaps with the host's routes altogether", config.subnets.pool)),
    }
}

#[cfg(test)]
mod tests {
    use super::to_reserve;

    #[test]
    fn what_is_reserved_stays_reserved() {
        let ours = || [54000..=54999, 55000..=55999].into_iter();
        assert_eq!(to_reserve("", ours()).as_deref(), Some("54000-54999,55000-55999"));
        assert_eq!(to_reserve("8080,54000-55500", ours()).as_deref(), Some("8080,54000-55500,55000-55999"));
        assert_eq!(to_reserve("8080,54000-55999", ours()), None, "the kernel joins what touches");
    }
}

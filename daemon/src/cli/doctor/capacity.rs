//! How many more projects fit, and what stops the next one.
//!
//! Memory and disk are reckoned with the median of what projects here use, and before the first one with what the template
//! set plans for. That is an estimate, said as one, and nothing refuses a create for it; ports, subnets and the kernel's
//! keyrings do.

use serde::Serialize;

use super::engine::Engine;
use super::{Finding, Known, advice, bad, folder, good, host, ports};
use crate::config::Config;
use crate::store::UsageSample;
use crate::subnets::{Pool, host_routes};
use crate::templates::LoadedSet;

const MIB: u64 = 1024 * 1024;

/// One thing that projects use up.
#[derive(Debug, Clone, Serialize)]
pub struct Limit {
    /// For example `memory` or `ports.api`.
    pub name: String,
    /// How many more projects it is enough for.
    pub more: u64,
    /// Whether a create is refused at its end; the others are estimates.
    pub refuses: bool,
    /// From what that was reckoned, and the way out.
    pub text: String,
}

/// How many more projects fit.
#[derive(Debug, Serialize)]
pub struct Capacity {
    /// Of the chosen template set.
    pub more: u64,
    /// The name of what stops the one after that.
    pub stopped_by: String,
    /// All limits, the nearest first.
    pub limits: Vec<Limit>,
}

/// Looks at everything that a project of this set uses up.
pub fn of(config: &Config, set: &LoadedSet, engine: Option<&Engine>, known: &Known) -> Capacity {
    let mut limits = port_limits(config, set, known);
    limits.extend(subnet_limit(config, known));
    limits.extend(memory_limit(set, engine, known));
    limits.extend(disk_limit(config, set, known));
    limits.extend(keyring_limit(set, engine));
    nearest_first(limits)
}

/// The sentence of the report.
pub fn finding(capacity: &Capacity) -> Finding {
    let refused = capacity.limits.iter().find(|limit| limit.more == 0 && limit.refuses);
    match (capacity.more, refused) {
        (_, Some(limit)) => bad(format!("capacity: no further project can be made, {} is used up", limit.name)),
        (0, None) => advice(format!("capacity: no further project fits, for lack of {}", capacity.stopped_by)),
        (more, None) => {
            good(format!("capacity: {more} more projects fit, then it is {} that stops the next", capacity.stopped_by))
        }
    }
}

fn nearest_first(mut limits: Vec<Limit>) -> Capacity {
    limits.sort_by_key(|limit| limit.more);
    let (more, stopped_by) =
        limits.first().map_or((0, "anything to look at".to_owned()), |first| (first.more, first.name.clone()));
    Capacity { more, stopped_by, limits }
}

fn port_limits(config: &Config, set: &LoadedSet, known: &Known) -> Vec<Limit> {
    let taken: Vec<u16> = known.projects.iter().flat_map(|project| project.ports.iter().map(|(_, port)| *port)).collect();
    let avoid = config.avoided_ports();
    let limit = |(name, (range, each)): (String, (std::ops::RangeInclusive<u16>, usize))| {
        let (first, last) = (*range.start(), *range.end());
        let free = range.filter(|port| !taken.contains(port) && !avoid.as_ref().is_some_and(|avoid| avoid.contains(port)));
        let free = free.filter(|port| crate::ports::can_bind(config.publish_address, *port)).count();
        Limit {
            more: (free / each.max(1)) as u64,
            refuses: true,
            text: format!("by ports.{name} {first}-{last}: {free} free, {each} a project; widen it for more"),
            name: format!("ports.{name}"),
        }
    };
    ports::wanted(config, set).into_iter().map(limit).collect()
}

fn subnet_limit(config: &Config, known: &Known) -> Option<Limit> {
    let pool = Pool::parse(&config.subnets.pool)?;
    let taken: Vec<String> = known.projects.iter().map(|project| project.subnet.clone()).collect();
    let more = pool.free(&taken, &host_routes()).count() as u64;
    let text =
        format!("by subnets.pool {}: {more} of {} are free; a larger pool holds more", config.subnets.pool, pool.capacity());
    Some(Limit { name: "subnets.pool".to_owned(), more, refuses: true, text })
}

fn memory_limit(set: &LoadedSet, engine: Option<&Engine>, known: &Known) -> Option<Limit> {
    let planned = set.spec.planning.map(|planning| planning.memory_mib * MIB);
    let (each, source) = each(known, |sample| sample.memory_bytes, planned)?;
    let engine = engine?;
    let used: i64 = known.usage.iter().map(|sample| sample.memory_bytes).sum();
    let free = match engine.local {
        true => host::memory_available()?,
        false => u64::try_from(engine.info.memory_bytes.saturating_sub(used)).unwrap_or_default(),
    };
    let text = format!("by memory: {} MiB free, {} MiB a project ({source})", free / MIB, each / MIB);
    Some(Limit { name: "memory".to_owned(), more: free / each, refuses: false, text })
}

fn disk_limit(config: &Config, set: &LoadedSet, known: &Known) -> Option<Limit> {
    let planned = set.spec.planning.map(|planning| planning.disk_mib * MIB);
    let (each, source) = each(known, |sample| sample.storage_bytes, planned)?;
    let free = folder::free_bytes(&config.data_dir)?;
    let place = config.data_dir.display();
    let text = format!("by disk: {} MiB free under {place}, {} MiB a project ({source})", free / MIB, each / MIB);
    Some(Limit { name: "disk".to_owned(), more: free / each, refuses: false, text })
}

fn keyring_limit(set: &LoadedSet, engine: Option<&Engine>) -> Option<Limit> {
    let engine = engine.filter(|engine| engine.local)?;
    let left = host::keyrings_left(engine.host.mapped_users)?;
    // What a mapped engine's account holds is not in our own table of key users: every container holds one.
    let running = u64::try_from(engine.host.running).unwrap_or_default();
    let left = if engine.host.mapped_users { left.saturating_sub(running) } else { left };
    let each = set.spec.services.len().max(1) as u64;
    let setting = if engine.host.mapped_users { "kernel.keys.maxkeys" } else { "kernel.keys.root_maxkeys" };
    let text = format!("by kernel keyrings: {left} left, {each} a project; raise {setting} for more");
    Some(Limit { name: "kernel keyrings".to_owned(), more: left / each, refuses: true, text })
}

/// What one project uses: the median of those that were measured, or what the set plans for.
fn each(known: &Known, of: impl Fn(&UsageSample) -> i64, planned: Option<u64>) -> Option<(u64, String)> {
    let mut measured: Vec<u64> = known.usage.iter().filter_map(|sample| u64::try_from(of(sample)).ok()).collect();
    measured.retain(|bytes| *bytes >= MIB);
    measured.sort_unstable();
    match measured.get(measured.len() / 2) {
        Some(median) => Some((*median, format!("median of {} here", measured.len()))),
        None => planned.filter(|bytes| *bytes > 0).map(|bytes| (bytes, "planned, none is measured yet".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn sample(mib: i64) -> UsageSample {
        UsageSample { cpu_millis: 0, memory_bytes: mib * MIB as i64, storage_bytes: 0, observed_at: 0 }
    }

    #[test]
    fn the_nearest_limit_is_named_and_none_left_is_bad() {
        let limit = |name: &str, more| Limit { name: name.to_owned(), more, refuses: name != "memory", text: String::new() };
        let capacity = nearest_first(vec![limit("disk", 7), limit("memory", 3), limit("ports.api", 900)]);
        assert_eq!((capacity.more, capacity.stopped_by.as_str()), (3, "memory"));
        assert_eq!(capacity.limits.iter().map(|limit| limit.more).collect::<Vec<_>>(), [3, 7, 900]);
        let full = finding(&nearest_first(vec![limit("memory", 0), limit("ports.api", 0)]));
        assert!(full.verdict == Verdict::Bad && full.text.contains("ports.api is used up"), "{}", full.text);
        let tight = finding(&nearest_first(vec![limit("memory", 0), limit("ports.api", 3)]));
        assert!(tight.verdict == Verdict::Advice && tight.text.contains("lack of memory"), "{}", tight.text);
    }

    #[test]
    fn what_was_measured_goes_before_what_is_planned() {
        let known = |mib: &[i64]| Known { usage: mib.iter().map(|mib| sample(*mib)).collect(), ..Known::default() };
        let memory = |known: &Known| each(known, |sample| sample.memory_bytes, Some(1500 * MIB));
        assert_eq!(memory(&known(&[400, 900, 300])).expect("measured").0, 400 * MIB);
        assert_eq!(memory(&known(&[])).expect("planned").0, 1500 * MIB);
        assert_eq!(memory(&known(&[0])).expect("a stack that just starts has used nothing").0, 1500 * MIB);
        assert!(each(&known(&[]), |sample| sample.memory_bytes, None).is_none());
    }
}

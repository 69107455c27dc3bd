//! Whether there is room: what all projects were promised together against what the engine's host has, and the disk.
//! Refused before anything is made, with the sum, so that the caller can do something about it.

use super::{LifecycleError, Parts};
use crate::disk;
use crate::domain::{Bytes, Cpu, ProjectRef, Resources};
use crate::store::Committed;

/// What a host may promise, overcommit included.
#[derive(Debug, Clone, Copy)]
struct Host {
    cpu_millis: u64,
    memory_bytes: u64,
    cpu_percent: u32,
    memory_percent: u32,
}

/// Refuses `wanted` when it does not fit beside what all other projects on the region's engine were promised. Only what
/// is more than `before` is asked about: nobody is refused who asks for less. `project` is left out of the sum.
///
/// # Errors
/// [`LifecycleError::Room`] with the sum and the way out; the engine's, when it cannot say what its host has.
pub(crate) async fn admit(
    parts: &Parts,
    region: &str,
    project: Option<&ProjectRef>,
    before: &Resources,
    wanted: &Resources,
) -> Result<(), LifecycleError> {
    let more = Resources {
        cpu: wanted.cpu.filter(|cpu| before.cpu.is_none_or(|before| *cpu > before)),
        memory: wanted.memory.filter(|memory| before.memory.is_none_or(|before| *memory > before)),
        storage: None,
    };
    if more.limits().is_none() {
        return Ok(());
    }
    let info = parts.backend.info().await?;
    let resources = &parts.config.resources;
    let host = Host {
        cpu_millis: u64::try_from(info.cpus).unwrap_or_default().saturating_mul(1000),
        memory_bytes: u64::try_from(info.memory_bytes).unwrap_or_default(),
        cpu_percent: resources.cpu_overcommit_percent,
        memory_percent: resources.memory_overcommit_percent,
    };
    fits(&host, &parts.store.committed(region, project).await?, &more)
}

/// Refuses a create while the disk below the data folder is nearly full: an empty database alone takes some 60 MB, and a
/// full disk harms every project on it.
///
/// # Errors
/// [`LifecycleError::Room`].
pub(super) fn disk_has_room(parts: &Parts) -> Result<(), LifecycleError> {
    match disk_is_low(parts) {
        Some(message) => Err(LifecycleError::Room { field: "resources.storage", message }),
        None => Ok(()),
    }
}

/// Says so while less is free than must stay free.
pub(super) fn disk_is_low(parts: &Parts) -> Option<String> {
    let least = Bytes::parse("limits.disk_free_min", &parts.config.limits.disk_free_min).ok()?;
    let free = disk::free(&parts.config.data_dir).ok().filter(|free| *free < least.get())?;
    Some(format!(
        "the disk of the data folder has {} free and {least} must stay free (limits.disk_free_min): make room or delete a project",
        rounded(free)
    ))
}

fn fits(host: &Host, committed: &Committed, wanted: &Resources) -> Result<(), LifecycleError> {
    let others = committed.projects;
    if let Some(cpu) = wanted.cpu {
        let (sum, room) = (committed.cpu_millis.saturating_add(cpu.as_millis()), part(host.cpu_millis, host.cpu_percent));
        if sum > room {
            let message = format!(
                "{cpu} cores do not fit: {others} projects were promised {}, with these it would be {}, and {} are to be had, \
                 {} % of the host's {} (resources.cpu_overcommit_percent): ask for less, pause or delete a project",
                Cpu::millis(committed.cpu_millis),
                Cpu::millis(sum),
                Cpu::millis(room),
                host.cpu_percent,
                Cpu::millis(host.cpu_millis)
            );
            return Err(LifecycleError::Room { field: "resources.cpu", message });
        }
    }
    if let Some(memory) = wanted.memory {
        let sum = committed.memory_bytes.saturating_add(memory.get());
        let room = part(host.memory_bytes, host.memory_percent);
        if sum > room {
            let message = format!(
                "{memory} of memory do not fit: {others} projects were promised {}, with these it would be {}, and {} are to \
                 be had, {} % of the host's {} (resources.memory_overcommit_percent): ask for less, pause or delete a project",
                rounded(committed.memory_bytes),
                rounded(sum),
                rounded(room),
                host.memory_percent,
                rounded(host.memory_bytes)
            );
            return Err(LifecycleError::Room { field: "resources.memory", message });
        }
    }
    Ok(())
}

fn part(whole: u64, percent: u32) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// For sentences: whole megabytes.
fn rounded(bytes: u64) -> Bytes {
    Bytes::new(bytes / 1_000_000 * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { cpu_millis: 2_000, memory_bytes: 8_000_000_000, cpu_percent: 200, memory_percent: 100 };

    fn asked(cpu: Option<u64>, memory: Option<u64>) -> Resources {
        Resources { cpu: cpu.map(Cpu::millis), memory: memory.map(Bytes::new), storage: None }
    }

    #[test]
    fn the_last_one_that_fits_is_taken_and_the_next_is_told_the_sum() {
        let committed = Committed { cpu_millis: 3_000, memory_bytes: 6_000_000_000, projects: 3 };
        assert!(fits(&HOST, &committed, &asked(Some(1_000), Some(2_000_000_000))).is_ok());
        let said = fits(&HOST, &committed, &asked(Some(1_001), None)).expect_err("refused").to_string();
        assert!(said.starts_with("1.001 cores do not fit: 3 projects were promised 3.0, with these it would be 4.001, and 4.0"));
        let said = fits(&HOST, &committed, &asked(None, Some(2_000_000_001))).expect_err("refused").to_string();
        assert!(said.contains("were promised 6GB") && said.contains("100 % of the host's 8GB"), "{said}");
        assert!(fits(&HOST, &committed, &asked(None, None)).is_ok());
        let huge = Committed { cpu_millis: u64::MAX, memory_bytes: u64::MAX, projects: 1 };
        assert!(fits(&HOST, &huge, &asked(Some(1), None)).is_err(), "no sum runs over");
    }
}

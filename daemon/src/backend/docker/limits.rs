//! What holds a container: the project's group where this daemon may make one, else the engine's own limits; and what
//! the kernel has of it.

use std::io::ErrorKind;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerUpdateBody, SystemInfoCgroupDriverEnum};

use super::DockerBackend;
use super::cgroup::{self, Cgroups};
use crate::backend::{BackendError, Bounds, Held, Result};
use crate::domain::{Bytes, Cpu, Limits, ProjectRef};

/// Looks at a group that is not empty yet: the kernel takes a moment after the last process.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

impl DockerBackend {
    /// The group's name as the engine takes it, or `None` where no group can be made: another host, another driver, or
    /// no right to.
    pub(super) async fn group_there(&self, project: &ProjectRef, bounds: &Bounds) -> Result<Option<String>> {
        let Some(groups) = self.groups_possible().await? else { return Ok(None) };
        let name = cgroup::name(project);
        match groups.ensure(&name, bounds) {
            Ok(()) => Ok(Some(format!("/{name}"))),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                Err(BackendError::Rejected { what: format!("limit the group {name}"), reason: error.to_string() })
            }
            Err(error) => {
                tracing::debug!(project.id = %project, %error, "no control group could be made, every service gets its part");
                Ok(None)
            }
        }
    }

    /// Waits a moment for the kernel to let go of the last process.
    pub(super) async fn group_gone(&self, project: &ProjectRef) -> Result<()> {
        let Some(groups) = self.local_groups() else { return Ok(()) };
        let name = cgroup::name(project);
        for look in 1.. {
            match groups.remove(&name) {
                Ok(()) => break,
                // Not ours to remove, so not ours to have made.
                Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => break,
                Err(error) if look >= LOOKS => {
                    return Err(BackendError::Busy { what: format!("remove the group {name}"), reason: error.to_string() });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Ok(())
    }

    /// The projects that have a group on this host.
    pub(super) fn groups_there(&self) -> Vec<ProjectRef> {
        self.local_groups().map(|groups| groups.projects()).unwrap_or_default()
    }

    /// Only the engine of this very kernel, with the driver that takes a path and leaves limits alone: systemd's would
    /// write its own over ours.
    async fn groups_possible(&self) -> Result<Option<Cgroups>> {
        if !self.with_groups {
            return Ok(None);
        }
        let Some(groups) = self.local_groups() else { return Ok(None) };
        let info = self.read("info", |docker| async move { docker.info().await }).await?;
        let driver = info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::CGROUPFS);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let same = info.kernel_version.is_some_and(|version| version == kernel.trim());
        Ok(if driver && same { Some(groups) } else { None })
    }

    pub(super) fn local_groups(&self) -> Option<Cgroups> {
        if self.is_local() { Cgroups::of_this_host() } else { None }
    }

    /// Changes a container's limits while it runs. No limit is all that the host has: the engine takes zero for "as it
    /// was".
    pub(super) async fn limits_set(&self, id: &str, limits: &Limits) -> Result<()> {
        let what = format!("limit container {id}");
        let Some(found) = self.raw_container(id).await? else { return Err(BackendError::NotFound { what }) };
        if let (Some(wanted), Some(used)) = (limits.memory, self.memory_in_use(&found))
            && used > wanted.get()
        {
            let reason = format!("{} are in use: ask for more than that, or stop something", Bytes::new(used));
            return Err(BackendError::Rejected { what, reason });
        }
        let host = self.engine_info().await?;
        let cores = limits.cpu.map_or(host.cpus.saturating_mul(1_000_000_000), nanoseconds);
        let memory = limits.memory.map_or(host.memory_bytes, bytes);
        let body = ContainerUpdateBody {
            nano_cpus: Some(cores),
            memory: Some(memory),
            // runc writes this one first when it rises; with "no limit" here it does not (1.1.5), and the kernel refuses.
            memory_swap: Some(memory),
            ..ContainerUpdateBody::default()
        };
        Ok(self.change(&what, |docker| async move { docker.update_container(id, body).await }).await?)
    }

    fn memory_in_use(&self, found: &ContainerInspectResponse) -> Option<u64> {
        let groups = self.local_groups()?;
        let folder = groups.memory_of(&process(found)?, found.id.as_deref()?)?;
        groups.in_use(&folder)
    }

    /// What the engine was asked for, and beside it what the kernel has.
    pub(super) async fn held_now(&self, id: &str) -> Result<Option<Held>> {
        let Some(found) = self.raw_container(id).await? else { return Ok(None) };
        let kernel = process(&found).zip(self.local_groups());
        let kernel = kernel.and_then(|(process, groups)| groups.held(&process, found.id.as_deref()?));
        let (kernel, group) = kernel.map_or((None, None), |(own, group)| (Some(own), group));
        let config = found.host_config.unwrap_or_default();
        let positive = |amount: Option<i64>| amount.filter(|amount| *amount > 0).and_then(|amount| u64::try_from(amount).ok());
        let asked = Bounds {
            limits: Limits {
                cpu: positive(config.nano_cpus).map(|nano| Cpu::millis(nano / 1_000_000)),
                memory: positive(config.memory).map(Bytes::new),
            },
            pids: positive(config.pids_limit),
        };
        Ok(Some(Held { parent: config.cgroup_parent.filter(|parent| !parent.is_empty()), asked, kernel, group }))
    }
}

/// `/proc/<pid>/cgroup` of a container that runs.
fn process(found: &ContainerInspectResponse) -> Option<String> {
    let pid = found.state.as_ref()?.pid.filter(|pid| *pid > 0)?;
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// Billionths of a core, as the engine counts them.
pub(super) fn nanoseconds(cpu: Cpu) -> i64 {
    i64::try_from(cpu.as_millis().saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

pub(super) fn bytes(memory: Bytes) -> i64 {
    i64::try_from(memory.get()).unwrap_or(i64::MAX)
}

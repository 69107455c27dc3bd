//! What holds a container: its own limits, and the group it shares with the rest of its project.

use crate::domain::Limits;

/// Limits and how many processes there may be; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// CPU and memory.
    pub limits: Limits,
    /// Processes and threads at once.
    pub pids: Option<u64>,
}

/// What holds one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The group it was made in, as the engine names it.
    pub parent: Option<String>,
    /// What the engine was asked to hold the container itself to.
    pub asked: Bounds,
    /// What the kernel holds it to; `None` while it does not run, or when the kernel is not this host's.
    pub kernel: Option<Bounds>,
    /// What the kernel holds its group to; `None` when it is in none of ours.
    pub group: Option<Bounds>,
}

//! How long things may take, and how much of them there may be.

use serde::{Deserialize, Serialize};

/// Deadlines, in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// A whole create.
    pub create_s: u64,
    /// A whole delete.
    pub delete_s: u64,
    /// A whole pause, resume, restart or repair.
    pub change_s: u64,
    /// Copying a project's data before an update, and as long again for copying it back.
    pub snapshot_s: u64,
    /// A pull that does not move.
    pub pull_no_progress_s: u64,
    /// One service becoming healthy.
    pub healthy_s: u64,
    /// Any other step. More than twice what one call to the engine may take (120 s), so that a call whose answer never
    /// came is tried again.
    pub step_s: u64,
    /// How long a stop waits for steps to reach a recorded boundary.
    pub stop_s: u64,
}

/// Other limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Requests at once.
    pub requests: usize,
    /// Event streams at once.
    pub event_streams: usize,
    /// Operations at once; more wait their turn.
    pub operations: usize,
    /// Seconds between two looks at one service.
    pub probe_interval_s: u64,
    /// Failed looks in a row that make a service unhealthy.
    pub unhealthy_after: u32,
    /// Looks in a row that make it healthy again.
    pub healthy_after: u32,
    /// Lines a log request may ask for.
    pub log_lines: u32,
    /// Seconds a command inside a container may take at most.
    pub exec_s: u64,
    /// Commands inside containers at once.
    pub commands: usize,
    /// Bytes kept of each of a command's streams.
    pub exec_output_bytes: usize,
    /// Repairs of one project in an hour; after that it is left as it is until the hour is over.
    pub repairs_per_hour: u32,
    /// Seconds after which a service that runs and is unhealthy is restarted; 0 never does.
    pub heal_after_s: u64,
    /// What must stay free where the data folder lies: below it no project is created.
    pub disk_free_min: String,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            create_s: 1800,
            delete_s: 600,
            change_s: 900,
            snapshot_s: 3600,
            pull_no_progress_s: 120,
            healthy_s: 300,
            step_s: 300,
            stop_s: 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            requests: 256,
            event_streams: 128,
            operations: 8,
            probe_interval_s: 10,
            unhealthy_after: 3,
            healthy_after: 2,
            log_lines: 1000,
            exec_s: 300,
            commands: 16,
            exec_output_bytes: 1024 * 1024,
            repairs_per_hour: 6,
            heal_after_s: 60,
            disk_free_min: "1GB".to_owned(),
        }
    }
}

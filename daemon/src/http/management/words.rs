//! The words of Supabase's dialects for what the domain calls otherwise.

use crate::domain::{Project, ProjectStatus, Role};

/// A project's status, as section 0 of the contract maps it. A resume that failed has a status of its own there, which is
/// what ends the waiting of whoever asked for it.
pub fn status(project: &Project) -> &'static str {
    match project.status {
        ProjectStatus::Creating => "COMING_UP",
        ProjectStatus::ActiveHealthy => "ACTIVE_HEALTHY",
        ProjectStatus::ActiveUnhealthy => "ACTIVE_UNHEALTHY",
        ProjectStatus::Pausing => "PAUSING",
        ProjectStatus::Paused if project.last_error.is_some() => "RESTORE_FAILED",
        ProjectStatus::Paused => "INACTIVE",
        ProjectStatus::Resuming => "RESTORING",
        ProjectStatus::Updating => "UPGRADING",
        ProjectStatus::Restarting => "RESTARTING",
        ProjectStatus::Failed => "INIT_FAILED",
        ProjectStatus::Deleting => "GOING_DOWN",
        ProjectStatus::Deleted => "REMOVED",
    }
}

/// A role, as members are listed with.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::ReadOnly => "Read-only",
        Role::Developer => "Developer",
        Role::Administrator => "Administrator",
        Role::Owner => "Owner",
    }
}

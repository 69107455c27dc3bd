//! The words everything else is said in: pure types without I/O and without async.

mod audit;
mod budget;
mod ids;
mod notice;
mod operation;
mod people;
mod plugins;
mod project;
mod resources;
mod secret;
mod service;
mod template_set;
mod transition;
mod update;
mod usage;

pub use audit::{AUDIT_ROOT, AuditEntry, AuditLine};
pub use budget::{BudgetState, FREEZE_AT, RELEASE_BELOW, WARN_AT, per_cent};
pub use ids::{IdError, InstallationId, OperationId, ProjectRef};
pub use notice::{Notice, NoticeKind, NoticeState};
pub use operation::{Operation, OperationKind, OperationState, Step, StepName, StepState};
pub use people::{Caller, Organization, Proof, Role, Scope, User};
pub use plugins::{PluginChoice, PluginChoices};
pub use project::{LastError, Project, ProjectName, ProjectNameError, ProjectStatus};
pub use resources::{Bytes, Cpu, Limits, NONE, QuantityError, Resources, Share, split};
pub use secret::Secret;
pub use service::{ServiceName, ServiceState};
pub use template_set::{
    BudgetSpec, Dependency, Encoding, EndpointSpec, ExtendingSet, FileSpec, ImageSet, Planning, PortSpec, PurgeSpec, SecretKind,
    SecretSpec, ServiceSpec, SqlSpec, TemplateSet, TemplateSetError, TooLittle, Until,
};
pub use update::{POINT_OF_NO_RETURN, Shape, Update};
pub use usage::{Figure, UsagePoint, Used, in_steps, median, step_of};

/// Milliseconds since the Unix epoch, the one form of time in the store and in domain types.
pub type UnixMillis = i64;

//! The words everything else is said in: pure types without I/O and without async.

mod ids;
mod operation;
mod project;
mod secret;
mod service;
mod template_set;

pub use ids::{IdError, InstallationId, OperationId, ProjectRef};
pub use operation::{Operation, OperationKind, OperationState, Step, StepName, StepState};
pub use project::{LastError, Project, ProjectName, ProjectNameError, ProjectStatus};
pub use secret::Secret;
pub use service::{ServiceName, ServiceState};
pub use template_set::{
    Dependency, Encoding, FileSpec, ImageSet, PortSpec, SecretKind, SecretSpec, ServiceSpec, SqlSpec, TemplateSet,
    TemplateSetError, Until,
};

/// Milliseconds since the Unix epoch, the one form of time in the store and in domain types.
pub type UnixMillis = i64;

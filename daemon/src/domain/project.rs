//! A project: one tenant's stack, as the store knows it.

use serde::Serialize;

use super::{OperationId, PluginChoices, ProjectRef, Resources, ServiceName, Shape, UnixMillis};

/// A project's name: 1 to 256 characters after trimming, no control characters (decision 20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectName(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectNameError {
    /// Nothing is left after trimming.
    #[error("the name is empty: give 1 to 256 characters")]
    Empty,
    /// More than 256 characters.
    #[error("the name has {0} characters: at most 256 are allowed")]
    TooLong(usize),
    /// A control character, which no YAML, env or label carries faithfully.
    #[error("the name holds the control character U+{0:04X}: leave it out")]
    Control(u32),
}

impl ProjectName {
    /// Trims and checks.
    ///
    /// # Errors
    /// [`ProjectNameError`], which says what to change.
    pub fn parse(text: &str) -> Result<Self, ProjectNameError> {
        let name = text.trim();
        let length = name.chars().count();
        if let Some(control) = name.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(ProjectNameError::Control(control as u32));
        }
        match length {
            0 => Err(ProjectNameError::Empty),
            1..=256 => Ok(Self(name.to_owned())),
            _ => Err(ProjectNameError::TooLong(length)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! status {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// Where a project stands, in the words of the design document plus those of the transitions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum ProjectStatus {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl ProjectStatus {
            /// Every status, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in the store and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The inverse of [`ProjectStatus::as_str`].
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

status! {
    /// Still provisioning.
    Creating = "CREATING",
    /// All services healthy.
    ActiveHealthy = "ACTIVE_HEALTHY",
    /// Some services unhealthy.
    ActiveUnhealthy = "ACTIVE_UNHEALTHY",
    /// Being stopped.
    Pausing = "PAUSING",
    /// Intentionally stopped.
    Paused = "PAUSED",
    /// Being started again.
    Resuming = "RESUMING",
    /// One service or all being stopped and started.
    Restarting = "RESTARTING",
    /// Being made anew from other sets or services.
    Updating = "UPDATING",
    /// Provisioning failed; the last error says where.
    Failed = "FAILED",
    /// Being removed.
    Deleting = "DELETING",
    /// Gone; the row is a tombstone.
    Deleted = "DELETED",
}

/// The failure a project shows until something succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The step that failed, for example `start.db`.
    pub step: String,
    /// A machine-readable word, for example `image_unavailable`.
    pub code: String,
    /// A sentence a person can act on.
    pub message: String,
    /// The last log lines of the service that failed, redacted; may be empty.
    pub log_tail: Vec<String>,
}

/// One row of the projects table.
#[derive(Debug, Clone)]
pub struct Project {
    /// The id.
    pub id: ProjectRef,
    /// What dialects with numeric ids call it, from 1; 0 for one that the store does not know.
    pub number: i64,
    /// What the user called it.
    pub name: String,
    /// Slug of the owning organisation.
    pub organization_id: String,
    /// Name of the region, which names an engine.
    pub region: String,
    /// Where it stands.
    pub status: ProjectStatus,
    /// Rises with each operation that recreates objects; a label on every object.
    pub generation: i64,
    /// Name of the template set it was made from.
    pub template_set: String,
    /// Name of the image set it was made from.
    pub image_set: String,
    /// Services of the template set that are off.
    pub without: Vec<ServiceName>,
    /// What was chosen of the plugins.
    pub plugins: PluginChoices,
    /// The /27 of its network, for example `10.201.0.0/27`.
    pub subnet: String,
    /// Its published ports: port name (set.toml) and host port.
    pub ports: Vec<(String, u16)>,
    /// What it may use.
    pub resources: Resources,
    /// The last failure, if the last operation failed.
    pub last_error: Option<LastError>,
    /// The operation that rendered the stack as it is now: its images are pinned there.
    pub stack_operation: Option<OperationId>,
    /// When it was accepted.
    pub created_at: UnixMillis,
    /// When the row last changed.
    pub updated_at: UnixMillis,
    /// When it first became healthy: from then on its ports never change (decision 3).
    pub activated_at: Option<UnixMillis>,
    /// When it was deleted.
    pub deleted_at: Option<UnixMillis>,
}

impl Project {
    /// What its stack is made from.
    pub fn shape(&self) -> Shape {
        let (template_set, image_set) = (self.template_set.clone(), self.image_set.clone());
        Shape { template_set, image_set, without: self.without.clone(), plugins: self.plugins.clone() }
    }

    /// The same project, made from something else.
    #[must_use]
    pub fn in_shape(&self, shape: &Shape) -> Self {
        let Shape { template_set, image_set, without, plugins } = shape.clone();
        Self { template_set, image_set, without, plugins, ..self.clone() }
    }

    /// The host port published under this name of set.toml.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(n, _)| n == name).map(|(_, port)| *port)
    }
}

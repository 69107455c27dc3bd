//! Operations and steps: one accepted intent, and its recorded, idempotent effects.

use serde::Serialize;

use super::{OperationId, POINT_OF_NO_RETURN, ProjectRef, UnixMillis, Update};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every one of them, for tests and documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in the store and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The inverse of `as_str`.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// What was asked for.
    OperationKind {
        /// Make the stack and bring it to health (also used by retry).
        Create = "create",
        /// Stop every container, last started first; volumes and containers stay.
        Pause = "pause",
        /// Start what was paused, in dependency order, and bring it to health.
        Resume = "resume",
        /// Stop and start one service or all.
        Restart = "restart",
        /// Make the stack anew from other sets or services, with the data it has.
        Update = "update",
        /// Bring an active project back to what it should be: asked for by the reconciler, not by a person.
        Repair = "repair",
        /// Have one post-create plugin do its work on an active project that was there before it.
        Apply = "apply",
        /// Remove everything of the project.
        Delete = "delete",
    }
}

words! {
    /// How far an operation has come.
    OperationState {
        /// Committed and not yet begun.
        Accepted = "accepted",
        /// Steps are being done.
        Running = "running",
        /// A step failed; what was done is being undone.
        Unwinding = "unwinding",
        /// Undoing failed; it is tried again with back-off until it succeeds.
        Cleaning = "cleaning",
        /// Every step is done.
        Succeeded = "succeeded",
        /// It failed and everything it did has been undone.
        Failed = "failed",
    }
}

impl OperationState {
    /// Whether nothing more will happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

words! {
    /// How far a step has come.
    StepState {
        /// The intent is committed; the effect may or may not have happened.
        Started = "started",
        /// The effect has happened.
        Succeeded = "succeeded",
        /// The effect failed; its inverse may be running.
        Failed = "failed",
        /// The inverse has been done.
        Undone = "undone",
    }
}

/// A step's name: unique within its operation, for example `network` or `start.db`.
pub type StepName = String;

/// One row of the steps table.
#[derive(Debug, Clone)]
pub struct Step {
    /// The step.
    pub name: StepName,
    /// How far it has come.
    pub state: StepState,
    /// When its intent was committed.
    pub started_at: UnixMillis,
    /// When it succeeded, failed or was undone.
    pub ended_at: Option<UnixMillis>,
    /// What it says about itself: progress, or why it failed.
    pub detail: Option<String>,
}

/// One row of the operations table.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The id.
    pub id: OperationId,
    /// Whose.
    pub project: ProjectRef,
    /// What was asked for.
    pub kind: OperationKind,
    /// How far it has come.
    pub state: OperationState,
    /// The project's generation that it makes.
    pub generation: i64,
    /// Services it is about; empty means all.
    pub services: Vec<String>,
    /// What an update is to make of the project.
    pub update: Option<Update>,
    /// Who asked: a token's id, or `reconciler`.
    pub requested_by: String,
    /// Why somebody cancelled it.
    pub cancelled: Option<String>,
    /// Plugin name and digest, chosen when it was accepted: a resumed operation uses these (I12).
    pub plugins: Vec<(String, String)>,
    /// When it was accepted.
    pub created_at: UnixMillis,
    /// When it must have ended.
    pub deadline_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it failed.
    pub error: Option<String>,
    /// Its steps in the order they were begun.
    pub steps: Vec<Step>,
}

impl Operation {
    /// Whether it can still go back. A delete never can, an update only until it begins to throw the old data away.
    pub fn has_way_back(&self) -> bool {
        let committed = self.kind == OperationKind::Update && self.steps.iter().any(|step| step.name == POINT_OF_NO_RETURN);
        self.kind.has_way_back() && !committed
    }
}

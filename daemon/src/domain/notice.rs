//! What the operator's webhook is told.

use super::{ProjectRef, UnixMillis};

/// What news is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A project came to stand somewhere else.
    Status,
    /// A project comes near what it may use.
    Budget,
    /// The disk fills.
    Disk,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Status, Self::Budget, Self::Disk];

    /// The word in the configuration, in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Budget => "budget",
            Self::Disk => "disk",
        }
    }

    /// The inverse of [`NoticeKind::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// It is to be sent, for the first time or again.
    Waiting,
    /// The receiver has taken it.
    Sent,
    /// It was given up.
    Failed,
    /// What it told was over before it was sent.
    Folded,
}

impl NoticeState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::Failed, Self::Folded];

    /// The word in the store and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Folded => "folded",
        }
    }

    /// The inverse of [`NoticeState::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The receiver tells repetitions by it.
    pub id: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// Whose; `None` when it is about the machine.
    pub project: Option<ProjectRef>,
    /// The project's name then.
    pub name: String,
    /// What was told before; where the project stood when nothing was.
    pub from: String,
    /// What is told.
    pub to: String,
    /// Why, for people.
    pub reason: String,
    /// When it came to be so.
    pub at: UnixMillis,
    /// Changes that this one message stands for, beyond the first.
    pub folded: i64,
    /// What became of it.
    pub state: NoticeState,
    /// How often it was tried.
    pub tries: i64,
    /// When it is tried next.
    pub due_at: UnixMillis,
    /// Who has taken it already: `webhook`, or `plugin:` and a name.
    pub taken_by: Vec<String>,
    /// Why the last try failed.
    pub error: String,
    /// When it was written.
    pub created_at: UnixMillis,
}

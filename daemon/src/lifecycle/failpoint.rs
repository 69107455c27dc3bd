//! Named places at which a test may stop the daemon to kill it: `<kind>.<step>.<position>`, with `undo.` before
//! the step on the way back. At most one is set, by configuration. Reaching it writes its name into the file
//! `failpoint` of the data folder, so that the test can prove that it was hit, and waits for the kill.

use std::path::PathBuf;

/// Where, relative to a step's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Nothing is committed.
    BeforeIntent,
    /// The intent is committed, the effect has not begun.
    AfterIntent,
    /// The effect has happened, its outcome is not committed.
    AfterEffect,
    /// The outcome is committed.
    AfterRecord,
}

impl Position {
    /// Every position, for tests that go through all of them.
    pub const ALL: [Self; 4] = [Self::BeforeIntent, Self::AfterIntent, Self::AfterEffect, Self::AfterRecord];

    /// The word in the failpoint's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeIntent => "before_intent",
            Self::AfterIntent => "after_intent",
            Self::AfterEffect => "after_effect",
            Self::AfterRecord => "after_record",
        }
    }
}

/// The failpoint that is set, if any.
#[derive(Debug, Clone, Default)]
pub struct Failpoints {
    name: String,
    marker: PathBuf,
}

impl Failpoints {
    /// From the configuration; an empty name sets none.
    pub fn new(name: &str, data_dir: &std::path::Path) -> Self {
        Self { name: name.to_owned(), marker: data_dir.join("failpoint") }
    }

    /// Returns at once unless this is the place.
    pub async fn pass(&self, place: &str, position: Position) {
        if self.name.is_empty() || self.name != format!("{place}.{}", position.as_str()) {
            return;
        }
        tracing::info!(failpoint = self.name, "failpoint reached, waiting to be killed");
        if let Err(error) = std::fs::write(&self.marker, &self.name) {
            tracing::error!(%error, "the failpoint's marker cannot be written");
        }
        std::future::pending::<()>().await;
    }
}

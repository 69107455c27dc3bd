//! Named places at which a test may stop the daemon to kill it: `<kind>.<step>.<position>`, with `undo.` before
//! the step on the way back, and `rotate-master.<what>.<position>`. The daemon sets at most one, by configuration. Reaching it writes its name into the file
//! `failpoint` of the data folder, so that the test can prove that it was hit, and waits for the kill. The tests of
//! the lifecycle on the fake engine listen at every place, and may also make the step fail there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::steps::StepError;

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

/// Hears of every place that is passed.
#[async_trait]
pub trait Listener: Send + Sync {
    /// May never return (the daemon is about to be killed there), or fail: after the intent in place of the effect,
    /// after the effect in place of its success; before the intent and after the record it is the store that fails.
    async fn reached(&self, place: &str, position: Position) -> Result<(), StepError>;
}

/// Who listens, if anybody.
#[derive(Clone, Default)]
pub struct Failpoints(Option<Arc<dyn Listener>>);

impl Failpoints {
    /// From the configuration; an empty name sets none.
    pub fn new(name: &str, data_dir: &Path) -> Self {
        let one = || One { name: name.to_owned(), marker: data_dir.join("failpoint") };
        Self((!name.is_empty()).then(|| Arc::new(one()) as Arc<dyn Listener>))
    }

    /// With a listener of the caller's making.
    pub fn heard_by(listener: Arc<dyn Listener>) -> Self {
        Self(Some(listener))
    }

    /// Says that a place is passed.
    ///
    /// # Errors
    /// What the listener wants to fail with.
    pub async fn pass(&self, place: &str, position: Position) -> Result<(), StepError> {
        match &self.0 {
            Some(listener) => listener.reached(place, position).await,
            None => Ok(()),
        }
    }
}

/// The one place at which the process waits to be killed.
struct One {
    name: String,
    marker: PathBuf,
}

#[async_trait]
impl Listener for One {
    async fn reached(&self, place: &str, position: Position) -> Result<(), StepError> {
        if self.name != format!("{place}.{}", position.as_str()) {
            return Ok(());
        }
        tracing::info!(failpoint = self.name, "failpoint reached, waiting to be killed");
        if let Err(error) = std::fs::write(&self.marker, &self.name) {
            tracing::error!(%error, "the failpoint's marker cannot be written");
        }
        std::future::pending().await
    }
}

//! What happens at a failpoint: the script of one case.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use supamanager::backend::ErrorClass;
use supamanager::lifecycle::{Listener, Position, StepError};
use supamanager_tests::fake::{FakeEngine, Fault};
use tokio::sync::Notify;

/// A fault at a failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The daemon is gone.
    Die,
    /// The engine refuses the next call with a 500.
    Error,
    /// The engine does the next change and its answer is lost.
    ErrorAfterDoing,
    /// The next change is answered after the client's two minutes, and done then.
    TimeOut,
    /// The next three calls take twenty seconds each.
    Slow,
    /// The engine is away for twenty seconds.
    EngineRestart,
    /// The step itself fails for good, without an effect or with it; around a record it is the store that fails.
    StepFails,
    /// The same, but trying again may help.
    StepStumbles,
}

impl Trouble {
    pub const ALL: [Self; 8] = [
        Self::Die,
        Self::Error,
        Self::ErrorAfterDoing,
        Self::TimeOut,
        Self::Slow,
        Self::EngineRestart,
        Self::StepFails,
        Self::StepStumbles,
    ];
}

/// What is to happen, in order; each once, at the first passing of its place.
#[derive(Default)]
pub struct Script {
    planned: Mutex<Vec<(String, Trouble)>>,
    engine: Mutex<Option<FakeEngine>>,
    crash: Mutex<Arc<Notify>>,
    /// Places passed, in order, of all lives.
    pub passed: Mutex<Vec<String>>,
    /// Places at which something happened.
    pub hit: Mutex<Vec<String>>,
}

impl Script {
    /// Plans trouble at `<kind>.<step>.<position>`.
    pub fn plan(&self, place: &str, trouble: Trouble, engine: &FakeEngine) {
        *self.engine.lock().unwrap() = Some(engine.clone());
        self.planned.lock().unwrap().push((place.to_owned(), trouble));
    }

    /// What has not happened yet does not happen any more.
    pub fn forget(&self) {
        self.planned.lock().unwrap().clear();
    }

    /// Places that were planned and never passed.
    pub fn left(&self) -> Vec<String> {
        self.planned.lock().unwrap().iter().map(|(place, _)| place.clone()).collect()
    }

    /// Of the life that begins now: is told when the daemon is to be dropped.
    pub fn begin(&self) -> Arc<Notify> {
        let crash = Arc::new(Notify::new());
        *self.crash.lock().unwrap() = crash.clone();
        crash
    }

    /// The daemon is dropped now, wherever it is.
    pub fn crash(&self) {
        self.crash.lock().unwrap().notify_one();
    }

    fn next(&self, place: &str) -> Option<Trouble> {
        let mut planned = self.planned.lock().unwrap();
        let at = planned.iter().position(|(name, _)| name == place)?;
        self.hit.lock().unwrap().push(place.to_owned());
        Some(planned.remove(at).1)
    }
}

#[async_trait]
impl Listener for Script {
    async fn reached(&self, place: &str, position: Position) -> Result<(), StepError> {
        let place = format!("{place}.{}", position.as_str());
        self.passed.lock().unwrap().push(place.clone());
        let Some(trouble) = self.next(&place) else { return Ok(()) };
        let engine = self.engine.lock().unwrap().clone().expect("trouble is planned with its engine");
        match trouble {
            Trouble::Die => {
                self.crash();
                std::future::pending::<()>().await;
            }
            Trouble::Error => engine.look().manners.arm(Fault::Refuse, false, 1),
            Trouble::ErrorAfterDoing => engine.look().manners.arm(Fault::LoseReply, true, 1),
            Trouble::TimeOut => engine.look().manners.arm(Fault::Late, true, 1),
            Trouble::Slow => engine.look().manners.arm(Fault::Slow, false, 3),
            Trouble::EngineRestart => engine.restart(Duration::from_secs(20)),
            Trouble::StepFails => return Err(StepError::permanent("injected", format!("injected at {place}"))),
            Trouble::StepStumbles => {
                return Err(StepError::new(ErrorClass::Retry, "injected", format!("injected at {place}")));
            }
        }
        Ok(())
    }
}

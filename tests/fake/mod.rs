//! A container engine in memory that speaks the daemon's own trait, with Docker's bad manners.
//!
//! Why: a real engine takes seconds per project and fails when it likes. This one takes no time of its own (it lives
//! on tokio's clock, which the tests pause), and fails when it is told to, from a seed. What it does is held against
//! the real engine, two versions of it, by `tests/docker/contract.rs`.
//!
//! A call is never lost when its caller gives up: like a request that Docker has read, it goes on inside
//! ([`world::World::pending`]) and its effect arrives late.

mod backend;
mod containers;
mod manners;
mod wire;
mod world;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use supamanager::backend::{BackendError, Labels, Result};
use tokio::sync::Notify;

pub use containers::{Container, Containers, State};
pub use manners::{Call, Fault, Manners, Rates};
pub use world::{MIGRATIONS, Network, Volume, World};

/// Milliseconds since some beginning, on the clock of the test.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What Docker's client waits for one answer at most.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);
/// Silence after which a subscription to events ends by itself.
const QUIET: Duration = Duration::from_secs(60);

/// The handle. Cheap to clone; the world outlives every daemon that works on it.
#[derive(Clone)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
    news: Arc<Notify>,
    now: Now,
}

impl FakeEngine {
    /// An empty engine whose chances come from `seed`.
    pub fn new(seed: u64, now: Now) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), news: Arc::default(), now }
    }

    /// An engine that has all this already.
    pub fn with_world(world: World, now: Now) -> Self {
        Self { world: Arc::new(Mutex::new(world)), news: Arc::default(), now }
    }

    /// The world as it is now: everything that is due has happened.
    pub fn look(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.settle((self.now)());
        world
    }

    /// The engine goes away for so long. Running containers end with it; those that nobody stopped run again when it
    /// is back, with other addresses.
    pub fn restart(&self, away: Duration) {
        let until = (self.now)() + i64::try_from(away.as_millis()).unwrap();
        self.look().go_away(until);
        self.news.notify_waiters();
    }

    /// A container's process ends.
    pub fn kill(&self, id: &str, code: i64) {
        let now = (self.now)();
        self.look().end_process(id, code, now);
        self.news.notify_waiters();
    }

    /// Somebody starts or stops a container by hand.
    pub fn by_hand(&self, id: &str, start: bool) {
        let now = (self.now)();
        let mut world = self.look();
        let _ = if start { world.start(id, now) } else { world.stop(id) };
    }

    /// Something changed behind everybody's back.
    pub fn tell(&self) {
        self.news.notify_waiters();
    }

    /// One call: its fate is chosen when it arrives, its effect happens when it is due, whoever still waits.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut World, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer: Arc<Mutex<Option<Result<T>>>> = Arc::default();
        let (wait, fault) = {
            let mut world = self.look();
            let (wait, fault) = world.receive(call, (self.now)());
            if !matches!(fault, Some(Fault::Refuse | Fault::Unreachable)) {
                let late = if fault == Some(Fault::Late) { CLIENT_LIMIT + wait } else { wait };
                let due = (self.now)() + i64::try_from(late.as_millis()).unwrap();
                let slot = answer.clone();
                world.enqueue(due, Box::new(move |world, at| *slot.lock().unwrap() = Some(effect(world, at))));
            }
            (wait, fault)
        };
        let what = call.name().to_owned();
        match fault {
            Some(Fault::Refuse) => {
                tokio::time::sleep(wait).await;
                return Err(BackendError::Busy { what, reason: "some daemon trouble".to_owned() });
            }
            Some(Fault::Unreachable) => {
                tokio::time::sleep(wait).await;
                return Err(BackendError::Unreachable("connection refused".to_owned()));
            }
            Some(Fault::Late) => {
                tokio::time::sleep(CLIENT_LIMIT).await;
                let deadline_ms = u64::try_from(CLIENT_LIMIT.as_millis()).unwrap();
                return Err(BackendError::TimedOut { what, deadline_ms });
            }
            Some(Fault::LoseReply) => {
                tokio::time::sleep(wait).await;
                drop(self.look());
                self.news.notify_waiters();
                return Err(BackendError::Unreachable("connection closed before message completed".to_owned()));
            }
            // Even no time at all would be the timer's next tick.
            Some(Fault::Slow) | None if wait.is_zero() => {}
            Some(Fault::Slow) | None => tokio::time::sleep(wait).await,
        }
        drop(self.look());
        let answered = answer.lock().unwrap().take();
        if call.writes() {
            self.news.notify_waiters();
        }
        // An engine that went away in the middle has forgotten the call.
        answered.unwrap_or_else(|| Err(BackendError::Unreachable("connection reset".to_owned())))
    }
    /// A call that a helper container does: the next helper of the same project removes it, and what it had still to do
    /// is not done.
    async fn helper(
        &self,
        call: Call,
        labels: &Labels,
        work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let project = labels.project.clone();
        let number = self.look().replace_helper(&project);
        self.call(call, move |world, _| {
            let busy = |reason: String| BackendError::Busy { what: call.name().to_owned(), reason };
            if !world.has_helper(&project, number) {
                return Err(busy("the helper was removed".to_owned()));
            }
            work().map_err(|error| busy(error.to_string()))
        })
        .await
    }
}

//! One daemon acts on a store (I13). Taking the lease raises the store's epoch; each write transaction of the daemon
//! asks whether the epoch is still its own, so that one which was replaced without noticing can write nothing more.
//!
//! Who may take it: on PostgreSQL whoever holds an advisory lock, which the server frees when the connection that
//! took it ends, however it ends. On SQLite the lock of the data folder decides before the store is opened (`app`);
//! the epoch then catches the one who acts on a folder whose lock file was removed.
//!
//! What this cannot do: Docker takes calls from a replaced daemon as from any other. Such a daemon stops at its next
//! record, because an effect is begun only after its intent was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{AnyConnection, ConnectOptions, Connection, Executor, Row};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::database::{self, Kind};
use super::{Result, Store, StoreError};
use crate::domain::UnixMillis;

/// The advisory lock's number: any that nobody else would choose. Locks are per database.
const LOCK: i64 = i64::from_be_bytes(*b"supamngr");
/// How often the connection that holds the lock is asked whether it lives, and how often a standby asks for the lock.
const LOOK: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(5);
/// The server gives up a host that vanished after 11 s of silence: later than that host, which asks each [`LOOK`] and
/// waits an [`ANSWER`], has stopped. So also when nothing but the network broke, one stops before the other begins.
const GREETING: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
                        SET tcp_user_timeout = 11000; SET statement_timeout = 30000";

/// What a daemon does when another one acts on the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// Fails with [`StoreError::Held`].
    Fail,
    /// Waits until the other is gone.
    Wait,
}

/// The right to act on a store. Dropping it gives the lock back.
pub struct Lease {
    fence: Arc<Fence>,
    connection: Option<AnyConnection>,
}

/// What every clone of the store knows of the lease.
pub(super) struct Fence {
    epoch: i64,
    lost: AtomicBool,
    tell: Notify,
}

impl Fence {
    /// Refuses a write when `epoch`, read in its transaction, is not our own.
    pub(super) fn check(&self, epoch: Option<i64>) -> Result<()> {
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            self.fall();
        }
        if self.is_ours() { Ok(()) } else { Err(StoreError::LeaseLost) }
    }

    /// Whether nobody else writes, as far as is known.
    pub(super) fn is_ours(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }

    fn fall(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.tell.notify_one();
    }
}

impl Store {
    /// Opens the store as the one daemon that acts on it: first the lease, then the schema, so that a newer daemon in
    /// waiting changes nothing under an older one at work. The epoch rises by one.
    ///
    /// # Errors
    /// Those of [`Store::open`], and [`StoreError::Held`] when another daemon acts and `occupied` is [`Occupied::Fail`].
    pub async fn open_leased(database_url: &str, occupied: Occupied, now: UnixMillis) -> Result<(Self, Lease)> {
        let connection = match Kind::of(database_url)? {
            Kind::Sqlite => None,
            Kind::Postgres => Some(take(database_url, occupied).await?),
        };
        let mut store = Self::open(database_url).await?;
        let (mut tx, _) = store.database.begin(false).await?;
        let row = sqlx::query("UPDATE lease SET epoch = epoch + 1, taken_at = $1 WHERE id = 1 RETURNING epoch").bind(now);
        let epoch = row.fetch_one(&mut *tx).await?.get(0);
        tx.commit().await?;
        let fence = Arc::new(Fence { epoch, lost: AtomicBool::new(false), tell: Notify::new() });
        store.fence = Some(fence.clone());
        Ok((store, Lease { fence, connection }))
    }
}

impl Lease {
    /// Rises with every daemon that took the lease.
    pub fn epoch(&self) -> i64 {
        self.fence.epoch
    }

    /// Returns when this daemon may not act any more, with the reason. From then on its store takes no write.
    pub async fn lost(&mut self) -> String {
        let reason = tokio::select! {
            () = self.fence.tell.notified() => "another daemon has taken the store over".to_owned(),
            error = broken(self.connection.as_mut()) => {
                format!("the connection that holds the store's lease broke ({error}): another daemon may act now")
            }
        };
        self.fence.fall();
        reason
    }
}

/// Holds the connection open; returns what broke it.
async fn broken(connection: Option<&mut AnyConnection>) -> String {
    let Some(connection) = connection else { return std::future::pending().await };
    loop {
        match in_time(connection.ping()).await {
            Ok(()) => sleep(LOOK).await,
            Err(error) => return error.to_string(),
        }
    }
}

/// A connection that holds the lock. A standby that was connected once outlives a restart of the server.
async fn take(database_url: &str, occupied: Occupied) -> Result<AnyConnection> {
    let mut connection = connect(database_url).await?;
    let mut told = false;
    loop {
        match ask(&mut connection).await {
            Ok(true) => return Ok(connection),
            Ok(false) if occupied == Occupied::Fail => return Err(StoreError::Held),
            Ok(false) if !told => {
                tracing::info!("another daemon acts on the store: this one stands by");
                told = true;
            }
            Ok(false) => {}
            Err(error) if occupied == Occupied::Fail => return Err(error),
            Err(error) => {
                tracing::info!(%error, "the standby lost its connection to the store and connects again");
                if let Ok(fresh) = connect(database_url).await {
                    connection = fresh;
                }
            }
        }
        sleep(LOOK).await;
    }
}

async fn connect(database_url: &str) -> Result<AnyConnection> {
    let options = database::options(database_url)?;
    let mut connection = in_time(options.connect()).await?;
    in_time(connection.execute(sqlx::raw_sql(GREETING))).await?;
    Ok(connection)
}

async fn ask(connection: &mut AnyConnection) -> Result<bool> {
    let asked = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(connection);
    Ok(in_time(asked).await?.get(0))
}

async fn in_time<T>(answer: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
    let late = |_| StoreError::Database(format!("no answer for {} s", ANSWER.as_secs()));
    Ok(timeout(ANSWER, answer).await.map_err(late)??)
}

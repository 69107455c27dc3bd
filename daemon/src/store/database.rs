//! The two databases behind one type. What differs between SQLite and PostgreSQL is in this file, in `lease.rs` (how
//! one daemon is kept alone) and in the names of constraints (`error.rs`); every statement elsewhere is sent to both.
//!
//! sqlx's `Any` driver rather than an enum of pools: with an enum each of some sixty statements would be written, or
//! at least expanded, twice. What `Any` does not carry (SQLite's options) is set by statements on each new connection.
//!
//! SQLite: WAL, `synchronous=FULL` (a commit that was acknowledged survives a power cut), foreign keys. Write
//! transactions begin IMMEDIATE: a deferred one that upgrades later answers busy at once and ignores the time-out.
//! PostgreSQL: a write transaction begins by locking the one row of `lease`, so that it has what IMMEDIATE gives on
//! SQLite: from its first statement to its commit nobody else writes, and each statement sees all that was committed.
//! No statement needs a lock of its own.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyPool, ConnectOptions, Executor, Row, Transaction};

use super::{Result, StoreError};

/// How long a writer waits for another before it is an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long PostgreSQL works on one statement of ours.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that only read.
const READERS: u32 = 4;

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// By the URL's scheme.
    pub(super) fn of(database_url: &str) -> Result<Self> {
        match database_url.split(':').next().unwrap_or_default() {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            other => Err(StoreError::Unsupported(other.to_owned())),
        }
    }

    /// What each new connection is told first.
    fn greeting(self, writes: bool) -> String {
        let (busy, statement) = (BUSY_TIMEOUT.as_millis(), STATEMENT_TIMEOUT.as_millis());
        match (self, writes) {
            (Self::Sqlite, true) => format!(
                "PRAGMA busy_timeout = {busy}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
            ),
            (Self::Sqlite, false) => format!("PRAGMA busy_timeout = {busy}"),
            // The third: a daemon that was cut off in a transaction must not keep the next one from writing.
            (Self::Postgres, writes) => format!(
                "SET statement_timeout = {statement}; SET lock_timeout = {busy}; SET idle_in_transaction_session_timeout = {busy}; \
                 SET default_transaction_read_only = {}",
                if writes { "off" } else { "on" }
            ),
        }
    }

    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }
}

/// One connection that writes, some that read.
#[derive(Clone)]
pub(super) struct Database {
    kind: Kind,
    writer: AnyPool,
    pub(super) readers: AnyPool,
}

impl Database {
    /// Connects; SQLite's file is made (0600, in a folder that must exist).
    pub(super) async fn open(database_url: &str) -> Result<Self> {
        let kind = Kind::of(database_url)?;
        let (writing, reading) = match kind {
            Kind::Postgres => (options(database_url)?, options(database_url)?),
            Kind::Sqlite => {
                let parsed = SqliteConnectOptions::from_str(database_url)?;
                let file = std::path::absolute(parsed.get_filename()).map_err(|error| StoreError::Database(error.to_string()))?;
                make_private(&file)?;
                let parsed = parsed.filename(file);
                let url = |options: SqliteConnectOptions| self::options(options.to_url_lossy().as_str());
                (url(parsed.clone().create_if_missing(true))?, url(parsed.create_if_missing(false).read_only(true))?)
            }
        };
        let writer = pool(kind, 1, true).connect_with(writing).await?;
        if kind == Kind::Postgres {
            let encoding: String = sqlx::query("SHOW server_encoding").fetch_one(&writer).await?.get(0);
            if encoding != "UTF8" {
                return Err(StoreError::Encoding(encoding));
            }
        }
        let readers = pool(kind, READERS, false).connect_with(reading).await?;
        Ok(Self { kind, writer, readers })
    }

    /// A SQLite file that is there, to read only: nothing is made or written.
    pub(super) async fn read_only(file: &Path) -> Result<Self> {
        let file = std::path::absolute(file).map_err(|error| StoreError::Database(error.to_string()))?;
        let url = SqliteConnectOptions::new().filename(file).create_if_missing(false).read_only(true);
        Self::reading(Kind::Sqlite, url.to_url_lossy().as_str()).await
    }

    /// Connects to read only.
    pub(super) async fn reading(kind: Kind, database_url: &str) -> Result<Self> {
        let readers = pool(kind, READERS, false).connect_with(options(database_url)?).await?;
        Ok(Self { kind, writer: readers.clone(), readers })
    }

    /// The schema, up to date.
    pub(super) async fn migrate(&self) -> Result<()> {
        super::migrations::run(self.kind, &self.writer).await
    }

    /// A write transaction: nobody else writes until it ends. With it comes the epoch of the daemon that acts.
    pub(super) async fn begin(&self, fenced: bool) -> Result<(Transaction<'static, Any>, Option<i64>)> {
        let mut tx = self.writer.begin_with(self.kind.begin()).await?;
        let lease = match self.kind {
            Kind::Sqlite if !fenced => return Ok((tx, None)),
            Kind::Sqlite => "SELECT epoch FROM lease WHERE id = 1",
            Kind::Postgres => "SELECT epoch FROM lease WHERE id = 1 FOR UPDATE",
        };
        let row = sqlx::query(lease).fetch_one(&mut *tx).await?;
        Ok((tx, Some(row.get(0))))
    }

    /// Connections that are in use or being opened now.
    pub(super) fn in_use(&self) -> usize {
        let busy = |pool: &AnyPool| (pool.size() as usize).saturating_sub(pool.num_idle());
        busy(&self.writer) + busy(&self.readers)
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A statement that waits for a slow disk is no fault that anybody could mend; sqlx would warn after 1 s.
pub(super) fn options(database_url: &str) -> Result<AnyConnectOptions> {
    sqlx::any::install_default_drivers();
    Ok(AnyConnectOptions::from_str(database_url)?.disable_statement_logging())
}

/// Writers queue for one connection: a wait is an error at its end (30 s, sqlx's own limit) and no warning before.
fn pool(kind: Kind, connections: u32, writes: bool) -> AnyPoolOptions {
    // A database next door needs no connection renewed: sqlx would close and open them every ten minutes.
    let options = AnyPoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None);
    let end = options.get_acquire_timeout();
    options.acquire_slow_threshold(end).after_connect(move |connection, _| {
        let greeting = sqlx::AssertSqlSafe(kind.greeting(writes));
        Box::pin(async move { connection.execute(sqlx::raw_sql(greeting)).await.map(drop) })
    })
}

/// Every database of ours holds sealed secrets: only the owner may read it, from the first byte on.
pub(super) fn make_private(file: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    opened.map(drop).map_err(|error| StoreError::Database(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_the_database() {
        assert_eq!(Kind::of("sqlite:///a/b.db").ok(), Some(Kind::Sqlite));
        assert_eq!(Kind::of("postgres://u@h/d").ok(), Some(Kind::Postgres));
        assert_eq!(Kind::of("postgresql://u@h/d").ok(), Some(Kind::Postgres));
        let other = Kind::of("mysql://u:secret@h/d").map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(other, Err("database_url begins with `mysql:`: use sqlite: or postgres:".to_owned()));
    }
}

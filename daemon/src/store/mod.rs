//! Everything that must survive: sqlx lives here and nowhere else. The store speaks in transactions of
//! the domain ("accept a project", "record a step"), never in rows.
//!
//! SQLite is opened with WAL, `synchronous=FULL` (a commit that was acknowledged survives a power cut) and
//! foreign keys; one connection writes, others read. Write transactions begin IMMEDIATE: a deferred one that
//! upgrades later answers busy at once and ignores the time-out. SQL is portable (`$N`, integers for time and
//! booleans), so that PostgreSQL is a second migration folder and not a second store.

mod accept;
mod error;
mod events;
mod health;
mod migrations;
mod operations;
mod people;
mod projects;
mod reservations;
mod sealed;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, Sqlite, Transaction};

use crate::domain::{InstallationId, UnixMillis};

pub use accept::{Accepted, NewProject, Taken};
pub use error::{Clash, StoreError};
pub use events::{Event, EventKind};
pub use health::{Observation, UsageSample};
pub use operations::{Again, ImagePin, NewOperation};
pub use people::{AuditEntry, Token};
pub use projects::{ListFilter, Page};

type Result<T> = std::result::Result<T, StoreError>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// How long a writer waits for the lock before it is an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that only read.
const READERS: u32 = 4;

impl Store {
    /// Opens `sqlite://PATH`, makes the file (0600, in a folder that must exist) and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] for another scheme, [`StoreError::Database`] when it cannot be opened.
    pub async fn open(database_url: &str) -> Result<Self> {
        if !database_url.starts_with("sqlite:") {
            let scheme = database_url.split(':').next().unwrap_or_default().to_owned();
            return Err(StoreError::Unsupported(scheme));
        }
        let options = SqliteConnectOptions::from_str(database_url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            // A statement that waits for a slow disk is no fault that anybody could mend; sqlx would warn after 1 s.
            .disable_statement_logging();
        make_private(options.get_filename())?;
        let writer = pool_options(1).connect_with(options.clone()).await?;
        migrations::run(&writer).await?;
        let readers = pool_options(READERS).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers })
    }

    /// The installation's id and the id of the key its secrets are sealed under, made on first use.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn installation(&self) -> Result<Option<(InstallationId, String)>> {
        let row = sqlx::query("SELECT id, key_id FROM installation").fetch_optional(&self.readers).await?;
        row.map(|row| Ok((parse(InstallationId::parse(row.get(0)))?, row.get(1)))).transpose()
    }

    /// Writes what every installation begins with: its id, organisation `default`, one engine and the given
    /// regions on it (decision 19). Regions that are there already stay.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn found(&self, id: &InstallationId, key_id: &str, regions: &[String], now: UnixMillis) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO installation (id, key_id, created_at) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM installation)",
        )
        .bind(id.as_str())
        .bind(key_id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO organizations (id, name, created_at) VALUES ('default', 'Default', $1) ON CONFLICT DO NOTHING")
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO engines (id, created_at) VALUES ('local', $1) ON CONFLICT DO NOTHING")
            .bind(now)
            .execute(&mut *tx)
            .await?;
        for region in regions {
            sqlx::query("INSERT INTO regions (name, engine_id) VALUES ($1, 'local') ON CONFLICT DO NOTHING")
                .bind(region)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The names of all regions and of all organisations.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn places(&self) -> Result<(Vec<String>, Vec<String>)> {
        let regions = sqlx::query("SELECT name FROM regions ORDER BY name").fetch_all(&self.readers).await?;
        let organizations = sqlx::query("SELECT id FROM organizations ORDER BY id").fetch_all(&self.readers).await?;
        let first = |rows: Vec<sqlx::sqlite::SqliteRow>| rows.iter().map(|row| row.get(0)).collect();
        Ok((first(regions), first(organizations)))
    }

    /// Waits for readers and the writer to finish and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Writers queue for one connection: a wait is an error at its end (30 s, sqlx's own limit) and no warning before.
fn pool_options(connections: u32) -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(connections);
    let end = options.get_acquire_timeout();
    options.acquire_slow_threshold(end)
}

/// Every database of ours holds sealed secrets: only the owner may read it, from the first byte on.
fn make_private(file: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if file.as_os_str() == ":memory:" {
        return Ok(());
    }
    let opened = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    opened.map(drop).map_err(|error| StoreError::Database(format!("{}: {error}", file.display())))
}

fn parse<T, E: std::fmt::Display>(parsed: std::result::Result<T, E>) -> Result<T> {
    parsed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn word<T>(column: &'static str, word: &str, parsed: Option<T>) -> Result<T> {
    parsed.ok_or_else(|| StoreError::Corrupt(format!("{column} holds the unknown word `{word}`")))
}

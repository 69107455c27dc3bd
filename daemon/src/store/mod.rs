//! Everything that must survive: sqlx lives here and nowhere else. The store speaks in transactions of
//! the domain ("accept a project", "record a step"), never in rows.
//!
//! It works on SQLite and on PostgreSQL, whichever `database_url` names; `database.rs` has what differs.
//!
//! How to write a store function:
//! - Reading: `sqlx::query(SQL).bind(..).fetch_..(&self.readers)`; a row is an [`AnyRow`](sqlx::any::AnyRow).
//! - One statement that writes: `self.write(sqlx::query(SQL).bind(..)).await?`, which gives the number of rows.
//! - More than one: `let mut tx = self.begin().await?`, statements on `&mut *tx`, `tx.commit().await?`. What a
//!   transaction reads stays true until it commits: no other writes meanwhile, on both databases. One that touches
//!   neither projects nor their ports, subnets and budgets may begin by `begin_beside_projects` (`kept.rs`). A helper takes
//!   `tx: &mut Tx` and uses `&mut **tx`. There is no other way to write: both ask whether the lease is still ours.
//! - SQL that both databases take: `$N`, BIGINT (an `i64`, also for 0/1), TEXT, BLOB or BYTEA, `ON CONFLICT`,
//!   `RETURNING`. Bind the column's own type: PostgreSQL does not compare a number with a text. No functions of one
//!   database (`string_agg` is in both). `ORDER BY` a text of a-z, 0-9 only, where the order matters: collations differ.
//! - Text that came from outside (a message, a log line) goes through [`text`]: PostgreSQL refuses a NUL in it.
//! - A new constraint that callers must tell apart goes into `error.rs`, with both databases' names for it.
//! - A test of it goes into `tests/store/`, which runs on both.

mod accept;
mod audit;
mod budgets;
mod copy;
mod database;
mod error;
mod events;
mod health;
mod invitations;
mod kept;
mod lease;
mod lost;
mod migrations;
mod notices;
mod operations;
mod organizations;
mod people;
mod plugins;
mod projects;
mod reservations;
mod sealed;
mod sessions;
mod standing;
mod tokens;
mod update;
mod usage;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AnyPool, Row, Transaction};

use crate::domain::{InstallationId, UnixMillis};

pub use accept::{Accepted, NewProject, Taken};
pub use audit::{AuditFilter, Chain};
pub use budgets::{Budget, Committed};
pub use error::{Clash, StoreError};
pub use events::{Event, EventKind};
pub use health::{Observation, UsageSample};
pub use invitations::Invitation;
pub use lease::{Lease, Occupied};
pub use lost::{Adoption, Holder};
pub use notices::News;
pub use operations::{Again, ImagePin, NewOperation};
pub use people::{Member, NewUser};
pub use plugins::HookOutcome;
pub use projects::{ListFilter, Page};
pub use sealed::Sealed;
pub use sessions::{Refreshed, Session};
pub use standing::Standing;
pub use tokens::{ShownToken, Token};
pub use update::Additions;
pub use usage::Grain;

type Result<T> = std::result::Result<T, StoreError>;

/// A transaction that writes.
struct Tx {
    transaction: Transaction<'static, Any>,
    end: kept::End,
}

impl Tx {
    async fn commit(self) -> Result<()> {
        self.transaction.commit().await?;
        self.end.committed();
        Ok(())
    }
}

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    database: database::Database,
    readers: AnyPool,
    kept: Arc<kept::Kept>,
    /// `None` for whoever is not the daemon, a command for example.
    fence: Option<Arc<lease::Fence>>,
}

impl Store {
    /// Opens `sqlite://PATH` or `postgres://USER@HOST:PORT/DATABASE` and brings its schema up to date. SQLite's file is
    /// made (0600, in a folder that must exist), PostgreSQL's database must be there. The one daemon that acts on a
    /// store opens it with [`Store::open_leased`].
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] for another scheme, [`StoreError::Encoding`] for a PostgreSQL database that cannot
    /// hold every text, [`StoreError::Database`] when it cannot be opened.
    pub async fn open(database_url: &str) -> Result<Self> {
        let database = database::Database::open(database_url).await?;
        database.migrate().await?;
        Ok(Self::over(database))
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
        sqlx::query("INSERT INTO organizations (id, name, created_at, number) VALUES ('default', 'Default', $1, 1) ON CONFLICT DO NOTHING")
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
        let organizations =
            sqlx::query("SELECT id FROM organizations WHERE deleted_at IS NULL ORDER BY id").fetch_all(&self.readers).await?;
        let first = |rows: Vec<AnyRow>| rows.iter().map(|row| row.get(0)).collect();
        Ok((first(regions), first(organizations)))
    }

    /// Waits for readers and the writer to finish and closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Connections that are in use or being opened now: statements that have not answered yet.
    pub fn in_use(&self) -> usize {
        self.database.in_use()
    }

    /// A transaction that writes: what it reads stays true until it commits.
    async fn begin(&self) -> Result<Tx> {
        self.begin_with(true).await
    }

    /// One that leaves alone what a [`Project`](crate::domain::Project) is read from.
    async fn begin_beside_projects(&self) -> Result<Tx> {
        self.begin_with(false).await
    }

    async fn begin_with(&self, touches_projects: bool) -> Result<Tx> {
        let (transaction, epoch) = self.database.begin(self.fence.is_some()).await?;
        let end = self.kept.begun(touches_projects);
        if let Some(fence) = &self.fence {
            fence.check(epoch)?;
        }
        Ok(Tx { transaction, end })
    }

    /// One statement that writes; how many rows it touched.
    async fn write(&self, statement: Query<'_, Any, AnyArguments>) -> Result<u64> {
        let mut tx = self.begin().await?;
        let done = statement.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}

/// Text as both databases take it: a service may write a NUL into its last words.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn parse<T, E: std::fmt::Display>(parsed: std::result::Result<T, E>) -> Result<T> {
    parsed.map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn word<T>(column: &'static str, word: &str, parsed: Option<T>) -> Result<T> {
    parsed.ok_or_else(|| StoreError::Corrupt(format!("{column} holds the unknown word `{word}`")))
}

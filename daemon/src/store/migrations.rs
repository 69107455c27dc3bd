//! The schema, embedded from `migrations/` so that the binary needs no folder beside it. A new file is a line of
//! `embedded!`, for both databases at once.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr};

use super::database::Kind;
use super::{Result, StoreError};

/// Number, description, SQL for SQLite, SQL for PostgreSQL.
type Embedded = (i64, &'static str, &'static str, &'static str);

macro_rules! embedded {
    ($($number:literal $description:literal $file:literal),* $(,)?) => {
        &[$((
            $number,
            $description,
            include_str!(concat!("../../../migrations/sqlite/", $file)),
            include_str!(concat!("../../../migrations/postgres/", $file)),
        )),*]
    };
}

const ALL: &[Embedded] = embedded![
    1 "first project" "0001_first_project.sql",
    2 "lifecycle" "0002_lifecycle.sql",
    3 "update" "0003_update.sql",
    4 "usage" "0004_usage.sql",
    5 "resources" "0005_resources.sql",
    6 "master key" "0006_master_key.sql",
    10 "lease" "0010_lease.sql",
    11 "plugins" "0011_plugins.sql",
    12 "applied" "0012_applied.sql",
    13 "people" "0013_people.sql",
    14 "numbers" "0014_numbers.sql",
];

/// How often two processes may meet while each makes the schema of a new file.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Brings the schema up to date. A number that is missing below one that was applied is applied too.
pub(super) async fn run(kind: Kind, writer: &AnyPool) -> Result<()> {
    let migrations = ALL.iter().map(|(version, description, sqlite, postgres)| {
        let sql = match kind {
            Kind::Sqlite => *sqlite,
            Kind::Postgres => *postgres,
        };
        Migration::new(*version, Cow::Borrowed(*description), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let mut tries = match kind {
        // A command and the daemon may both be the first to open a file. sqlx locks PostgreSQL meanwhile and SQLite not
        // (its `lock` does nothing): whoever comes second fails, and sees at the next look that it is done.
        Kind::Sqlite => TRIES,
        Kind::Postgres => 1,
    };
    loop {
        tries -= 1;
        match migrator.run(writer).await {
            Ok(()) => return Ok(()),
            Err(error) if tries == 0 => return Err(StoreError::Database(format!("migration: {error}"))),
            Err(error) => {
                tracing::debug!(%error, "a migration failed, looking again whether somebody else did it");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The version that the newest migration makes.
pub(super) fn newest() -> i64 {
    ALL.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_folders_have_the_numbers_that_are_embedded() {
        let embedded: Vec<i64> = ALL.iter().map(|(number, ..)| *number).collect();
        for database in ["sqlite", "postgres"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(database);
            let entries = std::fs::read_dir(folder).expect("the folder").flatten();
            let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            let mut numbers: Vec<i64> = entries.map(name).map(|name| name[..4].parse().expect("four digits")).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, embedded, "{database}");
        }
    }
}

//! The schema, embedded from `migrations/` so that the binary needs no folder beside it.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

use super::{Result, StoreError};

const SQLITE: &[(i64, &str, &str)] = &[(1, "first project", include_str!("../../../migrations/sqlite/0001_first_project.sql"))];

/// Brings the schema up to date.
pub(super) async fn run(writer: &SqlitePool) -> Result<()> {
    let migrations = SQLITE.iter().map(|(version, description, sql)| {
        Migration::new(*version, Cow::Borrowed(*description), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    migrator.run(writer).await.map_err(|error| StoreError::Database(format!("migration: {error}")))
}

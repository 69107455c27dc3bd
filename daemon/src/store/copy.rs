//! A copy of the whole store while a daemon works on it, and a look at a store without changing it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteConnectOptions;

use super::database::{Database, Kind, make_private};
use super::{Result, Store, StoreError, migrations};
use crate::domain::InstallationId;

impl Store {
    /// The file of a `sqlite:` URL; `None` for any other database.
    pub fn file(database_url: &str) -> Option<PathBuf> {
        let options = database_url.starts_with("sqlite:").then(|| SqliteConnectOptions::from_str(database_url).ok())??;
        Some(options.get_filename().to_owned())
    }

    /// Opens a store file that is there, to read only: nothing is made, migrated or written, and a daemon may work on it.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when its schema is another version's, [`StoreError::Database`] when it is no store.
    pub async fn look(file: &Path) -> Result<Self> {
        Self::of_our_schema(Database::read_only(file).await?).await
    }

    /// The same for a store on PostgreSQL; `None` when nobody has made it in that database yet.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn look_on_postgres(database_url: &str) -> Result<Option<Self>> {
        let database = Database::reading(Kind::Postgres, database_url).await?;
        let made = sqlx::query("SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')");
        let made: i64 = made.fetch_one(&database.readers).await?.get(0);
        if made == 0 { Ok(None) } else { Ok(Some(Self::of_our_schema(database).await?)) }
    }

    async fn of_our_schema(database: Database) -> Result<Self> {
        let store = Self::over(database);
        let row = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&store.readers).await?;
        let (found, ours) = (row.get::<Option<i64>, _>(0).unwrap_or_default(), migrations::newest());
        if found != ours {
            return Err(StoreError::Schema { found, ours });
        }
        Ok(store)
    }

    pub(super) fn over(database: Database) -> Self {
        Self { readers: database.readers.clone(), database, kept: Default::default(), fence: None }
    }

    /// The schema version of a store file, after the database has checked every page of it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the check finds something, [`StoreError::Database`] when it is no store.
    pub async fn checked_version(file: &Path) -> Result<i64> {
        let store = Self::over(Database::read_only(file).await?);
        let verdict: String = sqlx::query("PRAGMA integrity_check").fetch_one(&store.readers).await?.get(0);
        let version = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&store.readers).await;
        store.close().await;
        match verdict.as_str() {
            "ok" => Ok(version?.get::<Option<i64>, _>(0).unwrap_or_default()),
            other => Err(StoreError::Corrupt(other.to_owned())),
        }
    }

    /// The installation of a store file and the id of its key, whatever its schema version.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it is no store.
    pub async fn identity(file: &Path) -> Result<Option<(InstallationId, String)>> {
        let store = Self::over(Database::read_only(file).await?);
        let identity = store.installation().await;
        store.close().await;
        identity
    }

    /// The newest schema version that this build knows.
    pub fn newest_version() -> i64 {
        migrations::newest()
    }

    /// Writes the store as it is at one moment into a new file (0600), while others read and write.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file is there already or cannot be written.
    pub async fn copy_to(&self, file: &Path) -> Result<()> {
        make_private(file)?;
        sqlx::query("VACUUM INTO $1").bind(file.display().to_string()).execute(&self.readers).await?;
        Ok(())
    }
}

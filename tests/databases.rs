//! A database of a test's own, gone with it: a file of SQLite, or one on the PostgreSQL server that
//! `SUPAMANAGER_TEST_DATABASE_URL` names (`tests/setup/postgres.sh` starts one).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::migrate::MigrateDatabase;

/// Names the server: a URL whose database may be left.
const SERVER: &str = "SUPAMANAGER_TEST_DATABASE_URL";

/// An empty database. Dropping it removes it, unless the test panicked: then it stays for a look.
pub struct TestDatabase {
    /// What a store is opened with.
    pub url: String,
    folder: Option<PathBuf>,
}

impl TestDatabase {
    /// On PostgreSQL when the variable is set, else on SQLite.
    pub fn chosen() -> Self {
        if Self::on_postgres() { Self::postgres() } else { Self::sqlite() }
    }

    /// Whether [`TestDatabase::chosen`] gives one on PostgreSQL.
    pub fn on_postgres() -> bool {
        std::env::var_os(SERVER).is_some()
    }

    pub fn sqlite() -> Self {
        sqlx::any::install_default_drivers();
        // In memory where there is such a place: a commit waits for the disk, and nobody cuts the power here.
        let base = Some(PathBuf::from("/dev/shm")).filter(|shared| shared.is_dir()).unwrap_or_else(std::env::temp_dir);
        let folder = base.join(name());
        std::fs::create_dir_all(&folder).expect("a folder");
        Self { url: format!("sqlite://{}", folder.join("store.db").display()), folder: Some(folder) }
    }

    pub fn postgres() -> Self {
        sqlx::any::install_default_drivers();
        let url = Self::server_with(&name());
        let made = url.clone();
        wait(async move { sqlx::Postgres::create_database(&made).await }).expect("a database");
        Self { url, folder: None }
    }

    /// The server's URL with another database.
    pub fn server_with(database: &str) -> String {
        let server = std::env::var(SERVER)
            .unwrap_or_else(|_| panic!("{SERVER} is not set: sh tests/setup/postgres.sh start, and what `url` prints"));
        let (address, parameters) = server.split_once('?').unwrap_or((&server, ""));
        let (address, _) = address.rsplit_once('/').expect("a URL that ends in a database");
        format!("{address}/{database}?{parameters}")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.url);
            return;
        }
        match &self.folder {
            Some(folder) => std::fs::remove_dir_all(folder).expect("the folder goes"),
            None => {
                let url = self.url.clone();
                wait(async move { sqlx::Postgres::force_drop_database(&url).await }).expect("the database goes");
            }
        }
    }
}

fn name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("supamanager-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// On a thread and a runtime of its own: the caller may be in one, whose clock may stand still.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    std::thread::spawn(move || runtime.block_on(work)).join().expect("no panic")
}

//! A data folder with its store, opened as the daemon opens it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use supamanager::app::{self, Lock, Opened};
use supamanager::clock::Clock;
use supamanager::config::Config;
use supamanager::domain::{OperationKind, Secret};
use supamanager::store::{EventKind, Store};
use supamanager_tests::databases::TestDatabase;

use crate::world::{operation, project, project_ref};

/// Two folders and one database.
struct Place {
    folder: PathBuf,
    database: TestDatabase,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("supamanager-test-{name}-{}", std::process::id()));
        Self { folder, database: TestDatabase::chosen() }
    }

    async fn open(&self, folder: &str, lock: Lock) -> anyhow::Result<Opened> {
        let config = Config {
            data_dir: self.folder.join(folder),
            database_url: self.database.url.clone(),
            regions: vec!["here".to_owned()],
            ..Config::default()
        };
        let secret = Secret::new("a secret of thirty-two characters".to_owned());
        app::open(&config, Some(secret), &Clock::system(), lock).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn said(refused: anyhow::Result<Opened>) -> String {
    format!("{:#}", refused.map(|_| ()).expect_err("refused"))
}

#[tokio::test]
async fn a_standby_waits_for_the_folder_and_the_store_and_a_command_does_not() {
    let place = std::sync::Arc::new(Place::new("standby"));
    let first = place.open("data", Lock::Take).await.expect("the first");
    assert!(said(place.open("data", Lock::Take).await).contains("another daemon works on"));
    let waiting = tokio::spawn({
        let place = place.clone();
        async move { place.open("data", Lock::Wait).await.expect("in the end") }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "two daemons");
    let command = place.open("data", Lock::Leave).await.expect("a command beside them");
    assert!(command.lease.is_none());
    put_a_project(&command).await;
    first.store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect("the first goes on");
    let epoch = first.lease.as_ref().expect("a lease").epoch();
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("soon").expect("no panic");
    assert_eq!(second.lease.as_ref().expect("a lease").epoch(), epoch + 1);
    assert_eq!(second.store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect("it acts"), 2);
}

async fn put_a_project(opened: &Opened) {
    let asked = operation(0, 0, OperationKind::Create);
    opened.store.accept_create(&project(0), &asked, 1).await.expect("a project");
}

/// A store of its own server is reached from any folder: one without the projects' files must not act on it.
#[tokio::test]
async fn a_store_with_projects_is_refused_in_a_folder_without_their_files() {
    let place = Place::new("other-folder");
    let first = place.open("data", Lock::Take).await.expect("the first");
    put_a_project(&first).await;
    if TestDatabase::on_postgres() {
        let second = said(place.open("other", Lock::Take).await);
        assert!(second.contains("another daemon works on this store"), "{second}");
    }
    drop(first);
    let mut message = said(place.open("other", Lock::Take).await);
    // PostgreSQL frees the lease when it has seen the connection end.
    while message.contains("another daemon") {
        tokio::time::sleep(Duration::from_millis(20)).await;
        message = said(place.open("other", Lock::Take).await);
    }
    assert!(message.contains("has projects") && message.contains("data_dir"), "{message}");
    assert!(!Path::new(&place.folder).join("other/installation").exists(), "it took the folder for its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_who_opens_a_new_store_at_the_same_moment_gets_it() {
    for _ in 0..10 {
        let database = TestDatabase::chosen();
        let open = |url: String| tokio::spawn(async move { Store::open(&url).await.map(drop) });
        let opened: Vec<_> = (0..4).map(|_| open(database.url.clone())).collect();
        for one in opened {
            one.await.unwrap().unwrap();
        }
    }
}

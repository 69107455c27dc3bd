//! What only PostgreSQL has. These need `SUPAMANAGER_TEST_DATABASE_URL`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::{AnyPool, Row};
use supamanager::domain::OperationKind;
use supamanager::store::{EventKind, Lease, Occupied, Store, StoreError};
use supamanager_tests::databases::TestDatabase;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{found, operation, project, project_ref};

/// How soon a standby must act once the one before it is gone.
const SOON: Duration = Duration::from_secs(10);

fn standby(url: &str) -> JoinHandle<(Store, Lease)> {
    let url = url.to_owned();
    tokio::spawn(async move { Store::open_leased(&url, Occupied::Wait, 2).await.expect("the lease in the end") })
}

async fn acting(url: &str) -> (Store, Lease) {
    let (store, lease) = Store::open_leased(url, Occupied::Fail, 1).await.expect("the lease");
    found(&store).await;
    store.accept_create(&project(0), &operation(0, 0, OperationKind::Create), 2).await.expect("it acts");
    (store, lease)
}

#[tokio::test]
async fn a_second_daemon_is_refused_or_waits_until_the_first_is_gone() {
    let database = TestDatabase::postgres();
    let (store, lease) = acting(&database.url).await;
    let refused = Store::open_leased(&database.url, Occupied::Fail, 1).await.map(|_| ()).expect_err("one acts");
    assert!(matches!(refused, StoreError::Held) && refused.to_string().contains("--standby"), "{refused}");
    let waiting = standby(&database.url);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished(), "two daemons act");
    store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect("the first goes on");
    // As when it is killed: nothing is said, the connection ends.
    drop((store, lease));
    let (next, lease) = timeout(SOON, waiting).await.expect("it takes over").expect("no panic");
    assert_eq!(lease.epoch(), 2);
    next.append_event(&project_ref(0), EventKind::Step, "{}", 1).await.expect("it acts");
}

#[tokio::test]
async fn a_daemon_whose_lease_connection_breaks_is_told_and_fenced() {
    let database = TestDatabase::postgres();
    let (stale, mut lease) = acting(&database.url).await;
    let waiting = standby(&database.url);
    let raw = AnyPool::connect(&TestDatabase::server_with("postgres")).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The server restarts, as far as both can see: every connection ends, the standby's too.
    let name = database.url.rsplit_once('/').expect("a name").1.split('?').next().expect("a name").to_owned();
    let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    let cut: i64 = sqlx::query(cut).bind(&name).fetch_one(&raw).await.expect("cut").get(0);
    assert!(cut >= 3, "{cut} connections");
    let reason = timeout(SOON, lease.lost()).await.expect("it is told");
    assert!(reason.contains("lease broke"), "{reason}");
    let (next, _lease) = timeout(SOON, waiting).await.expect("the standby connects again").expect("no panic");
    let late = stale.append_event(&project_ref(0), EventKind::Step, "{}", 1).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let event = next.append_event(&project_ref(0), EventKind::Step, "{}", 1).await;
    assert_eq!(event.expect("the next one acts"), 1);
    raw.close().await;
}

/// A takeover must not overtake a commit that is on its way, and nothing waits for ever.
#[tokio::test]
async fn a_takeover_and_a_write_wait_for_an_open_transaction_and_not_for_ever() {
    let database = TestDatabase::postgres();
    let (store, lease) = acting(&database.url).await;
    let raw = AnyPool::connect(&database.url).await.expect("connected");
    let mut open = raw.begin().await.expect("begun");
    sqlx::query("SELECT epoch FROM lease FOR UPDATE").fetch_one(&mut *open).await.expect("as a write begins");
    drop(lease);
    let next = standby(&database.url);
    let begun = Instant::now();
    let late = store.append_event(&project_ref(0), EventKind::Step, "{}", 1).await;
    assert!(matches!(late, Err(StoreError::Database(_))), "{late:?}");
    assert!((Duration::from_secs(5)..Duration::from_secs(25)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(!next.is_finished());
    next.abort();
    open.rollback().await.expect("ended");
    raw.close().await;
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let database = TestDatabase::postgres();
    let raw = AnyPool::connect(&TestDatabase::server_with("postgres")).await.expect("connected");
    let (url, name) = {
        let name = format!("supamanager-test-latin-{}", std::process::id());
        (TestDatabase::server_with(&name), name)
    };
    let sql = format!("CREATE DATABASE \"{name}\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&raw).await.expect("made");
    let refused = Store::open(&url).await.map(|_| ()).expect_err("refused");
    assert!(matches!(refused, StoreError::Encoding(_)) && refused.to_string().contains("UTF8"), "{refused}");
    let sql = format!("DROP DATABASE \"{name}\" WITH (FORCE)");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&raw).await.expect("dropped");
    raw.close().await;
    Store::open(&database.url).await.expect("the usual one is good");
}

/// There is no TLS in this build: who asks for it must not get plain text.
#[tokio::test]
async fn a_demand_for_tls_is_refused_and_the_socket_works() {
    let database = TestDatabase::postgres();
    let (address, _) = database.url.split_once('?').expect("parameters");
    let refused = Store::open(&format!("{address}?sslmode=require")).await.map(|_| ()).expect_err("refused");
    assert!(refused.to_string().contains("TLS"), "{refused}");
    let store = Store::open(&database.url).await.expect("a store");
    let raw = AnyPool::connect(&database.url).await.expect("connected");
    let row = sqlx::query("SHOW unix_socket_directories").fetch_one(&raw).await.expect("asked");
    let name = address.rsplit_once('/').expect("a name").1;
    let url = format!("postgres:///{name}?host={}&port=27432&user=supamanager", row.get::<String, _>(0));
    let port: String = sqlx::query("SHOW port").fetch_one(&raw).await.expect("asked").get(0);
    let beside = Store::open(&url.replace("27432", &port)).await.expect("through the socket");
    found(&store).await;
    assert!(beside.installation().await.expect("read").is_some());
    raw.close().await;
}

/// Not the files: what each database made of them.
#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_unique_indexes() {
    let columns = async |database: &TestDatabase, sql: &'static str| {
        let store = Store::open(&database.url).await.expect("a store");
        store.close().await;
        let raw = AnyPool::connect(&database.url).await.expect("connected");
        let rows = sqlx::query(sql).fetch_all(&raw).await.expect("read");
        raw.close().await;
        let row = |row: &sqlx::any::AnyRow| {
            let kind = match row.get::<String, _>(2).to_lowercase().as_str() {
                "bytea" => "blob".to_owned(),
                kind => kind.to_owned(),
            };
            ((row.get::<String, _>(0), row.get::<String, _>(1)), (kind, row.get::<i64, _>(3)))
        };
        rows.iter().map(row).collect::<BTreeMap<_, _>>()
    };
    let sqlite = "SELECT m.name, c.name, c.type, CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN 1 ELSE 0 END \
                  FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE '%sqlx%'";
    let postgres = "SELECT table_name::text, column_name::text, data_type::text, \
                    CASE WHEN is_nullable = 'NO' THEN 1::bigint ELSE 0::bigint END \
                    FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '%sqlx%'";
    let in_sqlite = columns(&TestDatabase::sqlite(), sqlite).await;
    let in_postgres = columns(&TestDatabase::postgres(), postgres).await;
    assert!(in_sqlite.len() > 60, "{in_sqlite:?}");
    assert_eq!(in_sqlite, in_postgres);
}

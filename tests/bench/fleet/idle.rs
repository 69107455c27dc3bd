//! One fleet: started, watched at rest, asked by clients.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, Row};

use crate::client::{Api, Latencies, Question, client};
use crate::process::Process;
use crate::{Wanted, seed, world};

/// What follows a start is not rest: a look at everything, and the first samples.
const SETTLE: Duration = Duration::from_secs(30);
/// How long clients ask for the same.
const ASKING: Duration = Duration::from_secs(10);

/// What one fleet cost.
pub struct Fleet {
    pub projects: usize,
    /// From the begin of `serve` to 200 on /readyz.
    pub ready: Duration,
    /// Of one core, at rest.
    pub cpu_percent: f64,
    pub rss_mib: f64,
    pub rss_max_mib: f64,
    /// Calls of the engine per minute at rest, by kind.
    pub calls: BTreeMap<String, f64>,
    /// Rows written per minute: in the first half minute, and at rest.
    pub rows_first: BTreeMap<&'static str, f64>,
    pub rows: BTreeMap<&'static str, f64>,
    /// At the pace of people, then as fast as they can.
    pub paced: [Latencies; 3],
    pub fast: [Latencies; 3],
}

pub async fn measure(wanted: &Wanted, projects: usize) -> anyhow::Result<Fleet> {
    let folder = wanted.folder.join(projects.to_string());
    let path = folder.to_str().context("a folder of plain text")?.to_owned();
    if !wanted.keep || !folder.join("world.json").is_file() {
        let _ = std::fs::remove_dir_all(&folder);
        let begun = Instant::now();
        Process::begin(&["seed", &path, &projects.to_string()])?.ended().context("seed")?;
        eprintln!("{projects} projects made in {:.0} s", begun.elapsed().as_secs_f64());
    }
    let fleet = watch(wanted, projects, &folder, &path).await?;
    if !wanted.keep {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(fleet)
}

async fn watch(wanted: &Wanted, projects: usize, folder: &Path, path: &str) -> anyhow::Result<Fleet> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut api = Api::new(port, std::fs::read_to_string(folder.join("token"))?);
    let waiting = client()?;
    let mut daemon = Process::begin(&["daemon", path, &port.to_string()])?;
    ensure!(daemon.line()? == "begins");
    let begun = Instant::now();
    while !api.is_ready(&waiting).await {
        ensure!(begun.elapsed() < Duration::from_secs(120), "not ready after two minutes");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let ready = begun.elapsed();
    let born = written(folder).await?;
    tokio::time::sleep(SETTLE).await;
    let (cpu, calls, rows) = (daemon.cpu()?, calls(&mut daemon)?, written(folder).await?);
    let resting = Instant::now();
    tokio::time::sleep(wanted.rest).await;
    let lasted = resting.elapsed();
    let cpu = daemon.cpu()? - cpu;
    let calls_then = self::calls(&mut daemon)?;
    let rows_then = written(folder).await?;
    let rss_mib = daemon.memory_mib("VmRSS")?;
    ensure!(api.learn().await? == projects, "the list does not have {projects} projects");
    let mut paced = <[Latencies; 3]>::default();
    let mut fast = paced.clone();
    for (place, (question, every)) in [(Question::One, 500), (Question::Page, 500), (Question::All, 5000)].into_iter().enumerate()
    {
        let every = Duration::from_millis(every);
        paced[place] = api.load(wanted.clients, question, Some(every), ASKING).await?;
        fast[place] = api.load(wanted.clients, question, None, ASKING / 2).await?;
    }
    Ok(Fleet {
        projects,
        ready,
        cpu_percent: 100.0 * cpu.as_secs_f64() / lasted.as_secs_f64(),
        rss_mib,
        rss_max_mib: daemon.memory_mib("VmHWM")?,
        calls: per_minute(&calls, &calls_then, lasted),
        rows_first: per_minute(&born, &rows, SETTLE),
        rows: per_minute(&rows, &rows_then, lasted),
        paced,
        fast,
    })
}

fn per_minute<K: Ord + Clone>(before: &BTreeMap<K, u64>, then: &BTreeMap<K, u64>, lasted: Duration) -> BTreeMap<K, f64> {
    let rise = |(key, then): (&K, &u64)| {
        let rise = then - before.get(key).copied().unwrap_or_default();
        (key.clone(), rise as f64 * 60.0 / lasted.as_secs_f64())
    };
    then.iter().map(rise).collect()
}

fn calls(daemon: &mut Process) -> anyhow::Result<BTreeMap<String, u64>> {
    Ok(serde_json::from_str(&daemon.ask("calls")?)?)
}

/// Rows written since the fleet was made, by table.
async fn written(folder: &Path) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut connection = sqlx::SqliteConnection::connect(&format!("{}?mode=ro", world::config(folder).store_url())).await?;
    let rows = sqlx::query("SELECT name, rows FROM bench_writes").fetch_all(&mut connection).await?;
    connection.close().await?;
    let count = |table: &'static str| {
        let row = rows.iter().find(|row| row.get::<String, _>(0) == table)?;
        Some((table, u64::try_from(row.get::<i64, _>(1)).ok()?))
    };
    Ok(seed::COUNTED.into_iter().filter_map(count).collect())
}

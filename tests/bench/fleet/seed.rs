//! Makes a fleet: real creates on the fake engine, many at once. Nothing is written past the daemon, so that store and
//! engine are what a daemon leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use sqlx::Connection;
use supamanager::app::{self, Lock};
use supamanager::clock::Clock;
use supamanager::domain::{ProjectName, ProjectStatus, Scope};
use supamanager::lifecycle::{CreateRequest, Failpoints, Foundations, Lifecycle, Parts};
use supamanager::people::{NewToken, create_token};
use supamanager::plugin_host::{HostConfig, PluginHost};
use supamanager::templates::Templates;
use tokio_util::sync::CancellationToken;

use crate::world;

/// Creates under way at once.
const AT_ONCE: usize = 64;

/// The tables whose rows are counted when they are written.
pub const COUNTED: [&str; 9] =
    ["observations", "projects", "events", "operations", "steps", "budgets", "purges", "usage_samples", "usage_series"];

pub async fn run(folder: &Path, projects: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut config = world::config(folder);
    config.limits.operations = AT_ONCE;
    let url = config.store_url();
    let clock = Clock::system();
    let engine = world::engine(&config)?;
    let opened = app::open(&config, None, &clock, Lock::Take).await?;
    let new = NewToken { name: "bench", user_id: None, organization_id: "default", scope: Scope::default(), life_s: None };
    let made = create_token(&opened.store, &clock, new).await?;
    std::fs::write(folder.join("token"), made.secret.expose())?;
    let by = made.token.id;
    let parts = Arc::new(Parts::new(Foundations {
        installation: opened.installation.clone(),
        store: opened.store.clone(),
        key: opened.key,
        backend: Arc::new(engine.clone()),
        wire: Arc::new(engine.clone()),
        plugins: Arc::new(PluginHost::load(HostConfig::new(&config.plugins_dir, &config.data_dir)).await?),
        templates: Templates::load(&config.templates_dir)?,
        clock,
        failpoints: Failpoints::new("", &config.data_dir),
        config,
    }));
    let stop = CancellationToken::new();
    let lifecycle = Lifecycle::new(parts.clone(), stop.clone());
    let running = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.run().await }
    });
    while !parts.sight.listed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for number in 0..projects {
        lifecycle.create(request(&parts, number, &by)?).await?;
    }
    while !parts.store.unfinished_operations().await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let made = parts.store.count_by_status().await?;
    let all = (ProjectStatus::ActiveHealthy.as_str().to_owned(), i64::try_from(projects)?);
    ensure!(made == [all], "the fleet is not what it should be: {made:?}");
    stop.cancel();
    lifecycle.stopped(Duration::from_secs(10)).await;
    running.await?;
    parts.store.close().await;
    count_writes(&url).await?;
    world::write(&engine, &folder.join("world.json"))
}

fn request(parts: &Parts, number: usize, by: &str) -> anyhow::Result<CreateRequest> {
    let Ok(name) = ProjectName::parse(&format!("fleet {number}")) else { bail!("a name") };
    Ok(CreateRequest {
        name,
        organization_id: "default".to_owned(),
        region: "us-east".to_owned(),
        template_set: None,
        image_set: None,
        services: BTreeMap::new(),
        plugins: Default::default(),
        db_pass: None,
        resources: parts.config.resources.of_a_project()?,
        caller: by.to_owned(),
        idempotency: None,
    })
}

/// From now on the store itself counts the rows that are written to it.
async fn count_writes(url: &str) -> anyhow::Result<()> {
    let mut connection = sqlx::SqliteConnection::connect(url).await?;
    let mut script = "CREATE TABLE bench_writes (name TEXT PRIMARY KEY, rows BIGINT NOT NULL);".to_owned();
    for table in COUNTED {
        script += &format!("INSERT INTO bench_writes VALUES ('{table}', 0);");
        for verb in ["INSERT", "UPDATE", "DELETE"] {
            script += &format!(
                "CREATE TRIGGER bench_{verb}_{table} AFTER {verb} ON {table} \
                 BEGIN UPDATE bench_writes SET rows = rows + 1 WHERE name = '{table}'; END;"
            );
        }
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

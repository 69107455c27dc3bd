//! `supamanager plugin`: an author's and an operator's view of plugins, by the same code that loads them in the daemon;
//! and, over REST, changing those that run.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use crate::plugin_host::build::Builder;
use crate::plugin_host::{HookInfo, HostConfig, Limits, PluginHost, PluginInfo};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Build plugin crates into folders that a daemon loads
    Build {
        /// Where the plugins go, one folder each
        #[arg(long, value_name = "DIR", default_value = "target/plugins")]
        out: PathBuf,
        /// What the compiler makes on the way, to share between builds; .build in the folder of --out by default
        #[arg(long, value_name = "DIR")]
        build_dir: Option<PathBuf>,
        /// The crates; the current folder when none is named
        #[arg(value_name = "CRATE_DIR", default_value = ".")]
        crates: Vec<PathBuf>,
    },
    /// List the plugins that a daemon would load
    List,
    /// Have the daemon take over what its folder has now
    Reload,
    /// Have the daemon go back to the version of a plugin before, or to another one that it keeps
    Rollback {
        /// The plugin
        name: String,
        /// `sha256:` and 64 hex digits; the version before when it is left out
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
    },
    /// Show what one plugin imports, may use and is
    Inspect {
        /// The folder of the plugin
        path: PathBuf,
    },
}

/// Runs a command; `plugins_dir` is the configured folder.
///
/// # Errors
/// What is wrong, with the way out.
pub async fn run(command: PluginCommand, plugins_dir: &Path) -> anyhow::Result<()> {
    match command {
        PluginCommand::Build { out, build_dir, crates } => {
            let builder = Builder::new(&std::env::vars_os().collect(), &out, build_dir.as_deref()).await?;
            build(&builder, &crates).await
        }
        PluginCommand::List => list(plugins_dir).await,
        PluginCommand::Inspect { path } => inspect(&path).await,
        PluginCommand::Reload => reload(&Client::from_environment()?).await,
        PluginCommand::Rollback { name, to } => rollback(&Client::from_environment()?, &name, to).await,
    }
}

async fn build(builder: &Builder, crates: &[PathBuf]) -> anyhow::Result<()> {
    println!("compiler: {}", builder.describe());
    for (index, folder) in crates.iter().enumerate() {
        println!("[{}/{}] {}", index + 1, crates.len(), folder.display());
        let built = builder.build(folder).await?;
        println!("    component: {} KiB, imports {}", built.size.div_ceil(1024), built.imports.join(", "));
        println!("    {}", built.digest);
        println!("    loads: {} -> {}", built.name, built.folder.display());
    }
    Ok(())
}

async fn list(folder: &Path) -> anyhow::Result<()> {
    let config = HostConfig::without_cache(folder);
    let plugins = PluginHost::load(config).await?.list();
    if plugins.is_empty() {
        println!("no plugins in {}: build the shipped ones with `make plugins`", folder.display());
    }
    for plugin in plugins {
        let hooks: Vec<&str> = plugin.hooks.iter().map(|hook| hook.hook.as_str()).collect();
        println!("{:<24} {:<10} {:<12} {}", plugin.name, plugin.version, hooks.join(","), plugin.digest);
    }
    Ok(())
}

async fn reload(client: &Client) -> anyhow::Result<()> {
    let answer = client.json(Method::POST, "/platform/plugins/reload", None).await?;
    let changes = answer["changes"].as_array().cloned().unwrap_or_default();
    for change in &changes {
        changed(change);
    }
    let refused = changes.iter().filter(|change| change["outcome"] == "refused").count();
    anyhow::ensure!(refused == 0, "{refused} of {} plugins were refused: what ran goes on", changes.len());
    Ok(())
}

async fn rollback(client: &Client, name: &str, to: Option<String>) -> anyhow::Result<()> {
    let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
    changed(&client.json(Method::POST, &format!("/platform/plugins/{name}/rollback"), Some(body)).await?);
    Ok(())
}

fn changed(change: &Value) {
    let text = |key: &str| change[key].as_str().unwrap_or("nothing").to_owned();
    println!("{:<24} {:<10} {}", text("plugin"), text("outcome"), text("to"));
    if change["from"] != change["to"] {
        println!("    before: {}", text("from"));
    }
    if let Some(error) = change["error"].as_str() {
        println!("    {error}");
    }
}

async fn inspect(path: &Path) -> anyhow::Result<()> {
    // The folder's own name counts, so `.` and a trailing slash are resolved first.
    let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
    show(&PluginHost::inspect(&path, Limits::default()).await?);
    Ok(())
}

fn show(plugin: &PluginInfo) {
    println!("name      {}\nversion   {}\nsummary   {}", plugin.name, plugin.version, plugin.summary);
    println!("digest    {}\ncontract  {}\nsize      {} KiB", plugin.digest, plugin.contract, plugin.size.div_ceil(1024));
    let imports: Vec<&str> = plugin.imports.iter().map(|interface| interface.as_str()).collect();
    println!("imports   {}", if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") });
    for HookInfo { hook, order, on_failure, limits, .. } in &plugin.hooks {
        println!("hook      {} (order {order}, a failure is {on_failure:?})", hook.as_str());
        println!("    wall clock   {} ms\n    CPU          {} ms", limits.wall.as_millis(), limits.cpu.as_millis());
        println!("    memory       {} MiB\n    result       {} KiB", limits.memory_bytes >> 20, limits.result_bytes >> 10);
        println!("    log          {} KiB\n    host calls   {}", limits.log_bytes >> 10, limits.host_calls);
    }
}

//! `supamanager plugin`: an author's and an operator's view of plugins, by the same code that loads them in the daemon;
//! and, over REST, changing those that run.

mod apply;
mod author;
mod leave;
mod package;
mod starter;
mod trials;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use crate::config::Config;
use crate::plugin_host::build::Builder;
use crate::plugin_host::{HookInfo, Limits, PluginHost, PluginInfo};

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
        /// Record them as shipped: those of the daemon's own repository, which need no signature and no grant
        #[arg(long)]
        shipped: bool,
        /// The crates; the current folder when none is named
        #[arg(value_name = "CRATE_DIR", default_value = ".")]
        crates: Vec<PathBuf>,
    },
    /// Build a crate and say, step by step, what a daemon would make of it
    Check {
        /// The crate
        #[arg(value_name = "CRATE_DIR", default_value = ".")]
        path: PathBuf,
    },
    /// Call a hook once, with what a fixture file says
    Run {
        /// The crate, or the folder of a plugin that was built
        #[arg(value_name = "DIR", default_value = ".")]
        path: PathBuf,
        /// A JSON file: `input`, and `host` for what the plugin asks of the project
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Which hook, where the plugin has several
        #[arg(long)]
        hook: Option<String>,
    },
    /// Hold every fixture of a plugin against what it expects
    Test {
        /// The crate, or the folder of a plugin that was built
        #[arg(value_name = "DIR", default_value = ".")]
        path: PathBuf,
        /// Where the fixtures are, if not in `fixtures` of the crate
        #[arg(long, value_name = "DIR")]
        fixtures: Option<PathBuf>,
        /// Write down what comes as what is expected
        #[arg(long)]
        record: bool,
    },
    /// Call a hook again and again: times, processor time and memory, each beside its limit
    Bench {
        /// The crate, or the folder of a plugin that was built
        #[arg(value_name = "DIR", default_value = ".")]
        path: PathBuf,
        /// The fixture to call with, if not the first one of the crate
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// How often
        #[arg(long, default_value_t = 1_000)]
        calls: usize,
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
    /// Have a newer version of a probe plugin asked beside the running one, and show where their verdicts differ
    Shadow {
        /// The folder of the newer version, as it was built
        path: PathBuf,
        /// For how long
        #[arg(long = "for", value_name = "TIME", default_value = "10m")]
        lasts: humantime::Duration,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Show how the trial of a newer version is going
    Trial {
        /// The plugin
        name: String,
        /// End it: the running version decides
        #[arg(long)]
        end: bool,
    },
    /// Let the version on trial decide: for some projects, for a share, or in waves for all, and then take it in
    Promote {
        /// The plugin
        name: String,
        /// For this project; may be given again
        #[arg(long = "project", value_name = "ID")]
        projects: Vec<String>,
        /// For so many of a hundred projects
        #[arg(long, value_name = "N", default_value_t = 0)]
        percent: u8,
        /// For 10, 50 and 100 % of the projects, one wave after the other; then it takes the running version's place
        #[arg(long, conflicts_with_all = ["projects", "percent"])]
        all: bool,
        /// How long a wave lasts
        #[arg(long, value_name = "TIME", default_value = "1m", requires = "all")]
        wave: humantime::Duration,
        /// It may find worse what the running version finds healthy
        #[arg(long)]
        may_worsen: bool,
    },
    /// Have a post-create plugin do its work on projects that were there before it
    Apply {
        /// The plugin
        name: String,
        /// On this project; may be given again
        #[arg(long = "project", value_name = "ID", required_unless_present = "all")]
        projects: Vec<String>,
        /// On all that are active, one after the other
        #[arg(long, conflicts_with = "projects")]
        all: bool,
    },
    /// Begin a plugin: a folder that builds, with a fixture that passes
    New {
        /// render, probe, post-create, after-resume, before-delete, admit or notify
        hook: String,
        /// The language
        #[arg(long, default_value = "rust", value_parser = starter::LANGUAGES)]
        lang: String,
        /// What it is called; HOOK-LANG by default
        #[arg(long)]
        name: Option<String>,
        /// Where the folder goes; by its name here by default
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// What `cargo test` of such a folder calls: the unit tests, then the fixtures in the real host
    #[command(hide = true)]
    CargoRunner {
        /// The tests that cargo built
        program: PathBuf,
        /// Their arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Pack a plugin that was built into one file
    Pack {
        /// The folder of the plugin
        path: PathBuf,
        /// The file; NAME-VERSION.plugin here by default
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Put such a file into the plugin folder; without its digest it is only said
    Install {
        /// A path, or an address
        #[arg(value_name = "FILE|URL")]
        source: String,
        /// The digest of the file that is meant
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
    },
    /// Make a pair of keys to sign plugins with
    Keygen {
        /// What the key is called where it is trusted
        name: String,
        /// Where the secret half goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign a plugin that was built
    Sign {
        /// The folder of the plugin
        path: PathBuf,
        /// The secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Say where a plugin comes from, and fail if a daemon of this configuration would not load it
    Verify {
        /// The folder of the plugin
        path: PathBuf,
    },
    /// Show what a plugin that is not shipped asks for, and grant it
    Grant {
        /// The plugin, as its folder is called
        name: String,
        /// The digest it was looked at with; without it nothing is granted
        #[arg(long, value_name = "DIGEST", requires = "asks")]
        digest: Option<String>,
        /// What stood beside that digest for all that it asks for
        #[arg(long, value_name = "HEX", requires = "digest")]
        asks: Option<String>,
    },
    /// Take a grant back
    Revoke {
        /// The plugin
        name: String,
    },
    /// Show what one plugin imports, may use and is
    Inspect {
        /// The folder of the plugin
        path: PathBuf,
    },
}

/// Runs a command.
///
/// # Errors
/// What is wrong, with the way out.
pub async fn run(command: PluginCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        PluginCommand::Build { out, build_dir, shipped, crates } => {
            let builder = Builder::new(&std::env::vars_os().collect(), &out, build_dir.as_deref())?;
            build(&builder.shipped(shipped), &crates).await
        }
        PluginCommand::Check { path } => author::check(&path).await,
        PluginCommand::Run { path, input, hook } => author::run(&path, &input, hook.as_deref()).await,
        PluginCommand::Test { path, fixtures, record } => author::test(&path, fixtures.as_deref(), record).await,
        PluginCommand::Bench { path, input, calls } => author::bench(&path, input.as_deref(), calls).await,
        PluginCommand::List => list(config).await,
        PluginCommand::Pack { path, out } => package::pack(&path, out.as_deref()).await,
        PluginCommand::Install { source, digest } => package::install(&source, digest.as_deref(), &config.plugins_dir).await,
        PluginCommand::Keygen { name, out } => leave::keygen(&name, &out),
        PluginCommand::Sign { path, key } => leave::sign_folder(&path, &key),
        PluginCommand::Verify { path } => leave::verify(&path, config).await,
        PluginCommand::Grant { name, digest, asks } => leave::grant(&name, digest.as_deref().zip(asks.as_deref()), config).await,
        PluginCommand::Revoke { name } => leave::revoke(&name, config),
        PluginCommand::Inspect { path } => inspect(&path).await,
        PluginCommand::Shadow { path, lasts, detach } => {
            trials::shadow(&Client::from_environment()?, &path, *lasts, detach, &config.plugins_dir).await
        }
        PluginCommand::Trial { name, end } => trials::trial(&Client::from_environment()?, &name, end).await,
        PluginCommand::Promote { name, all: true, wave, may_worsen, .. } => {
            trials::promote_all(&Client::from_environment()?, &name, *wave, may_worsen).await
        }
        PluginCommand::Promote { name, projects, percent, may_worsen, .. } => {
            let wanted = trials::Wanted { projects, percent, may_worsen };
            trials::promote(&Client::from_environment()?, &name, &wanted).await
        }
        PluginCommand::Apply { name, projects, all } => apply::apply(&Client::from_environment()?, &name, projects, all).await,
        PluginCommand::New { hook, lang, name, out } => starter::unpack(&hook, &lang, name, out),
        PluginCommand::CargoRunner { program, arguments } => author::cargo_runner(&program, &arguments).await,
        PluginCommand::Reload => reload(&Client::from_environment()?).await,
        PluginCommand::Rollback { name, to } => rollback(&Client::from_environment()?, &name, to).await,
    }
}

async fn build(builder: &Builder, crates: &[PathBuf]) -> anyhow::Result<()> {
    let mut compiler = String::new();
    for (index, folder) in crates.iter().enumerate() {
        println!("[{}/{}] {}", index + 1, crates.len(), folder.display());
        let now = builder.describe(folder).await?;
        if now != compiler {
            println!("    compiler: {now}");
            compiler = now;
        }
        let built = builder.build(folder).await?;
        println!("    component: {} KiB, imports {}", built.size.div_ceil(1024), built.imports.join(", "));
        println!("    {}", built.digest);
        println!("    loads: {} -> {}", built.name, built.folder.display());
    }
    Ok(())
}

async fn list(config: &Config) -> anyhow::Result<()> {
    let plugins = leave::judged(config).await?;
    if plugins.is_empty() {
        println!("no plugins in {}: build the shipped ones with `make plugins`", config.plugins_dir.display());
    }
    for leave::Judged { name, plugin, provenance, held } in plugins {
        match plugin {
            Ok(plugin) => {
                let hooks: Vec<&str> = plugin.hooks.iter().map(|hook| hook.hook.as_str()).collect();
                let (judged, beyond) = provenance.unwrap_or_else(|refusal| (format!("NOT LOADED: {refusal}"), Vec::new()));
                println!("{name:<24} {:<10} {:<12} {} {judged}", plugin.version, hooks.join(","), plugin.digest);
                for line in beyond {
                    println!("    granted and asked for no more, revoke and grant again: {line}");
                }
            }
            Err(problem) => println!("{name:<24} BROKEN: {problem}"),
        }
        if let Some(digest) = held {
            println!("    rolled back: {digest} runs in its place");
        }
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
    println!("from      {}", plugin.provenance);
    println!("imports   {}", if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") });
    for line in plugin.reaches.lines() {
        println!("asks for  {line}");
    }
    for HookInfo { hook, order, on_failure, limits, .. } in &plugin.hooks {
        println!("hook      {} (order {order}, a failure: {})", hook.as_str(), on_failure.as_str());
        println!("    wall clock   {} ms\n    CPU          {} ms", limits.wall.as_millis(), limits.cpu.as_millis());
        println!("    memory       {} MiB\n    result       {} KiB", limits.memory_bytes >> 20, limits.result_bytes >> 10);
        println!("    log          {} KiB\n    host calls   {}", limits.log_bytes >> 10, limits.host_calls);
    }
}

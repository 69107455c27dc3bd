//! The command line. `serve` and `token` work on the data folder, `doctor` and `plugin` look at this machine,
//! everything else is a REST client.

mod client;
mod doctor;
mod plugin;
mod progress;
mod project;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::domain::Secret;
use crate::{app, telemetry};

/// Your own Supabase backends on your own machines.
#[derive(Parser)]
#[command(name = "supamanager", version, arg_required_else_help = true)]
struct Cli {
    /// Configuration file (TOML). Every key can also be set as SUPAMANAGER_<KEY>.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve,
    /// Make access tokens.
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// Create, list, show and delete projects over REST (SUPAMANAGER_URL, SUPAMANAGER_TOKEN).
    Project {
        #[command(subcommand)]
        command: project::ProjectCommand,
    },
    /// Build and look at plugins.
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
    },
    /// Check the engine, the plugins, the key and the ports of this machine.
    Doctor,
}

/// Parses the arguments and runs. Errors go to standard error, one cause per line.
pub async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = || -> anyhow::Result<(Config, Option<Secret<String>>)> { Ok(Config::load(cli.config.as_deref())?) };
    match cli.command {
        Command::Serve => {
            let (config, secret) = load()?;
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            app::serve(config, secret).await?;
        }
        Command::Token { command } => {
            let (config, secret) = load()?;
            // On standard error: the first command on a data folder makes its key and says so.
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            token::run(command, &config, secret).await?;
        }
        Command::Project { command } => return project::run(command).await,
        Command::Plugin { command } => plugin::run(command, &load()?.0.plugins_dir).await?,
        Command::Doctor => {
            let (config, secret) = load()?;
            return doctor::run(&config, secret).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

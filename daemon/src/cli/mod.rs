//! The command line. `serve`, `user`, `token`, `secrets` and `store` work on the data folder, `doctor` and `plugin` look at this machine,
//! everything else is a REST client.

mod choices;
mod client;
mod doctor;
mod lost;
mod out;
mod plugin;
mod progress;
mod project;
mod secrets;
mod store;
mod token;
mod update;
mod usage;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, Lock};
use crate::config::Config;
use crate::domain::Secret;
use crate::telemetry;

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
    Serve {
        /// While another daemon works on the same store and data folder, wait, and take over when it is gone.
        #[arg(long)]
        standby: bool,
    },
    /// Make, list and shut out users, and give them passwords.
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Make, list and revoke access tokens.
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// Change the master key.
    Secrets {
        #[command(subcommand)]
        command: secrets::SecretsCommand,
    },
    /// Copy the daemon's own store, and put a copy back.
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Create, list, show and delete projects over REST (SUPAMANAGER_URL, SUPAMANAGER_TOKEN).
    Project {
        #[command(subcommand)]
        command: project::ProjectCommand,
    },
    /// Build, try out, sign, grant, swap and look at plugins.
    Plugin {
        #[command(subcommand)]
        command: plugin::PluginCommand,
    },
    /// Check this machine, say how many more projects fit, and compare the store with the engine.
    Doctor(doctor::DoctorArgs),
}

/// Parses the arguments and runs. Errors go to standard error, one cause per line.
pub async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) if error.is::<out::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = || -> anyhow::Result<(Config, Option<Secret<String>>)> { Ok(Config::load(cli.config.as_deref())?) };
    match cli.command {
        Command::Serve { standby } => {
            let (config, secret) = load()?;
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            app::serve(config, secret, if standby { Lock::Wait } else { Lock::Take }).await?;
        }
        Command::Token { command } => {
            let (config, secret) = load()?;
            // On standard error: the first command on a data folder makes its key and says so.
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            token::run(command, &config, secret).await?;
        }
        Command::User { command } => {
            let (config, secret) = load()?;
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            user::run(command, &config, secret).await?;
        }
        Command::Secrets { command } => {
            let (config, secret) = load()?;
            telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
            secrets::run(command, &config, secret).await?;
        }
        Command::Store { command } => {
            let (config, secret) = load()?;
            store::run(command, &config, secret.as_ref()).await?;
        }
        Command::Project { command } => return project::run(command).await,
        Command::Plugin { command } => plugin::run(command, &load()?.0).await?,
        Command::Doctor(args) => {
            let (config, secret) = load()?;
            return doctor::run(args, &config, secret).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

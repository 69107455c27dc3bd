//! `supamanager token create`: prints the token and nothing else, so that it can be captured.

use clap::Subcommand;

use crate::app::{self, Lock};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::Secret;
use crate::people;

/// What can be done with tokens.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token for the organisation `default` and print it once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
    },
}

/// Opens the store beside a running daemon.
///
/// # Errors
/// Whatever keeps the store from opening.
pub async fn run(command: TokenCommand, config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<()> {
    let TokenCommand::Create { name } = command;
    let clock = Clock::system();
    let opened = app::open(config, secret, &clock, Lock::Leave).await?;
    let token = people::create_token(&opened.store, &clock, &name, "default").await?;
    println!("{}", token.expose());
    opened.store.close().await;
    Ok(())
}

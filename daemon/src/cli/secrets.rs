//! `supamanager secrets rotate-master`: another master key, while the daemon is stopped.

use std::io::BufRead;

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::app::{self, KEY_FILE, NextKey};
use crate::clock::Clock;
use crate::config::{Config, NEW_ENCRYPTION_SECRET, one_time_secret};
use crate::domain::Secret;
use crate::lifecycle::Failpoints;

/// What can be done with the stored secrets.
#[derive(Subcommand)]
pub enum SecretsCommand {
    /// Put every stored secret under another master key. Stop the daemon first.
    ///
    /// The present key is ENCRYPTION_SECRET or the key file, as for `serve`. The next one is
    /// SUPAMANAGER_NEW_ENCRYPTION_SECRET, or a line of standard input, or a new key file. It may be killed at any moment
    /// and run again.
    RotateMaster {
        /// Read the next ENCRYPTION_SECRET as one line from standard input.
        #[arg(long, conflicts_with = "key_file")]
        stdin: bool,
        /// Make a new key file, which then stands in for ENCRYPTION_SECRET.
        #[arg(long)]
        key_file: bool,
    },
}

/// Runs it and says what to do with the old key.
///
/// # Errors
/// A running daemon, no next key, or whatever keeps the store from opening.
pub async fn run(command: SecretsCommand, config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<()> {
    let SecretsCommand::RotateMaster { stdin, key_file } = command;
    let next = match (one_time_secret(NEW_ENCRYPTION_SECRET), stdin, key_file) {
        (_, true, _) => NextKey::Passphrase(line()?),
        (_, _, true) => NextKey::File,
        (Some(text), ..) => NextKey::Passphrase(text),
        (None, ..) if secret.is_none() => NextKey::File,
        (None, ..) => bail!("no next key: set {NEW_ENCRYPTION_SECRET}, or give --stdin or --key-file"),
    };
    let failpoints = Failpoints::new(&config.failpoint, &config.data_dir);
    let rotated = app::rotate(config, secret, next.clone(), &Clock::system(), &failpoints).await?;
    match rotated.from {
        Some(from) => println!("{} secrets went from key {from} to key {}", rotated.secrets, rotated.to),
        // Whether an earlier run was cut off after the store had moved, or the present key was given wrongly.
        None => println!(
            "every secret is under key {} already, the next one; the present key opened nothing. If no earlier run was cut off, \
             run it again with the key that the daemon has",
            rotated.to
        ),
    }
    match next {
        NextKey::File => println!("{} holds it: keep a copy apart from backups", config.data_dir.join(KEY_FILE).display()),
        NextKey::Passphrase(_) => println!("start the daemon with the new ENCRYPTION_SECRET"),
    }
    if let Some(kept) = rotated.kept {
        println!("the old key is {kept}: older backups of the store open with it; remove it when there are none");
    }
    Ok(())
}

fn line() -> anyhow::Result<Secret<String>> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).context("standard input")?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

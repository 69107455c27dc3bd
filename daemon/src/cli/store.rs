//! `supamanager store backup` and `store restore`: the daemon's own memory, out and back.

use std::path::PathBuf;

use clap::Subcommand;

use crate::app;
use crate::config::{Config, KEY_PASSPHRASE, one_time_secret};
use crate::domain::Secret;

/// What can be done with the store as a whole.
#[derive(Subcommand)]
pub enum StoreCommand {
    /// Copy the store to FILE and its checksum to FILE.sha256; the daemon may run.
    ///
    /// The master key is not in it, nor is the data of the projects.
    Backup {
        /// A new file.
        file: PathBuf,
        /// Write the master key to this file: sealed under SUPAMANAGER_KEY_PASSPHRASE if that is set, else in clear, to be
        /// kept apart.
        #[arg(long, value_name = "FILE")]
        with_key: Option<PathBuf>,
    },
    /// Put a copy back into a data folder without a store; then start the daemon.
    Restore {
        /// What `store backup` wrote; FILE.sha256 must lie beside it.
        file: PathBuf,
        /// The master key's file, opened with SUPAMANAGER_KEY_PASSPHRASE if it is sealed.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// Runs it and says what there is now.
///
/// # Errors
/// Whatever keeps it from being whole; nothing half done is left.
pub async fn run(command: StoreCommand, config: &Config, secret: Option<&Secret<String>>) -> anyhow::Result<()> {
    let passphrase = one_time_secret(KEY_PASSPHRASE);
    match command {
        StoreCommand::Backup { file, with_key } => {
            let kept = app::backup(config, secret, &file, with_key.as_deref(), passphrase.as_ref()).await?;
            println!("{}: {} bytes, installation {}", file.display(), kept.bytes, kept.installation);
            match with_key {
                Some(path) if passphrase.is_some() => println!("{}: key {}, sealed", path.display(), kept.key_id),
                Some(path) => println!("{}: key {} in clear, keep it apart from the copy", path.display(), kept.key_id),
                None => println!("its secrets are under key {}, which is not in it: keep a copy of the key apart", kept.key_id),
            }
        }
        StoreCommand::Restore { file, key } => {
            let kept = app::restore(config, secret, &file, key.as_deref(), passphrase.as_ref()).await?;
            println!("{} has the store of installation {}", config.data_dir.display(), kept.installation);
            match kept.has_key {
                true => println!("its key {} is there: start the daemon", kept.key_id),
                false => println!("give the daemon key {} (ENCRYPTION_SECRET or encryption.key), then start it", kept.key_id),
            }
        }
    }
    Ok(())
}

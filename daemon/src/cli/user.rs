//! `supamanager user`: people, for whoever may open the store on this machine. The first owner is made here, and an owner
//! who forgot their password is helped here; everybody else is invited over REST.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::app::{self, Lock, Opened};
use crate::clock::{Clock, rfc3339};
use crate::config::{Config, USER_PASSWORD, one_time_secret};
use crate::domain::{Role, Secret};
use crate::people::{NewAccount, People};

/// What can be done with users. A password is SUPAMANAGER_USER_PASSWORD, or a line of standard input.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a user.
    Create {
        /// Their address.
        #[arg(long)]
        email: String,
        /// What they want to be called.
        #[arg(long, default_value = "")]
        name: String,
        /// `read-only`, `developer`, `administrator` or `owner`.
        #[arg(long, default_value = "owner")]
        role: String,
        /// Slug of the organisation they have it in.
        #[arg(long, default_value = "default")]
        organization: String,
    },
    /// List all users.
    List,
    /// Give a user another password; their sessions end.
    Password {
        /// Their address.
        #[arg(long)]
        email: String,
    },
    /// Shut a user out; their sessions end and their tokens are refused.
    Disable {
        /// Their address.
        #[arg(long)]
        email: String,
    },
    /// Let a user in again.
    Enable {
        /// Their address.
        #[arg(long)]
        email: String,
    },
}

/// Opens the store beside a running daemon.
///
/// # Errors
/// Whatever keeps the store from opening, and what cannot be done.
pub async fn run(command: UserCommand, config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let opened = app::open(config, secret, &clock, Lock::Leave).await?;
    let people = People::new(opened.store.clone(), clock.clone(), &opened.key, app::rules_of_people(config));
    let done = carried_out(command, &opened, &people).await;
    opened.store.close().await;
    done
}

async fn carried_out(command: UserCommand, opened: &Opened, people: &People) -> anyhow::Result<()> {
    match command {
        UserCommand::Create { email, name, role, organization } => {
            let known = || Role::ALL.map(Role::as_str).join(", ");
            let role = Role::from_word(&role).with_context(|| format!("--role is `{role}`: use one of {}", known()))?;
            if !opened.store.organizations().await?.iter().any(|one| one.id == organization) {
                bail!("--organization is `{organization}`: there is none of this slug");
            }
            let id = people.create_user(NewAccount { email, name, password: password()? }, &organization, role).await?;
            println!("{id}");
        }
        UserCommand::List => {
            for user in opened.store.users().await? {
                let state = user.disabled_at.map_or("", |_| "  disabled");
                println!("{}  {}  {}{state}", user.id, rfc3339(user.created_at), user.email);
            }
        }
        UserCommand::Password { email } => people.set_password(&email, password()?).await?,
        UserCommand::Disable { email } => people.set_disabled(&email, true).await?,
        UserCommand::Enable { email } => people.set_disabled(&email, false).await?,
    }
    Ok(())
}

fn password() -> anyhow::Result<Secret<String>> {
    if let Some(given) = one_time_secret(USER_PASSWORD) {
        return Ok(given);
    }
    if std::io::stdin().is_terminal() {
        eprintln!("Password (it shows while you type; {USER_PASSWORD} and a pipe do not):");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => bail!("no password: set {USER_PASSWORD}, or give one line on standard input"),
        text => Ok(Secret::new(text.to_owned())),
    }
}

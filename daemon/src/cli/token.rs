//! `supamanager token`: tokens that own an organisation, for scripts and for the first minute. `create` prints the token
//! and nothing else, so that it can be captured. Tokens of users are made over REST.

use anyhow::bail;
use clap::Subcommand;
use serde_json::json;

use crate::app::{self, Lock, Opened};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::domain::{Scope, Secret};
use crate::people::{Done, NewToken, People, create_token};

/// What can be done with tokens.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token that owns an organisation, and print it once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// Slug of the organisation.
        #[arg(long, default_value = "default")]
        organization: String,
        /// How long it is good for, for example `90d`; left out: until it is revoked.
        #[arg(long)]
        life: Option<humantime::Duration>,
    },
    /// List all tokens that are not revoked, users' too.
    List,
    /// Make a token good for nothing.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// Opens the store beside a running daemon.
///
/// # Errors
/// Whatever keeps the store from opening, and what cannot be done.
pub async fn run(command: TokenCommand, config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let opened = app::open(config, secret, &clock, Lock::Leave).await?;
    let people = People::new(opened.store.clone(), clock.clone(), &opened.key, app::rules_of_people(config));
    let done = carried_out(command, &opened, &people, &clock).await;
    opened.store.close().await;
    done
}

async fn carried_out(command: TokenCommand, opened: &Opened, people: &People, clock: &Clock) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { name, organization, life } => {
            if !opened.store.organizations().await?.iter().any(|one| one.id == organization) {
                bail!("--organization is `{organization}`: there is none of this slug");
            }
            let new = NewToken {
                name: &name,
                user_id: None,
                organization_id: &organization,
                scope: Scope::default(),
                life_s: life.map(|life| life.as_secs()),
            };
            let made = create_token(&opened.store, clock, new).await?;
            let detail = json!({"token": made.token.id, "name": made.token.name});
            let done = Done { action: "token.create", organization: Some(&organization), project: None, detail: &detail };
            people.audit_here(done).await?;
            println!("{}", made.secret.expose());
        }
        TokenCommand::List => {
            for token in opened.store.tokens().await? {
                let used = token.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", rfc3339(at)));
                let whose =
                    token.user_id.map_or_else(|| format!("owns {}", token.organization_id), |user| format!("user {user}"));
                println!("{}  {}  {whose}  {used}  {}", token.id, token.hint, token.name);
            }
        }
        TokenCommand::Revoke { id } => {
            if !opened.store.revoke_token(&id, None, clock.now()).await? {
                bail!("there is no token `{id}`: `supamanager token list` shows them");
            }
            let detail = json!({"token": id});
            people.audit_here(Done { action: "token.revoke", organization: None, project: None, detail: &detail }).await?;
        }
    }
    Ok(())
}

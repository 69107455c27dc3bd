//! Who may do what: users and their sessions, access tokens, invitations, and the audit log.
//!
//! Whatever somebody shows to prove who they are has at least 160 random bits and is kept as its SHA-256: a slow hash
//! would add nothing but time. Passwords have fewer, and go through Argon2id.

mod accounts;
mod passwords;
mod sessions;
mod throttle;
mod tokens;

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::domain::{AuditEntry, Caller, ProjectRef, Secret, UnixMillis};
use crate::secrets::{GenerateError, MasterKey, new_hex};
use crate::store::{Clash, Store, StoreError};

pub use accounts::{Guest, Invited, NewAccount};
pub use sessions::Grant;
pub use tokens::{Made, NewToken, create_token};

/// How long sessions and invitations last, and how often somebody may try a password.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// An access token of a session, in seconds.
    pub access_s: u64,
    /// A session, however often it is refreshed, in seconds.
    pub session_s: u64,
    /// An invitation, in seconds.
    pub invitation_s: u64,
    /// Tries of a password per minute, for one address of a user and, four times as many, for one address of the network.
    pub tries_per_minute: u32,
}

/// Why somebody is not let in, or something about people cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// No random bytes.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// Nothing of ours, or not any more.
    #[error("{0}")]
    Unknown(&'static str),
    /// Address and password do not belong together.
    #[error("address or password is wrong")]
    WrongPassword,
    /// Tried too often.
    #[error("too many tries: wait {0} s")]
    TooManyTries(u64),
    /// A field that cannot be taken.
    #[error("{message}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why, and what would do.
        message: String,
    },
    /// It is there already.
    #[error("{message}")]
    Taken {
        /// What must be unique.
        field: &'static str,
        /// What has it.
        message: String,
    },
    /// It would leave something in a state that nobody can help.
    #[error("{0}")]
    Refused(String),
    /// Hashing or signing failed.
    #[error("{0}")]
    System(String),
}

impl From<StoreError> for PeopleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Transition(why) => Self::Refused(why),
            StoreError::Clash(Clash::Email) => {
                Self::Taken { field: "email", message: "this address is a user's already".to_owned() }
            }
            StoreError::Clash(Clash::Organization) => {
                Self::Taken { field: "slug", message: "this slug is taken: choose another".to_owned() }
            }
            error => Self::Store(error),
        }
    }
}

/// The people of an installation. Cheap to clone.
#[derive(Clone)]
pub struct People {
    store: Store,
    clock: Clock,
    rules: Rules,
    signing: sessions::SigningKey,
    passwords: passwords::Passwords,
    throttle: throttle::Throttle,
    /// Of the link that makes the first user; another one at every start.
    setup: Arc<OnceLock<(String, UnixMillis)>>,
}

impl People {
    /// Over a store, with sessions signed by a key that the master key gives.
    pub fn new(store: Store, clock: Clock, key: &MasterKey, rules: Rules) -> Self {
        Self {
            signing: sessions::SigningKey::of(key),
            passwords: passwords::Passwords::default(),
            throttle: throttle::Throttle::new(rules.tries_per_minute),
            setup: Arc::default(),
            store,
            clock,
            rules,
        }
    }

    /// Whose bearer token this is: an access token's, or a session's.
    ///
    /// # Errors
    /// [`PeopleError::Unknown`] with what is wrong with it, [`PeopleError::Store`].
    pub async fn authenticate(&self, bearer: &str) -> Result<Caller, PeopleError> {
        if bearer.starts_with("sbp_") { self.caller_of_token(bearer).await } else { self.caller_of_session(bearer).await }
    }

    /// Writes down who did what; `detail` is a JSON object without secrets.
    ///
    /// # Errors
    /// [`PeopleError::Generate`] or [`PeopleError::Store`].
    pub async fn audit(&self, caller: &Caller, done: Done<'_>) -> Result<(), PeopleError> {
        self.audit_as(&caller.id, &caller.name, done).await
    }

    /// The same for whoever works on the machine itself.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub async fn audit_here(&self, done: Done<'_>) -> Result<(), PeopleError> {
        self.audit_as("command line", "command line", done).await
    }

    /// The same for somebody who is nobody's caller yet.
    async fn audit_as(&self, caller: &str, name: &str, done: Done<'_>) -> Result<(), PeopleError> {
        let entry = AuditEntry {
            id: new_hex(12)?,
            caller: caller.to_owned(),
            caller_name: name.to_owned(),
            action: done.action.to_owned(),
            organization_id: done.organization.map(str::to_owned),
            project_id: done.project.map(ToString::to_string),
            detail: done.detail.to_string(),
        };
        Ok(self.store.audit(&entry, self.clock.now()).await?)
    }
}

/// Something to write down.
#[derive(Clone, Copy)]
pub struct Done<'a> {
    /// What, for example `project.create`.
    pub action: &'a str,
    /// In which organisation.
    pub organization: Option<&'a str>,
    /// On which project.
    pub project: Option<&'a ProjectRef>,
    /// A JSON object without secrets.
    pub detail: &'a serde_json::Value,
}

/// A new secret that somebody can show later, and its hash.
fn secret_to_show(prefix: &str) -> Result<(Secret<String>, String), GenerateError> {
    let secret = format!("{prefix}{}", new_hex(20)?);
    let hash = hash(&secret);
    Ok((Secret::new(secret), hash))
}

fn hash(shown: &str) -> String {
    Sha256::digest(shown.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

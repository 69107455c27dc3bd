//! Database errors as the domain sees them.

use crate::backend::ErrorClass;

/// What was already there when something had to be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// The port is reserved on that engine.
    Port,
    /// The subnet is reserved on that engine.
    Subnet,
    /// The project has an unfinished operation.
    UnfinishedOperation,
    /// The ref exists.
    ProjectId,
    /// The idempotency key was used.
    IdempotencyKey,
    /// The address is a user's.
    Email,
    /// The slug is or was an organisation's.
    Organization,
    /// Something else that is unique.
    Other,
}

/// A failed store call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The URL's scheme is none of ours.
    #[error("database_url begins with `{0}:`: use sqlite: or postgres:")]
    Unsupported(String),
    /// A PostgreSQL database that cannot hold every text.
    #[error("the database's encoding is {0}: make one with ENCODING 'UTF8'")]
    Encoding(String),
    /// Another daemon acts on the store.
    #[error("another daemon works on this store: stop it, or start this one with --standby to wait for its end")]
    Held,
    /// This daemon was replaced: what it still wants to write comes too late.
    #[error("this daemon does not act on the store any more: another one may have taken over")]
    LeaseLost,
    /// A unique constraint said no.
    #[error("already there: {0:?}")]
    Clash(Clash),
    /// A transition that the store does not allow.
    #[error("the store refuses this transition: {0}")]
    Transition(String),
    /// A row holds what no version of ours writes.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// A store of another version, which only looking at it must not change.
    #[error("the store has schema {found}, this program knows {ours}: use the program that the daemon runs, or start it once")]
    Schema {
        /// What the store has.
        found: i64,
        /// What this build makes.
        ours: i64,
    },
    /// The database failed.
    #[error("the store failed: {0}")]
    Database(String),
}

impl StoreError {
    /// What the caller can do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Clash(_) => ErrorClass::Conflict,
            Self::Database(_) | Self::LeaseLost => ErrorClass::Retry,
            Self::Held => ErrorClass::Conflict,
            Self::Unsupported(_) | Self::Encoding(_) | Self::Transition(_) | Self::Corrupt(_) | Self::Schema { .. } => {
                ErrorClass::Permanent
            }
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => Self::Clash(clash(database.message(), database.constraint())),
            _ => Self::Database(error.to_string()),
        }
    }
}

/// SQLite names `table.column` and no constraint; PostgreSQL names the constraint (decision 26).
fn clash(message: &str, constraint: Option<&str>) -> Clash {
    let place = constraint.unwrap_or(message);
    let table = [
        (Clash::Port, ["ports.port", "ports_pkey"]),
        (Clash::Subnet, ["subnets.subnet", "subnets_pkey"]),
        (Clash::UnfinishedOperation, ["operations.project_id", "operations_unfinished"]),
        (Clash::ProjectId, ["projects.id", "projects_pkey"]),
        (Clash::Email, ["users.email", "users_email_key"]),
        (Clash::Organization, ["organizations.id", "organizations_pkey"]),
        (Clash::IdempotencyKey, ["idempotency_keys.key_hash", "idempotency_keys_of_callers_pkey"]),
    ];
    table.iter().find(|(_, names)| names.iter().any(|name| place.contains(name))).map_or(Clash::Other, |(clash, _)| *clash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_function_maps_the_constraints_of_both_databases() {
        let sqlite = |message| clash(message, None);
        assert_eq!(sqlite("UNIQUE constraint failed: ports.engine_id, ports.port"), Clash::Port);
        assert_eq!(sqlite("UNIQUE constraint failed: operations.project_id"), Clash::UnfinishedOperation);
        assert_eq!(sqlite("UNIQUE constraint failed: tokens.hash"), Clash::Other);
        assert_eq!(clash("duplicate key value", Some("subnets_pkey")), Clash::Subnet);
        assert_eq!(clash("duplicate key value", Some("operations_unfinished")), Clash::UnfinishedOperation);
    }
}

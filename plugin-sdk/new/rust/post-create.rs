//! Makes a schema of its own in the project's database, and takes it back.

use supamanager_plugin::{AccessError, Error, Outcome, PostCreator, export_post_creator, progress, sql};

const DEADLINE_MS: u32 = 10_000;

/// When to try again after a database that is away or busy.
const RETRY_MS: u64 = 2_000;

struct Plugin;

impl PostCreator for Plugin {
    /// `if not exists`: after a crash it is called once more.
    fn run(_context: &str) -> Result<Outcome, Error> {
        progress::report("making the schema plugin___NAME_SNAKE__");
        execute("create schema if not exists plugin___NAME_SNAKE__").map_err(again_if_away)?;
        Ok(Outcome { changed: true, summary: "the schema plugin___NAME_SNAKE__ is there".to_owned() })
    }

    fn undo(_context: &str, _outcome: Outcome) -> Result<(), Error> {
        match execute("drop schema if exists plugin___NAME_SNAKE__ cascade") {
            // The schema goes with a database that is already away.
            Ok(_) | Err(AccessError::Refused(_)) => Ok(()),
            Err(error) => Err(again_if_away(error)),
        }
    }
}

export_post_creator!(Plugin);

fn execute(statement: &str) -> Result<u64, AccessError> {
    sql::execute("db", "postgres", statement, DEADLINE_MS)
}

fn again_if_away(error: AccessError) -> Error {
    match error {
        AccessError::Refused(_) | AccessError::TimedOut(_) => Error::RetryAfter(RETRY_MS),
        AccessError::Denied(text) => Error::Denied(text),
        AccessError::Failed(text) => Error::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_tried_again() {
        let away = again_if_away(AccessError::TimedOut("no answer".into()));
        assert!(matches!(away, Error::RetryAfter(RETRY_MS)));
    }
}

//! Has the API of a resumed project read the schema anew.

use supamanager_plugin::{AccessError, AfterResume, Error, export_after_resume, sql};

const DEADLINE_MS: u32 = 10_000;

/// When to try again after a database that is away or busy.
const RETRY_MS: u64 = 2_000;

struct Plugin;

impl AfterResume for Plugin {
    /// After a crash it is called once more: a second notification does no harm.
    fn after_resume(_context: &str) -> Result<String, Error> {
        sql::execute("db", "postgres", "notify pgrst, 'reload schema'", DEADLINE_MS).map_err(again_if_away)?;
        Ok("the API reads the schema anew".to_owned())
    }
}

export_after_resume!(Plugin);

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
        let away = again_if_away(AccessError::Refused("nothing listens".into()));
        assert!(matches!(away, Error::RetryAfter(RETRY_MS)));
    }
}

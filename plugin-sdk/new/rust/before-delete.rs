//! Tells whoever listens in the project's database that the project goes away.

use supamanager_plugin::{AccessError, BeforeDelete, Error, export_before_delete, progress, sql};

const DEADLINE_MS: u32 = 10_000;

struct Plugin;

impl BeforeDelete for Plugin {
    fn before_delete(_context: &str) -> Result<String, Error> {
        progress::report("saying goodbye");
        told(sql::execute("db", "postgres", "notify project, 'deleted'", DEADLINE_MS))
    }
}

export_before_delete!(Plugin);

fn told(executed: Result<u64, AccessError>) -> Result<String, Error> {
    match executed {
        Ok(_rows) => Ok("whoever listens on the channel `project` was told".to_owned()),
        // A paused project is deleted too, and an error would hold that up.
        Err(AccessError::Refused(_)) => Ok("the database does not run: nobody to tell".to_owned()),
        Err(error) => Err(Error::Failed(error.text().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_run_holds_nothing_up() {
        assert!(told(Err(AccessError::Refused("nothing listens".into()))).is_ok());
        assert!(told(Err(AccessError::Failed("no such role".into()))).is_err());
    }
}

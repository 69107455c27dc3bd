//! Runs the statements that a template set declares under `[[sql]]`, in their order, each as the role it
//! names. A resumed operation runs all of them again, so a set writes them to be repeatable
//! (`create ... if not exists`, `insert ... on conflict do nothing`).

use serde::Deserialize;
use supamanager_plugin::{AccessError, Error, Outcome, PostCreator, export_post_creator, progress, sql};

/// Limit of one statement: a dozen of them fit into the two minutes the host gives the hook at most.
const DEADLINE_MS: u32 = 10_000;

/// When to try again after a database that is away or busy.
const RETRY_MS: u64 = 2_000;

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    sql: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    service: String,
    role: String,
    statement: String,
}

struct PostCreateSql;

impl PostCreator for PostCreateSql {
    fn run(context: &str) -> Result<Outcome, Error> {
        run_all(context, |number, count, statement| {
            progress::report(&format!("statement {number} of {count}"));
            sql::execute(&statement.service, &statement.role, &statement.statement, DEADLINE_MS)
        })
    }

    /// Whatever the statements made lives in the project's own database and goes with it.
    fn undo(_context: &str, _outcome: Outcome) -> Result<(), Error> {
        Ok(())
    }
}

export_post_creator!(PostCreateSql);

fn run_all(
    context: &str,
    mut execute: impl FnMut(usize, usize, &Statement) -> Result<u64, AccessError>,
) -> Result<Outcome, Error> {
    let context: Context = serde_json::from_str(context)
        .map_err(|error| Error::InvalidInput(format!("the context's `sql` cannot be read: {error}")))?;
    let count = context.sql.len();
    let mut rows = 0;
    for (index, statement) in context.sql.iter().enumerate() {
        rows += execute(index + 1, count, statement).map_err(|error| explain(index + 1, statement, error))?;
    }
    let summary = match count {
        0 => "the template set declares no statements".to_owned(),
        1 => format!("1 statement, {rows} rows affected"),
        _ => format!("{count} statements, {rows} rows affected"),
    };
    Ok(Outcome { changed: count > 0, summary })
}

fn explain(number: usize, statement: &Statement, error: AccessError) -> Error {
    let words = format!("[[sql]] number {number}, as `{}` in `{}`: {}", statement.role, statement.service, error.text());
    match error {
        AccessError::Refused(_) | AccessError::TimedOut(_) => Error::RetryAfter(RETRY_MS),
        AccessError::Denied(_) => Error::Denied(words),
        AccessError::Failed(_) => Error::Failed(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"project": {}, "sql": [
        {"service": "db", "role": "postgres", "statement": "create table if not exists a ()"},
        {"service": "db", "role": "postgres", "statement": "insert into b values (1) on conflict do nothing"}]}"#;

    #[test]
    fn statements_run_in_their_order_and_rows_are_counted() {
        let mut seen = Vec::new();
        let outcome = run_all(TWO, |number, count, statement| {
            seen.push((number, count, statement.statement.clone()));
            Ok(number as u64)
        })
        .unwrap();
        assert_eq!(seen.len(), 2);
        assert!(seen[0].2.starts_with("create") && seen[1].2.starts_with("insert"));
        assert_eq!((outcome.changed, outcome.summary.as_str()), (true, "2 statements, 3 rows affected"));
    }

    #[test]
    fn a_set_without_statements_changes_nothing() {
        let outcome = run_all("{}", |_, _, _| panic!("nothing to run")).unwrap();
        assert!(!outcome.changed);
    }

    #[test]
    fn the_first_failure_ends_the_run_and_names_the_statement() {
        let failed = run_all(TWO, |number, _, _| match number {
            1 => Ok(0),
            _ => Err(AccessError::Failed("relation \"b\" does not exist".into())),
        });
        let Err(Error::Failed(words)) = failed else { panic!("expected a failure") };
        assert!(words.contains("number 2") && words.contains("relation"), "{words}");
    }

    #[test]
    fn a_database_that_is_away_is_tried_again() {
        let away = run_all(TWO, |_, _, _| Err(AccessError::Refused("nothing listens".into())));
        assert!(matches!(away, Err(Error::RetryAfter(RETRY_MS))));
    }
}

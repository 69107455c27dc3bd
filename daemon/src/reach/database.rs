//! Logins to a project's PostgreSQL: proofs of health, and the owner's password.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::domain::Secret;
use crate::plugin_host::hooks::AccessError;

/// The port inside the project's network, whatever is published.
const PORT: u16 = 5432;
/// Upstream's images treat this name as fixed (stack-facts 3.1).
const DATABASE: &str = "postgres";

/// Logs in, runs `select 1`; the time it took.
pub(super) async fn login(
    address: SocketAddr,
    role: &str,
    password: &Secret<String>,
    deadline: Duration,
) -> Result<Duration, AccessError> {
    let begun = Instant::now();
    let work = async {
        let client = connect(address, role, password).await?;
        client.simple_query("SELECT 1").await.map_err(|error| failure(role, &error))
    };
    within(deadline, role, work).await.map(|_| begun.elapsed())
}

/// Runs statements as a role that is not a superuser; rows affected.
pub(super) async fn run(
    address: Ipv4Addr,
    role: &str,
    password: &Secret<String>,
    statement: &str,
    deadline: Duration,
) -> Result<u64, AccessError> {
    let work = async {
        let client = connect((address, PORT).into(), role, password).await?;
        let setup = format!("SET statement_timeout = {}", deadline.as_millis());
        client.batch_execute(&setup).await.map_err(|error| failure(role, &error))?;
        let row = client.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).await;
        if row.map_err(|error| failure(role, &error))?.get::<_, bool>(0) {
            return Err(AccessError::Denied(format!("role `{role}` is a superuser: name another")));
        }
        let messages = client.simple_query(statement).await.map_err(|error| failure(role, &error))?;
        Ok(messages.iter().map(|message| if let SimpleQueryMessage::CommandComplete(rows) = message { *rows } else { 0 }).sum())
    };
    within(deadline, role, work).await
}

/// Runs the template set's own statements one after the other. A table that somebody holds is waited for five seconds, not
/// for ever, because behind a waiting change everybody else waits too.
pub(super) async fn admin(
    address: Ipv4Addr,
    role: &str,
    password: &Secret<String>,
    statements: &[String],
    deadline: Duration,
) -> Result<(), AccessError> {
    let work = async {
        let client = connect((address, PORT).into(), role, password).await?;
        let setup = format!(
            "SET statement_timeout = {}; SET lock_timeout = '5s'; SET default_transaction_read_only = off",
            deadline.as_millis()
        );
        client.batch_execute(&setup).await.map_err(|error| failure(role, &error))?;
        for statement in statements {
            client.batch_execute(statement).await.map_err(|error| failure(role, &error))?;
        }
        Ok(())
    };
    within(deadline, role, work).await
}

/// Asks one of the template set's own queries for one whole number, in whatever type the server has it.
pub(super) async fn number(
    address: Ipv4Addr,
    role: &str,
    password: &Secret<String>,
    query: &str,
    deadline: Duration,
) -> Result<i64, AccessError> {
    let work = async {
        let client = connect((address, PORT).into(), role, password).await?;
        let setup = format!("SET statement_timeout = {}", deadline.as_millis());
        client.batch_execute(&setup).await.map_err(|error| failure(role, &error))?;
        let messages = client.simple_query(query).await.map_err(|error| failure(role, &error))?;
        let text = messages.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| AccessError::Failed(format!("`{query}` answered {text:?}: a whole number was expected")))
    };
    within(deadline, role, work).await
}

/// What the server keeps in place of a password.
pub(super) fn verifier(password: &Secret<String>) -> String {
    postgres_protocol::password::scram_sha_256(password.expose().as_bytes())
}

/// `ALTER ROLE ... PASSWORD` with a verifier in place of the password.
pub(super) async fn set_password(
    address: Ipv4Addr,
    admin_role: &str,
    admin_password: &Secret<String>,
    role: &str,
    verifier: &str,
    deadline: Duration,
) -> Result<(), AccessError> {
    let statement = format!(
        "ALTER ROLE {} PASSWORD {}",
        postgres_protocol::escape::escape_identifier(role),
        postgres_protocol::escape::escape_literal(verifier)
    );
    let work = async {
        let client = connect((address, PORT).into(), admin_role, admin_password).await?;
        client.batch_execute(&statement).await.map_err(|error| failure(admin_role, &error))
    };
    within(deadline, admin_role, work).await
}

async fn connect(address: SocketAddr, role: &str, password: &Secret<String>) -> Result<Client, AccessError> {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user(role).password(password.expose()).dbname(DATABASE);
    let (client, connection) = config.connect(NoTls).await.map_err(|error| failure(role, &error))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn within<T>(deadline: Duration, role: &str, work: impl Future<Output = Result<T, AccessError>>) -> Result<T, AccessError> {
    let late = || AccessError::TimedOut(format!("no answer to {role} within {} ms", deadline.as_millis()));
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| Err(late()))
}

/// The server's own words, which hold no password; a broken connection is said without its address.
fn failure(role: &str, error: &tokio_postgres::Error) -> AccessError {
    match error.as_db_error() {
        // 57P03: the server is starting up or shutting down. 57P01, 57P02: it ended this session for it. 53300: it has
        // no connection left. All of them pass.
        Some(db) if matches!(db.code().code(), "57P03" | "57P01" | "57P02" | "53300") => {
            AccessError::Refused(format!("the database is not ready: {}", db.message()))
        }
        Some(db) => AccessError::Failed(format!("login as {role}: {}", db.message())),
        None => AccessError::Refused(format!("the database refuses connections ({role})")),
    }
}

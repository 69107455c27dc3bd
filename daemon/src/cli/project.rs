//! `supamanager project`: what Studio does over REST, for a terminal.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::progress::{Ended, Progress};

/// What can be done with projects.
#[derive(Subcommand)]
pub enum ProjectCommand {
    /// Create a project and show its progress.
    Create {
        /// Its name.
        name: String,
        /// The region; may be left out while there is one.
        #[arg(long)]
        region: Option<String>,
        /// The image set, if not the configured one.
        #[arg(long)]
        image_set: Option<String>,
        /// The template set, if not the configured one.
        #[arg(long)]
        template_set: Option<String>,
        /// Print the id and return at once.
        #[arg(long)]
        no_wait: bool,
    },
    /// List the projects.
    List,
    /// Show one project: its services, addresses and, on request, its keys.
    Show {
        /// The project's id.
        id: String,
        /// Show keys and passwords too.
        #[arg(long)]
        credentials: bool,
        /// Print the daemon's own JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a project and everything in it.
    Delete {
        /// The project's id.
        id: String,
        /// The id once more, or the name: a delete cannot be taken back.
        #[arg(long)]
        confirm: String,
        /// Return as soon as it is accepted.
        #[arg(long)]
        no_wait: bool,
    },
    /// Show the progress of a project's newest operation until it ends.
    Watch {
        /// The project's id.
        id: String,
    },
    /// Try a failed create again.
    Retry {
        /// The project's id.
        id: String,
    },
    /// Print the last lines of a service.
    Logs {
        /// The project's id.
        id: String,
        /// The service.
        service: String,
        /// How many lines.
        #[arg(long, default_value_t = 100)]
        tail: u32,
    },
}

/// Runs one command.
///
/// # Errors
/// The daemon's own sentence.
pub async fn run(command: ProjectCommand) -> anyhow::Result<ExitCode> {
    let client = Client::from_environment()?;
    match command {
        ProjectCommand::Create { name, region, image_set, template_set, no_wait } => {
            let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
            let given = [("region", region), ("image_set", image_set), ("template_set", template_set)];
            body.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))));
            let created = client.json(Method::POST, "/platform/projects", Some(Value::Object(body))).await?;
            if no_wait {
                println!("{}", text(&created, "id"));
                return Ok(ExitCode::SUCCESS);
            }
            println!("project {} ({})", text(&created, "id"), text(&created, "name"));
            watch(&client, &created).await
        }
        ProjectCommand::Retry { id } => {
            let accepted = client.json(Method::POST, &format!("/platform/projects/{id}/retry"), None).await?;
            watch(&client, &accepted).await
        }
        ProjectCommand::Watch { id } => {
            let operations = client.json(Method::GET, &format!("/platform/projects/{id}/operations"), None).await?;
            let newest = text(&operations["operations"][0], "id");
            watch(&client, &json!({"id": id, "operation_id": newest})).await
        }
        ProjectCommand::List => list(&client).await,
        ProjectCommand::Show { id, credentials, json } => show(&client, &id, credentials, json).await,
        ProjectCommand::Delete { id, confirm, no_wait } => {
            let body = Some(json!({ "confirm": confirm }));
            let accepted = client.json(Method::DELETE, &format!("/platform/projects/{id}"), body).await?;
            if no_wait {
                return Ok(ExitCode::SUCCESS);
            }
            let ended = follow(&client, &accepted).await?;
            println!("{}", ended.status);
            Ok(if ended.status == "DELETED" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ProjectCommand::Logs { id, service, tail } => {
            print!("{}", client.text(&format!("/platform/projects/{id}/logs?service={service}&tail={tail}")).await?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn follow(client: &Client, accepted: &Value) -> anyhow::Result<Ended> {
    let mut progress = Progress::new(text(accepted, "operation_id"));
    let mut ended = None;
    client
        .follow(text(accepted, "id"), |kind, data| {
            ended = progress.event(kind, data);
            ended.is_some()
        })
        .await?;
    ended.ok_or_else(|| anyhow::anyhow!("the events ended early"))
}

async fn watch(client: &Client, accepted: &Value) -> anyhow::Result<ExitCode> {
    let ended = follow(client, accepted).await?;
    show(client, text(accepted, "id"), false, false).await?;
    Ok(if ended.state == "succeeded" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(client: &Client) -> anyhow::Result<ExitCode> {
    let mut cursor = String::new();
    println!("{:<20}  {:<17}  {:<28}  NAME", "ID", "STATUS", "ENDPOINT");
    loop {
        let page = client.json(Method::GET, &format!("/platform/projects?limit=200{cursor}"), None).await?;
        for project in page["projects"].as_array().into_iter().flatten() {
            let [id, status, endpoint, name] = ["id", "status", "endpoint", "name"].map(|key| text(project, key));
            println!("{id:<20}  {status:<17}  {endpoint:<28}  {name}");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

async fn show(client: &Client, id: &str, credentials: bool, raw: bool) -> anyhow::Result<ExitCode> {
    let project = client.json(Method::GET, &format!("/platform/projects/{id}"), None).await?;
    if raw {
        println!("{}", serde_json::to_string_pretty(&project)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!();
    println!("{:<12} {:<10} {:>8}  {:<28} REASON", "SERVICE", "HEALTH", "LATENCY", "PROBE");
    for (service, check) in project["health_checks"].as_object().into_iter().flatten() {
        let state = project["services"][service].as_str().unwrap_or("unknown");
        let latency = format!("{} ms", check["latency_ms"]);
        println!("{service:<12} {state:<10} {latency:>8}  {:<28} {}", text(check, "endpoint"), text(check, "reason"));
    }
    println!();
    for key in ["id", "name", "status", "endpoint", "database_url"] {
        println!("{key:<12} {}", text(&project, key));
    }
    if let Some(error) = project["error"].as_object() {
        let field = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        println!("{:<12} {} in step {}: {}", "error", field("code"), field("step"), field("message"));
        for line in error.get("log_tail").and_then(Value::as_array).into_iter().flatten() {
            println!("{:<12} | {}", "", line.as_str().unwrap_or_default());
        }
    }
    if credentials {
        let secret = client.json(Method::GET, &format!("/platform/projects/{id}/credentials"), None).await?;
        println!("{:<12} {}", "database", text(&secret, "database_url"));
        for (name, key) in secret["api_keys"].as_object().into_iter().flatten() {
            println!("{name:<12} {}", key.as_str().unwrap_or_default());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

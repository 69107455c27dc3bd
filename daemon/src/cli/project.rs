//! `supamanager project`: what Studio does over REST, for a terminal.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::choices::ChoiceArgs;
use super::client::{Client, DEADLINE};
use super::progress::{Ended, Progress};
use super::update::{UpdateArgs, update};
use super::usage::usage;
use super::{lost, out};

/// How long the daemon may take to answer after a command was given up.
const ANSWER_AFTER: Duration = Duration::from_secs(15);

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
        /// A service to go without; may be given several times.
        #[arg(long = "off", value_name = "SERVICE")]
        off: Vec<String>,
        #[command(flatten)]
        plugins: ChoiceArgs,
        /// Cores over all services, such as 1.0 or 500m; none is no limit.
        #[arg(long)]
        cpu: Option<String>,
        /// Memory over all services, such as 2GB or 2GiB; none is no limit.
        #[arg(long)]
        memory: Option<String>,
        /// What its folder may hold, such as 10GB; none is no limit.
        #[arg(long)]
        storage: Option<String>,
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
    /// List projects that are on this machine and that the daemon does not know any more.
    Lost {
        /// Print the daemon's own JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a lost project known again, with its ports, keys and data.
    Adopt {
        /// The project's id.
        id: String,
    },
    /// Remove everything that is left of a lost project.
    Purge {
        /// The project's id.
        id: String,
        /// The id once more: a purge cannot be taken back.
        #[arg(long = "yes-delete-everything-of", value_name = "ID")]
        confirm: String,
        /// Return as soon as it is accepted.
        #[arg(long)]
        no_wait: bool,
    },
    /// Change its name, sets or services; shows the plan first.
    Update(UpdateArgs),
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
    /// Stop every container of a project; its data stays.
    Pause {
        /// The project's id.
        id: String,
    },
    /// Start a paused project and wait until it is healthy.
    Resume {
        /// The project's id.
        id: String,
    },
    /// Stop and start a project's services.
    Restart {
        /// The project's id.
        id: String,
        /// Only this service; may be given more than once.
        #[arg(long = "service")]
        services: Vec<String>,
    },
    /// Turn the operation that is under way round.
    Cancel {
        /// The project's id.
        id: String,
    },
    /// End an operation that does not come back by itself, or a delete that hangs.
    Force {
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
        /// Only since then: a time, or how long ago, such as 10m.
        #[arg(long)]
        since: Option<String>,
        /// Go on with every line that is written, until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
    },
    /// Show what a project and its services used.
    Usage {
        /// The project's id.
        id: String,
        /// How far back: `30m`, `1h`, `7d`.
        #[arg(long, default_value = "1h")]
        window: String,
    },
    /// Run a command in a service's container: `exec ID db -- psql -l`.
    Exec {
        /// The project's id.
        id: String,
        /// The service.
        service: String,
        /// Milliseconds until it is given up.
        #[arg(long)]
        timeout_ms: Option<u64>,
        /// Program and arguments; no shell reads them.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
}

/// Runs one command.
///
/// # Errors
/// The daemon's own sentence.
pub async fn run(command: ProjectCommand) -> anyhow::Result<ExitCode> {
    let client = Client::from_environment()?;
    match command {
        ProjectCommand::Create { name, region, image_set, template_set, off, plugins, cpu, memory, storage, no_wait } => {
            let mut body = Map::from_iter([("name".to_owned(), json!(name))]);
            let given = [("region", region), ("image_set", image_set), ("template_set", template_set)];
            body.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))));
            let resources: Map<String, Value> = ([("cpu", cpu), ("memory", memory), ("storage", storage)].into_iter())
                .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
                .collect();
            if !resources.is_empty() {
                body.insert("resources".to_owned(), Value::Object(resources));
            }
            if !off.is_empty() {
                let off: Map<String, Value> = off.into_iter().map(|name| (name, json!(false))).collect();
                body.insert("services".to_owned(), Value::Object(off));
            }
            body.insert("plugins".to_owned(), Value::Object(plugins.as_json()?));
            let created = client.json(Method::POST, "/platform/projects", Some(Value::Object(body))).await?;
            if no_wait {
                out::line(text(&created, "id"))?;
                return Ok(ExitCode::SUCCESS);
            }
            out::line(&format!("project {} ({})", text(&created, "id"), text(&created, "name")))?;
            watch(&client, &created).await
        }
        ProjectCommand::Update(args) => match update(&client, args).await? {
            Ok(accepted) => watch(&client, &accepted).await,
            Err(done) => Ok(done),
        },
        ProjectCommand::Retry { id } => change(&client, &id, "retry", None).await,
        ProjectCommand::Pause { id } => change(&client, &id, "pause", None).await,
        ProjectCommand::Resume { id } => change(&client, &id, "resume", None).await,
        ProjectCommand::Restart { id, services } => change(&client, &id, "restart", Some(json!({ "services": services }))).await,
        ProjectCommand::Cancel { id } => {
            let accepted = client.json(Method::POST, &format!("/platform/projects/{id}/cancel"), None).await?;
            // Turned round is what was asked for, so an operation that ends as failed is a success here.
            out::line(&follow(&client, &accepted).await?.status)?;
            Ok(ExitCode::SUCCESS)
        }
        ProjectCommand::Force { id } => {
            let accepted = client.json(Method::POST, &format!("/platform/projects/{id}/force"), None).await?;
            out::line(text(&accepted, "status"))?;
            Ok(ExitCode::SUCCESS)
        }
        ProjectCommand::Watch { id } => {
            let operations = client.json(Method::GET, &format!("/platform/projects/{id}/operations"), None).await?;
            let newest = text(&operations["operations"][0], "id");
            watch(&client, &json!({"id": id, "operation_id": newest})).await
        }
        ProjectCommand::Usage { id, window } => usage(&client, &id, &window).await,
        ProjectCommand::List => list(&client).await,
        ProjectCommand::Show { id, credentials, json } => show(&client, &id, credentials, json).await,
        ProjectCommand::Delete { id, confirm, no_wait } => {
            let body = Some(json!({ "confirm": confirm }));
            let accepted = client.json(Method::DELETE, &format!("/platform/projects/{id}"), body).await?;
            deleted(&client, &accepted, no_wait).await
        }
        ProjectCommand::Lost { json } => lost::list(&client, json).await,
        ProjectCommand::Adopt { id } => lost::adopt(&client, &id).await,
        ProjectCommand::Purge { id, confirm, no_wait } => {
            let accepted = lost::purge(&client, &id, &confirm).await?;
            deleted(&client, &accepted, no_wait).await
        }
        ProjectCommand::Logs { id, service, tail, since, follow } => {
            let since = since.map(|since| format!("&since={}", since.replace('+', "%2B"))).unwrap_or_default();
            let path = format!("/platform/projects/{id}/logs?service={service}&tail={tail}{since}");
            if !follow {
                out::text(&client.text(&path).await?)?;
                return Ok(ExitCode::SUCCESS);
            }
            client
                .follow(&format!("{path}&follow=true"), |kind, line| {
                    if kind == "line" {
                        out::line(&format!("{} {}", text(line, "timestamp"), text(line, "text")))?;
                    }
                    Ok(kind == "end")
                })
                .await?;
            out::note("the project is deleted");
            Ok(ExitCode::SUCCESS)
        }
        ProjectCommand::Exec { id, service, timeout_ms, argv } => {
            let body = json!({"service": service, "argv": argv, "timeout_ms": timeout_ms});
            let deadline = timeout_ms.map_or(DEADLINE, |ms| Duration::from_millis(ms).saturating_add(ANSWER_AFTER));
            let path = format!("/platform/projects/{id}/exec");
            let ran = client.json_within(deadline, Method::POST, &path, Some(body)).await?;
            let code = ExitCode::from(u8::try_from(ran["exit_code"].as_i64().unwrap_or(1)).unwrap_or(1));
            let printed = out::text(text(&ran, "stdout"));
            let _ = write!(std::io::stderr().lock(), "{}", text(&ran, "stderr"));
            if ran["truncated"] == json!(true) {
                out::note("(the output was cut at limits.exec_output_bytes)");
            }
            match printed {
                // What it ended with is said even when nobody reads what it printed.
                Err(error) if !error.is::<out::ReaderGone>() => Err(error),
                _ => Ok(code),
            }
        }
    }
}

async fn deleted(client: &Client, accepted: &Value, no_wait: bool) -> anyhow::Result<ExitCode> {
    if no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = follow(client, accepted).await?;
    out::line(&ended.status)?;
    Ok(if ended.status == "DELETED" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) async fn follow(client: &Client, accepted: &Value) -> anyhow::Result<Ended> {
    let mut progress = Progress::new(text(accepted, "operation_id"));
    let mut ended = None;
    client
        .follow(&format!("/platform/projects/{}/events", text(accepted, "id")), |kind, data| {
            ended = progress.event(kind, data)?;
            Ok(ended.is_some())
        })
        .await?;
    ended.ok_or_else(|| anyhow::anyhow!("the events ended early"))
}

async fn change(client: &Client, id: &str, verb: &str, body: Option<Value>) -> anyhow::Result<ExitCode> {
    let accepted = client.json(Method::POST, &format!("/platform/projects/{id}/{verb}"), body).await?;
    watch(client, &accepted).await
}

async fn watch(client: &Client, accepted: &Value) -> anyhow::Result<ExitCode> {
    let ended = follow(client, accepted).await?;
    show(client, text(accepted, "id"), false, false).await?;
    Ok(if ended.state == "succeeded" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(client: &Client) -> anyhow::Result<ExitCode> {
    let mut cursor = String::new();
    out::line(&format!("{:<20}  {:<17}  {:<28}  NAME", "ID", "STATUS", "ENDPOINT"))?;
    loop {
        let page = client.json(Method::GET, &format!("/platform/projects?limit=200{cursor}"), None).await?;
        for project in page["projects"].as_array().into_iter().flatten() {
            let [id, status, endpoint, name] = ["id", "status", "endpoint", "name"].map(|key| text(project, key));
            out::line(&format!("{id:<20}  {status:<17}  {endpoint:<28}  {name}"))?;
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
        out::line(&serde_json::to_string_pretty(&project)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    out::line("")?;
    out::line(&format!("{:<12} {:<10} {:>8}  {:<28} REASON", "SERVICE", "HEALTH", "LATENCY", "PROBE"))?;
    for (service, check) in project["health_checks"].as_object().into_iter().flatten() {
        let state = project["services"][service].as_str().unwrap_or("unknown");
        let latency = format!("{} ms", check["latency_ms"]);
        out::line(&format!("{service:<12} {state:<10} {latency:>8}  {:<28} {}", text(check, "endpoint"), text(check, "reason")))?;
    }
    out::line("")?;
    for key in ["id", "name", "status", "endpoint", "database_url"] {
        out::line(&format!("{key:<12} {}", text(&project, key)))?;
    }
    // What the template set names beside them.
    let more = project.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_url") && *key != "database_url");
    for (key, url) in more {
        out::line(&format!("{key:<12} {}", url.as_str().unwrap_or_default()))?;
    }
    let [cpu, memory, storage] = ["cpu", "memory", "storage"].map(|key| text(&project["resources"], key));
    out::line(&format!("{:<12} cpu {cpu}, memory {memory}, storage {storage}", "resources"))?;
    if let Some(error) = project["error"].as_object() {
        let field = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        out::line(&format!("{:<12} {} in step {}: {}", "error", field("code"), field("step"), field("message")))?;
        for line in error.get("log_tail").and_then(Value::as_array).into_iter().flatten() {
            out::line(&format!("{:<12} | {}", "", line.as_str().unwrap_or_default()))?;
        }
    }
    if credentials {
        let secret = client.json(Method::GET, &format!("/platform/projects/{id}/credentials"), None).await?;
        out::line(&format!("{:<12} {}", "database", text(&secret, "database_url")))?;
        for (name, key) in secret["api_keys"].as_object().into_iter().flatten() {
            out::line(&format!("{name:<12} {}", key.as_str().unwrap_or_default()))?;
        }
        for (name, login) in secret["logins"].as_object().into_iter().flatten() {
            println!("{name:<12} {} as {} with {}", text(login, "url"), text(login, "user"), text(login, "password"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

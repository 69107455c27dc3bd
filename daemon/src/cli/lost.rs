//! `supamanager project lost`, `adopt` and `purge`: projects that are there and that the store does not know.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::out;

/// Lists them with what is left of each.
///
/// # Errors
/// The daemon's own sentence.
pub async fn list(client: &Client, raw: bool) -> anyhow::Result<ExitCode> {
    let lost = client.json(Method::GET, "/platform/lost-projects", None).await?;
    if raw {
        out::line(&serde_json::to_string_pretty(&lost)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let projects = lost["projects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if projects.is_empty() {
        out::line("no project is lost")?;
    }
    for project in projects {
        show(project)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes one known again and says where it stands.
///
/// # Errors
/// The daemon's own sentence.
pub async fn adopt(client: &Client, id: &str) -> anyhow::Result<ExitCode> {
    let adopted = client.json(Method::POST, &format!("/platform/lost-projects/{id}/adopt"), None).await?;
    out::line(&format!("adopted {} ({}), {}", text(&adopted, "id"), text(&adopted, "name"), text(&adopted, "status")))?;
    Ok(ExitCode::SUCCESS)
}

/// Has everything of one removed; the answer is that of a delete.
///
/// # Errors
/// The daemon's own sentence.
pub async fn purge(client: &Client, id: &str, confirm: &str) -> anyhow::Result<Value> {
    client.json(Method::DELETE, &format!("/platform/lost-projects/{id}"), Some(json!({ "confirm": confirm }))).await
}

fn show(project: &Value) -> anyhow::Result<()> {
    let id = text(project, "id");
    out::line(&format!("{id}  {}", project["name"].as_str().unwrap_or("(its name is not known)")))?;
    let list = |key: &str| project[key].as_array().cloned().unwrap_or_default();
    let container = |of: &Value| format!("{} {}", of["service"].as_str().unwrap_or("helper"), text(of, "state"));
    let network = |of: &Value| format!("{} on {}", text(of, "name"), of["subnet"].as_str().unwrap_or("an unknown subnet"));
    let volume = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    field("containers", &list("containers").iter().map(container).collect::<Vec<_>>())?;
    field("network", &list("networks").iter().map(network).collect::<Vec<_>>())?;
    field("volumes", &list("volumes").iter().map(volume).collect::<Vec<_>>())?;
    field("folder", &[if project["folder"] == json!(true) { "is there" } else { "is gone" }.to_owned()])?;
    if project["adoptable"] == json!(true) {
        field("adopt", &[format!("supamanager project adopt {id}")])?;
    }
    for obstacle in list("obstacles") {
        field("in the way", &[obstacle.as_str().unwrap_or_default().to_owned()])?;
    }
    field("purge", &[format!("supamanager project purge {id} --yes-delete-everything-of {id}")])
}

fn field(name: &str, values: &[String]) -> anyhow::Result<()> {
    let values = if values.is_empty() { "none".to_owned() } else { values.join(", ") };
    out::line(&format!("  {name:<11} {values}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

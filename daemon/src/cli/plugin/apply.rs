//! `supamanager plugin apply`: a post-create plugin does its work on projects that were there before it, one after the other.

use anyhow::bail;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::project::follow;

/// Applies a plugin to these projects, or to all that are active.
///
/// # Errors
/// When one of them failed; the others are done.
pub async fn apply(client: &Client, name: &str, projects: Vec<String>, all: bool) -> anyhow::Result<()> {
    let projects = if all { active(client).await? } else { projects };
    let mut failed = 0;
    for (number, id) in projects.iter().enumerate() {
        println!("[{}/{}] {id}", number + 1, projects.len());
        match one(client, name, id).await {
            Ok(true) => {}
            Ok(false) => failed += 1,
            Err(error) => {
                println!("      not applied: {error:#}");
                failed += 1;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} projects went wrong", projects.len());
    }
    println!("applied to {} projects", projects.len());
    Ok(())
}

async fn one(client: &Client, name: &str, id: &str) -> anyhow::Result<bool> {
    let path = format!("/platform/projects/{id}/apply");
    let accepted = client.json(Method::POST, &path, Some(json!({ "plugin": name }))).await?;
    Ok(follow(client, &accepted).await?.state == "succeeded")
}

/// Those that run.
async fn active(client: &Client) -> anyhow::Result<Vec<String>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.json(Method::GET, &format!("/platform/projects?limit=200{cursor}"), None).await?;
        let projects = page["projects"].as_array().into_iter().flatten();
        let runs = |project: &&Value| project["status"].as_str().is_some_and(|status| status.starts_with("ACTIVE"));
        found.extend(projects.filter(runs).filter_map(|project| project["id"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

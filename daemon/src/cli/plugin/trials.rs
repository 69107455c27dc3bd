//! `supamanager plugin shadow | trial | promote`: a newer version of a probe plugin, tried on live projects before it decides.
//! The files go where the daemon finds them, the rest is said over REST.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::changed;
use crate::cli::client::Client;
use crate::plugin_host::{CANDIDATES, COMPONENT_FILE, Limits, MANIFEST_FILE, PluginHost, SIGNATURE_FILE};

/// Between two looks at a trial.
const LOOK: Duration = Duration::from_secs(1);
/// The share of projects of each wave.
const WAVES: [u8; 3] = [10, 50, 100];

/// Puts a version among the candidates and has it asked beside the running one, for so long; shows where they differ.
///
/// # Errors
/// When it does not load, may not run, or is no newer version of a probe plugin.
pub async fn shadow(client: &Client, folder: &Path, lasts: Duration, detach: bool, plugins_dir: &Path) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
    let plugin = PluginHost::inspect(&folder, Limits::default()).await?;
    put(&folder, &plugins_dir.join(CANDIDATES), &plugin.name)?;
    let path = path(&plugin.name);
    let begun = client.json(Method::POST, &path, Some(json!({ "for_s": lasts.as_secs().max(1) }))).await?;
    println!("{} {} is tried beside {}", plugin.name, text(&begun, "candidate"), text(&begun, "running"));
    if detach {
        println!("look at it with: supamanager plugin trial {}", plugin.name);
        return Ok(());
    }
    let (ends, mut told) = (Instant::now() + lasts, 0);
    while Instant::now() < ends {
        tokio::time::sleep(LOOK.min(ends.saturating_duration_since(Instant::now()))).await;
        let now = client.json(Method::GET, &path, None).await?;
        let (compared, differ) = (count(&now, "compared"), now["differences"].as_array().map_or(0, Vec::len));
        if differ > told {
            told = differ;
            println!("{compared} compared, {differ} kinds of differences");
        }
    }
    show(&client.json(Method::GET, &path, None).await?);
    println!("let it decide with: supamanager plugin promote {} --all", plugin.name);
    Ok(())
}

/// Shows a trial, and ends it if that is wanted.
///
/// # Errors
/// When nothing is on trial.
pub async fn trial(client: &Client, name: &str, end: bool) -> anyhow::Result<()> {
    let method = if end { Method::DELETE } else { Method::GET };
    show(&client.json(method, &path(name), None).await?);
    if end {
        println!("ended: the running version decides for all projects");
    }
    Ok(())
}

/// For whom the version on trial is to decide.
pub struct Wanted {
    /// These projects.
    pub projects: Vec<String>,
    /// So many of a hundred of the others.
    pub percent: u8,
    /// It may find worse what the running version finds healthy.
    pub may_worsen: bool,
}

/// Lets the version on trial decide for some projects.
///
/// # Errors
/// When nothing is on trial, or there is no such project.
pub async fn promote(client: &Client, name: &str, wanted: &Wanted) -> anyhow::Result<()> {
    show(&decide(client, name, wanted).await?);
    Ok(())
}

/// Lets the version on trial decide for more and more projects, and takes it in when nothing speaks against it.
///
/// # Errors
/// When the daemon has taken it back.
pub async fn promote_all(client: &Client, name: &str, wave: Duration, may_worsen: bool) -> anyhow::Result<()> {
    for percent in WAVES {
        decide(client, name, &Wanted { projects: Vec::new(), percent, may_worsen }).await?;
        println!("{percent:>3} % of the projects, for {} s", wave.as_secs());
        let ends = Instant::now() + wave;
        while Instant::now() < ends {
            tokio::time::sleep(LOOK.min(ends.saturating_duration_since(Instant::now()))).await;
            let now = client.json(Method::GET, &path(name), None).await?;
            if let Some(why) = now["taken_back"].as_str() {
                show(&now);
                bail!("the daemon took it back: {why}");
            }
        }
    }
    let answer = client.json(Method::PUT, &path(name), None).await?;
    let changes = answer["changes"].as_array().cloned().unwrap_or_default();
    changes.iter().filter(|change| change["plugin"] == name).for_each(changed);
    println!("go back with: supamanager plugin rollback {name}");
    Ok(())
}

async fn decide(client: &Client, name: &str, wanted: &Wanted) -> anyhow::Result<Value> {
    let body = json!({"projects": wanted.projects, "percent": wanted.percent, "may_worsen": wanted.may_worsen});
    client.json(Method::POST, &format!("/platform/plugins/{name}/promote"), Some(body)).await
}

/// Whole: the daemon never finds half a version.
fn put(folder: &Path, candidates: &Path, name: &str) -> anyhow::Result<()> {
    let (place, unfinished) = (candidates.join(name), candidates.join(format!(".{name}.new")));
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).with_context(|| format!("{}", unfinished.display()))?;
    for file in [MANIFEST_FILE, COMPONENT_FILE, SIGNATURE_FILE] {
        let from = folder.join(file);
        if from.exists() {
            fs::copy(&from, unfinished.join(file)).with_context(|| format!("{}", from.display()))?;
        }
    }
    let _ = fs::remove_dir_all(&place);
    fs::rename(&unfinished, &place).with_context(|| format!("{}", place.display()))
}

fn path(name: &str) -> String {
    format!("/platform/plugins/{name}/trial")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn show(trial: &Value) {
    let number = |key| count(trial, key);
    println!("running    {}\ncandidate  {} ({})", text(trial, "running"), text(trial, "candidate"), text(trial, "version"));
    println!("compared   {}, of which {} the same, {} left out", number("compared"), number("same"), number("left_out"));
    println!(
        "decides    for {} projects and {} % of the others: {} verdicts",
        trial["projects"].as_array().map_or(0, Vec::len),
        number("percent"),
        number("decided")
    );
    for (code, count) in trial["failures"].as_object().into_iter().flatten() {
        println!("failed     {count} times: {code}");
    }
    if let Some(why) = trial["taken_back"].as_str() {
        println!("taken back {why}");
    }
    let differences = trial["differences"].as_array().cloned().unwrap_or_default();
    if !differences.is_empty() {
        println!("{:<12} {:<10} {:<10} {:>6}  the last reason", "service", "running", "candidate", "count");
    }
    for one in &differences {
        let (service, running, candidate) = (text(one, "service"), text(one, "running"), text(one, "candidate"));
        println!("{service:<12} {running:<10} {candidate:<10} {:>6}  {}", count(one, "count"), text(one, "reason"));
    }
}

//! `supamanager doctor`: what would keep a project from coming up on this machine, how many more fit, and what to do about
//! it. With `--verify` also whether the engine has what the store says. It changes neither the store nor the engine.

mod capacity;
mod engine;
mod folder;
mod host;
mod parts;
mod ports;
mod verify;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::backend::docker::DockerBackend;
use crate::config::Config;
use crate::domain::{Project, Secret};
use crate::store::{ListFilter, Store, UsageSample};
use crate::templates::{LoadedSet, Templates};

/// How it looks and what it prints.
#[derive(Args)]
pub struct DoctorArgs {
    /// Also compare the store with the engine: nothing leaked, nothing foreign under our names, nothing held twice.
    #[arg(long)]
    verify: bool,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Advice,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    text: String,
}

fn good(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, text: text.into() }
}

fn advice(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Advice, text: text.into() }
}

fn bad(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Bad, text: text.into() }
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    capacity: Option<capacity::Capacity>,
    /// Only with `--verify`.
    differences: Option<Vec<verify::Difference>>,
    bad: usize,
}

/// What the store of this folder says, as far as it can be read.
#[derive(Default)]
struct Known {
    store: Option<Store>,
    /// Every project, the deleted ones too.
    projects: Vec<Project>,
    usage: Vec<UsageSample>,
}

/// Prints what it finds; fails when something is bad or different.
///
/// # Errors
/// Only when the report itself cannot be written.
pub async fn run(args: DoctorArgs, config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<ExitCode> {
    let host = Some(config.docker_host.as_str()).filter(|host| !host.is_empty());
    let docker = DockerBackend::connect(host);
    let mut findings = Vec::new();
    let (known, about_store) = known(config).await;
    let loaded = Templates::load(&config.templates_dir);
    let engine = match &docker {
        Ok(docker) => engine::look(docker, config, loaded.as_ref().ok(), &mut findings).await,
        Err(error) => {
            findings.push(bad(format!("engine: {error}")));
            None
        }
    };
    findings.push(parts::plugins(config).await);
    findings.push(parts::templates(config, &loaded));
    let set = loaded.as_ref().ok().and_then(|loaded| loaded.set(&config.template_set).ok());
    findings.extend(about_store);
    findings.push(folder::key(config, secret.as_ref()));
    findings.push(folder::extended_attributes(config));
    findings.extend(set.as_deref().map(|set| ports::ranges(config, set)).unwrap_or_default());
    findings.extend(ports::ephemeral(config, set.as_deref()));
    findings.push(ports::subnets(config));
    findings.extend(host::look());
    let capacity = set.as_deref().map(|set| capacity::of(config, set, engine.as_ref(), &known));
    findings.extend(capacity.as_ref().map(capacity::finding));
    let differences = match (&docker, args.verify) {
        (Ok(docker), true) => Some(verification(docker, &known, loaded.as_ref().ok(), config, &mut findings).await),
        _ => None,
    };
    if let Some(store) = &known.store {
        store.close().await;
    }
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
    let report = Report { bad: wrong + differences.as_ref().map_or(0, Vec::len), findings, capacity, differences };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    for finding in &report.findings {
        let mark = match finding.verdict {
            Verdict::Ok => "ok    ",
            Verdict::Advice => "advice",
            Verdict::Bad => "BAD   ",
        };
        println!("{mark}  {}", finding.text);
    }
    for limit in report.capacity.iter().flat_map(|capacity| &capacity.limits) {
        println!("        {:>6}  {}", limit.more, limit.text);
    }
    for difference in report.differences.iter().flatten() {
        println!("BAD     {}: {}", difference.invariant, difference.what);
        println!("        {}", difference.way_out);
    }
    println!("{} checks, {} bad", report.findings.len() + report.differences.as_ref().map_or(0, Vec::len), report.bad);
}

async fn verification(
    docker: &DockerBackend,
    known: &Known,
    loaded: Option<&Templates>,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> Vec<verify::Difference> {
    let services = |project: &Project| -> Option<Vec<String>> {
        let set: std::sync::Arc<LoadedSet> = loaded?.of_shape(&project.shape()).ok()?;
        Some(set.spec.services.iter().map(|service| service.name.to_string()).collect())
    };
    match verify::look(docker, known, &services, &config.data_dir.join("projects")).await {
        Ok(seen) => {
            let waiting = match seen.in_transit {
                0 => String::new(),
                number => format!("; {number} are under way and were left out"),
            };
            let text =
                format!("verify: {} projects against the engine, {} differences{waiting}", seen.projects, seen.differences.len());
            findings.push(good(text));
            seen.differences
        }
        Err(error) => {
            findings.push(bad(format!("verify: {error:#}")));
            Vec::new()
        }
    }
}

/// Reads the store without changing it. A place without a store is a machine before its first start.
async fn known(config: &Config) -> (Known, Option<Finding>) {
    let url = config.store_url();
    let (place, store) = match Store::file(&url) {
        Some(file) if !file.exists() => (config.data_dir.display().to_string(), Ok(None)),
        Some(file) => (file.display().to_string(), Store::look(&file).await.map(Some)),
        // Its URL may hold a password.
        None => ("the database on PostgreSQL".to_owned(), Store::look_on_postgres(&url).await),
    };
    let read = match store {
        Ok(Some(store)) => read(store).await,
        Ok(None) => return (Known::default(), Some(good(format!("store: none yet in {place}, the first start makes it")))),
        Err(error) => Err(error),
    };
    match read {
        Ok(known) => {
            let living = known.projects.iter().filter(|project| project.deleted_at.is_none()).count();
            let text = format!("store: {place} with {living} projects");
            (known, Some(good(text)))
        }
        Err(error) => (Known::default(), Some(bad(format!("store: {place}: {error}")))),
    }
}

async fn read(store: Store) -> Result<Known, crate::store::StoreError> {
    let projects = all_projects(&store).await?;
    let mut usage = Vec::new();
    for project in projects.iter().filter(|project| project.status.is_active()) {
        usage.extend(store.usage(&project.id).await?);
    }
    Ok(Known { store: Some(store), projects, usage })
}

/// Those that are deleted too: something of them may be left.
async fn all_projects(store: &Store) -> Result<Vec<Project>, crate::store::StoreError> {
    store.all_projects(ListFilter { deleted: true, ..ListFilter::default() }).await
}

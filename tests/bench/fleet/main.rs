//! What a fleet costs at rest: the daemon as `app` puts it together, on the fake engine, with N projects of ten services
//! that are probed every ten seconds.
//!
//! Three kinds of processes, so that nobody's time is taken for another's: this one asks and measures, one makes the
//! projects (real creates) and ends, one is the daemon, started anew on what was made. The fake engine lives in the
//! daemon's process and is part of its figures.

mod client;
mod daemon;
mod idle;
mod loopback;
mod process;
mod seed;
mod table;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

/// What is asked for on the command line.
pub struct Wanted {
    /// Projects, one fleet after the other.
    pub projects: Vec<usize>,
    /// How long a fleet is watched at rest.
    pub rest: Duration,
    /// Clients at once.
    pub clients: usize,
    /// Where the fleets lie.
    pub folder: PathBuf,
    /// Fleets of an earlier run are used again.
    pub keep: bool,
}

const USAGE: &str = "fleet [--projects 10,100,900] [--seconds 60] [--clients 50] [--folder FOLDER] [--keep]";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["seed", folder, projects] => seed::run(folder.as_ref(), projects.parse()?).await,
        ["daemon", folder, port] => daemon::run(folder.as_ref(), port.parse()?).await,
        ["loopback", port] => loopback::run(port.parse()?).await,
        arguments => measure(wanted(arguments)?).await,
    }
}

fn wanted(arguments: &[&str]) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        projects: vec![10, 100, 900],
        rest: Duration::from_secs(60),
        clients: 50,
        folder: world::root().join("target/bench/fleet"),
        keep: false,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} takes a value: {USAGE}"));
        match *name {
            "--projects" => wanted.projects = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seconds" => wanted.rest = Duration::from_secs(value()?.parse()?),
            "--clients" => wanted.clients = value()?.parse()?,
            "--folder" => wanted.folder = value()?.into(),
            "--keep" => wanted.keep = true,
            other => bail!("`{other}` is unknown: {USAGE}"),
        }
    }
    Ok(wanted)
}

async fn measure(wanted: Wanted) -> anyhow::Result<()> {
    let mut fleets = Vec::new();
    for projects in &wanted.projects {
        fleets.push(idle::measure(&wanted, *projects).await?);
    }
    table::fleets(&fleets, &wanted);
    table::loopback(&loopback::measure().await?);
    Ok(())
}

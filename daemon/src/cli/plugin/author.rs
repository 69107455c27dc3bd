//! `supamanager plugin check | run | test | bench`: an author's side of plugins. Each is a call in the real host, with its
//! limits, against a project that a fixture file describes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use crate::plugin_host::build::{Builder, recipe};
use crate::plugin_host::{Bench, HookLimits, Limits, PluginHost, Trial, Tried};

/// Where a crate's fixtures lie.
const FIXTURES: &str = "fixtures";

/// Builds a crate and says what a daemon would make of it, step by step; nothing is put anywhere.
///
/// # Errors
/// The first step that fails, with the way out.
pub async fn check(crate_folder: &Path) -> anyhow::Result<()> {
    let built = Built::of(crate_folder).await?;
    let plugin = PluginHost::inspect(&built.folder, Limits::default()).await?;
    let hooks: Vec<&str> = plugin.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    println!("built      {} {}, {} KiB, {}", plugin.name, plugin.version, plugin.size.div_ceil(1024), plugin.digest);
    println!("contract   {}: the host speaks it", plugin.contract);
    let imports: Vec<&str> = plugin.imports.iter().map(|interface| interface.as_str()).collect();
    println!("imports    {}: the host links them", if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") });
    println!("describes  itself as it should: {}", plugin.summary);
    println!("hooks      {}", hooks.join(", "));
    for line in plugin.reaches.lines() {
        println!("to grant   {line}");
    }
    let count = fixtures(&crate_folder.join(FIXTURES))?.len();
    println!("fixtures   {count}{}", if count == 0 { ": `plugin test --record` makes the answers of one" } else { "" });
    Ok(())
}

/// One call: what it answered, what it asked and what it used of each limit.
///
/// # Errors
/// A fixture that cannot be read, and a call that fails.
pub async fn run(plugin: &Path, input: &Path, hook: Option<&str>) -> anyhow::Result<()> {
    let built = Built::of(plugin).await?;
    let bench = Bench::load(&built.folder).await?;
    let mut trial = read(input)?;
    if let Some(word) = hook {
        trial.hook = Some(serde_json::from_value(json!(word)).with_context(|| format!("--hook {word}"))?);
    }
    let tried = bench.call(&trial).await.map_err(|problem| anyhow::anyhow!("{}: {problem}", input.display()))?;
    tried.asked.iter().for_each(|asked| println!("asked      {asked}"));
    tried.progress.iter().for_each(|said| println!("progress   {said}"));
    tried.lines.iter().for_each(|line| println!("log        {line}"));
    println!("{}", serde_json::to_string_pretty(&tried.outcome())?);
    for (what, used, allowed) in usage(&tried) {
        println!("{what:<10} {used} of {allowed}");
    }
    if tried.output.is_err() {
        bail!("the call failed");
    }
    Ok(())
}

/// Every fixture of a plugin; with `record` what comes of each is written into it.
///
/// # Errors
/// When one does not come out as expected.
pub async fn test(plugin: &Path, folder: Option<&Path>, record: bool) -> anyhow::Result<()> {
    let built = Built::of(plugin).await?;
    let bench = Bench::load(&built.folder).await?;
    let folder = folder.map_or_else(|| plugin.join(FIXTURES), Path::to_owned);
    let files = fixtures(&folder)?;
    if files.is_empty() {
        bail!("{}: no fixtures; one is a JSON file with `input`, and `host` for what the plugin asks", folder.display());
    }
    let mut failed = 0;
    for file in &files {
        let mut trial = read(file)?;
        let tried = bench.call(&trial).await.map_err(|problem| anyhow::anyhow!("{}: {problem}", file.display()))?;
        let (outcome, name) = (tried.outcome(), file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        let took = tried.used.took.as_secs_f64() * 1e3;
        if record {
            trial.expected = Some(outcome);
            fs::write(file, serde_json::to_string_pretty(&trial)? + "\n").with_context(|| format!("{}", file.display()))?;
            println!("recorded   {name}");
        } else if trial.expected.as_ref() == Some(&outcome) {
            println!("ok         {name} ({took:.2} ms)");
        } else {
            failed += 1;
            println!("FAILED     {name}");
            println!("  expected {}", trial.expected.unwrap_or_else(|| json!("nothing yet: --record")));
            println!("  came     {outcome}");
            tried.asked.iter().for_each(|asked| println!("  asked    {asked}"));
            tried.lines.iter().for_each(|line| println!("  log      {line}"));
        }
    }
    if failed > 0 {
        bail!("{failed} of {} fixtures did not come out as expected", files.len());
    }
    println!("{} fixtures", files.len());
    Ok(())
}

/// `cargo test` of a plugin's crate: what cargo built, and its fixtures in the real host, unless single tests are asked for.
///
/// # Errors
/// When either fails.
pub async fn cargo_runner(program: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let native = tokio::process::Command::new(program).args(arguments).status().await;
    let native = native.with_context(|| format!("{}", program.display()))?;
    if !native.success() {
        bail!("{}: {native}", program.display());
    }
    // cargo calls a runner in the folder of the package.
    let here = std::env::current_dir()?;
    // Flags alone ask for everything: a name, a filter or a list is about the unit tests.
    let all = arguments.iter().all(|argument| argument.starts_with('-') && argument != "--list" && argument != "--exact");
    if !all || !here.join(crate::plugin_host::MANIFEST_FILE).is_file() {
        return Ok(());
    }
    println!("\nfixtures in the host:");
    test(&here, None, false).await
}

/// Calls with one fixture again and again.
///
/// # Errors
/// A call that fails.
pub async fn bench(plugin: &Path, input: Option<&Path>, calls: usize) -> anyhow::Result<()> {
    let built = Built::of(plugin).await?;
    let begun = Instant::now();
    let bench = Bench::load(&built.folder).await?;
    let loaded = begun.elapsed();
    let file = match input {
        Some(file) => file.to_owned(),
        None => fixtures(&plugin.join(FIXTURES))?.into_iter().next().context("no fixture: name one with --input")?,
    };
    let trial = read(&file)?;
    let mut all = Vec::new();
    for _ in 0..calls.max(1) {
        let tried = bench.call(&trial).await.map_err(|problem| anyhow::anyhow!("{}: {problem}", file.display()))?;
        if let Err(error) = &tried.output {
            tried.lines.iter().for_each(|line| println!("log        {line}"));
            bail!("the call failed: {error}");
        }
        all.push(tried);
    }
    let mut times: Vec<Duration> = all.iter().map(|tried| tried.used.took).collect();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let limits = all[0].limits;
    println!("{} calls with {}", all.len(), file.display());
    println!("{:<14} {:>10.2} ms", "load, compiled", loaded.as_secs_f64() * 1e3);
    println!("{:<14} {:>10.3} ms of {} ms", "call p50", at(0.5), limits.wall.as_millis());
    println!("{:<14} {:>10.3} ms of {} ms", "call p99", at(0.99), limits.wall.as_millis());
    let cpu = all.iter().map(|tried| tried.used.cpu).max().unwrap_or_default();
    println!("{:<14} {:>10.3} ms of {} ms", "CPU, most", cpu.as_secs_f64() * 1e3, limits.cpu.as_millis());
    let memory = all.iter().map(|tried| tried.used.memory_bytes).max().unwrap_or_default();
    println!("{:<14} {:>10} KiB of {} KiB", "memory, most", memory >> 10, limits.memory_bytes >> 10);
    Ok(())
}

fn usage(tried: &Tried) -> [(&'static str, String, String); 4] {
    let HookLimits { wall, cpu, memory_bytes, host_calls, .. } = tried.limits;
    let millis = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    [
        ("time", millis(tried.used.took), millis(wall)),
        ("CPU", millis(tried.used.cpu), millis(cpu)),
        ("memory", kib(tried.used.memory_bytes), kib(memory_bytes)),
        ("host calls", tried.used.host_calls.to_string(), host_calls.to_string()),
    ]
}

fn read(file: &Path) -> anyhow::Result<Trial> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no fixture", file.display()))
}

fn fixtures(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// A plugin that was built: a crate is built into a folder that goes with this, a built one stays where it is.
struct Built {
    folder: PathBuf,
    scratch: Option<PathBuf>,
}

impl Built {
    async fn of(path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
        if !path.join("Cargo.toml").is_file() && recipe(&path)?.is_none() {
            return Ok(Self { folder: path, scratch: None });
        }
        let scratch = std::env::temp_dir().join(format!("supamanager-plugin-{}", std::process::id()));
        // What the compiler makes stays with the crate, so that the next build is short.
        let target = path.join("target/plugin");
        // From here on the folder goes, also when the build fails.
        let mut this = Self { folder: scratch.clone(), scratch: Some(scratch.clone()) };
        let builder = Builder::new(&std::env::vars_os().collect(), &scratch, Some(&target))?;
        this.folder = builder.build(&path).await?.folder;
        Ok(this)
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            let _ = fs::remove_dir_all(scratch);
        }
    }
}

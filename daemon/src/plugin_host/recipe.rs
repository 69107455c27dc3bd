//! Plugins in other languages than Rust: their plugin.toml has a name, a version and `[build] command`, which runs in the folder
//! and leaves `plugin.wasm`, a component or a core module that holds its world.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::build::{BuildError, io};
use super::load::{COMPONENT_FILE, MANIFEST_FILE};
use super::toolchain::Environment;

/// An interpreter that is compiled into a component takes minutes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// What came of it.
pub struct Made {
    /// As plugin.toml says.
    pub name: String,
    /// As plugin.toml says.
    pub version: String,
    /// The rest of plugin.toml.
    pub requested: String,
    /// The file.
    pub wasm: PathBuf,
}

/// The command of a folder that says how it is built; `None` for a crate.
///
/// # Errors
/// [`BuildError::Crate`] naming the key that is wrong.
pub fn read(folder: &Path) -> Result<Option<Vec<String>>, BuildError> {
    if folder.join("Cargo.toml").is_file() {
        return Ok(None);
    }
    let Some(build) = table(folder)?.remove("build") else { return Ok(None) };
    let command = build.as_table().filter(|build| build.len() == 1).and_then(|build| build.get("command"));
    let words = command
        .and_then(toml::Value::as_array)
        .map(|words| words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<String>>());
    match words {
        Some(words) if !words.is_empty() => Ok(Some(words)),
        _ => Err(wrong(folder, "`[build]` holds `command`, a list of words such as [\"sh\", \"build.sh\"]".to_owned())),
    }
}

/// Runs the command.
///
/// # Errors
/// [`BuildError`], when it fails, is late, or leaves nothing.
pub async fn follow(folder: &Path, command: &[String], environment: &Environment) -> Result<Made, BuildError> {
    let mut table = table(folder)?;
    table.remove("build");
    if table.contains_key("sha256") {
        return Err(wrong(folder, "`sha256` is filled in by the build: leave it out".to_owned()));
    }
    let mut take = |key: &str| {
        let value = table.remove(key).and_then(|value| value.as_str().map(str::to_owned));
        value.ok_or_else(|| wrong(folder, format!("`{key}` is missing: a plugin that is no crate says it there")))
    };
    let (name, version) = (take("name")?, take("version")?);
    let requested = toml::to_string(&table).map_err(|error| wrong(folder, error.to_string()))?;
    let wasm = folder.join(COMPONENT_FILE);
    match fs::remove_file(&wasm) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&wasm)(error)),
        _ => {}
    }
    let failed =
        |problem: String| BuildError::Crate { path: folder.to_owned(), problem: format!("`{}`: {problem}", command.join(" ")) };
    let mut run = Command::new(&command[0]);
    run.args(&command[1..]).current_dir(folder).env_clear().envs(environment);
    // What it says is for people, and a caller's standard output may be for a machine.
    let people = std::io::stderr().as_fd().try_clone_to_owned().map_err(io(folder))?;
    run.stdin(Stdio::null()).stdout(people).stderr(Stdio::inherit()).kill_on_drop(true);
    let status = match timeout(DEADLINE, run.status()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("it did not end within {} s", DEADLINE.as_secs()))),
    };
    match (status.success(), wasm.is_file()) {
        (true, true) => Ok(Made { name, version, requested, wasm }),
        (true, false) => Err(failed(format!("it left no {COMPONENT_FILE}"))),
        (false, _) => Err(failed(format!("{status}, see above; README.md of the folder says what it needs"))),
    }
}

fn table(folder: &Path) -> Result<toml::Table, BuildError> {
    let text = fs::read_to_string(folder.join(MANIFEST_FILE));
    let text = text.map_err(|error| wrong(folder, format!("{error}: a plugin says there which hooks it is for")))?;
    text.parse().map_err(|error: toml::de::Error| wrong(folder, error.to_string()))
}

fn wrong(folder: &Path, problem: String) -> BuildError {
    BuildError::Crate { path: folder.join(MANIFEST_FILE), problem }
}

//! The rules of the house as tests: ARCHITECTURE.md states them in words, this file holds the code to them, so that
//! the map stays true without anybody remembering it. Only the standard library, no engine, no daemon: a second.
//!
//! A rule reads code with comments, the inside of literals and test modules blanked out, so that a sentence about
//! `println!` is no violation and a line number is still the one an editor shows.

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use source::{Source, is_word, line_of, take_apart, used_paths, words};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Module -> what it may use. A path allows itself and everything below it. `app`, `cli` and `main` put the parts
/// together and may use all. The same table, with the reasons, is in ARCHITECTURE.md.
const MODULES: [(&str, &[&str]); 22] = [
    ("domain", &[]),
    ("stack", &["domain"]),
    ("clock", &["domain"]),
    ("ports", &[]),
    ("subnets", &[]),
    ("config", &["domain", "subnets"]),
    ("telemetry", &["config", "domain"]),
    ("templates", &["domain"]),
    ("secrets", &["domain"]),
    ("store", &["domain", "backend::ErrorClass"]),
    ("people", &["domain", "store", "clock", "secrets"]),
    ("backend", &["domain", "stack", "clock"]),
    // References to secrets are read in one way everywhere.
    (
        "plugin_host",
        &["domain", "telemetry", "clock", "backend::ErrorClass", "backend::EngineHealth", "stack::compose::references"],
    ),
    ("reach", &["domain", "backend", "secrets", "plugin_host::hooks", "stack::compose", "web"]),
    ("disk", &[]),
    ("web", &[]),
    (
        "lifecycle",
        &[
            "domain",
            "disk",
            "stack",
            "store",
            "ports",
            "subnets",
            "secrets",
            "reach",
            "backend",
            "plugin_host::hooks",
            "plugin_host::PluginHost",
            "plugin_host::Hook",
            "plugin_host::Worker",
            "clock",
            "config",
            "telemetry",
            "templates",
            "notify",
        ],
    ),
    ("notify", &["domain", "store", "clock", "config", "telemetry", "plugin_host::hooks", "plugin_host::PluginHost", "web"]),
    ("health", &["domain", "store", "lifecycle", "reach"]),
    ("holding", &["domain", "disk", "lifecycle"]),
    ("usage", &["domain", "disk", "store", "lifecycle", "backend::Usage"]),
    (
        "http",
        &[
            "domain",
            "lifecycle",
            "people",
            "store",
            "clock",
            "config",
            "telemetry::CallError",
            "telemetry::HookUsage",
            "secrets::ProjectSecrets",
            "backend::ErrorClass",
            "plugin_host::PluginInfo",
            "plugin_host::HookInfo",
            "plugin_host::Change",
            "plugin_host::RollbackError",
            "plugin_host::GrantError",
            "plugin_host::GrantInfo",
            "plugin_host::Difference",
            "plugin_host::Promoted",
            "plugin_host::ShadowError",
            "plugin_host::ShadowTrial",
        ],
    ),
];

/// Modules that put the parts together.
const ROOTS: [&str; 4] = ["app", "cli", "main", "lib"];

/// Below an allowed module and still not for everybody: the engine's one implementation is chosen by the roots.
const INNER: [&str; 1] = ["backend::docker"];

/// Crate -> the only places of `daemon/src` that may name it.
const CONFINED: [(&str, &[&str]); 11] = [
    ("bollard", &["backend/docker/"]),
    ("sqlx", &["store/"]),
    ("wasmtime", &["plugin_host/"]),
    ("wasmparser", &["plugin_host/", "cli/plugin"]),
    ("wit_component", &["plugin_host/", "cli/plugin"]),
    ("axum", &["http/", "app.rs"]),
    ("tower_http", &["http/"]),
    ("tokio_postgres", &["reach/"]),
    ("minijinja", &[]),
    ("serde_saphyr", &["stack/compose/"]),
    ("prometheus_client", &["telemetry"]),
];

/// The environment: `config`, the REST client's two variables (decision 24), and which compiler builds a plugin.
const ENVIRONMENT: [&str; 3] = ["config.rs", "cli/client.rs", "cli/plugin"];

/// Call -> where in guest and daemon code it is allowed, and what to do instead.
const BANNED: [(&str, &[&str], &str); 11] = [
    ("todo!", &[], "finish it or leave it out"),
    ("unimplemented!", &[], "finish it or leave it out"),
    ("dbg!", &[], "use tracing"),
    (".unwrap()", &[], "the outside world never panics us: return an error"),
    (".expect(", &[], "the outside world never panics us: return an error"),
    ("println!", &["daemon/src/cli/"], "use tracing: standard output belongs to the command line"),
    ("print!", &["daemon/src/cli/"], "use tracing: standard output belongs to the command line"),
    ("#[ignore", &[], "a test that does not run proves nothing"),
    ("allow(dead_code)", &[], "take the dead code out"),
    ("prune_", &[], "remove by label: prune takes what is not ours"),
    // The ticker of the wasm engine is a thread: a task would be as late as the executor it protects.
    ("thread::sleep", &["daemon/src/plugin_host/engine.rs"], "use tokio::time::sleep"),
];

/// Another API's own words, which happen to be those of a template set too.
const WORDS_OF_UPSTREAM: &str = "daemon/src/http/management/";
/// Words of a template set that are also names of port ranges in the configuration, or of a project's resources.
const ALSO_PORT_RANGES: [(&str, &str); 7] = [
    ("daemon/src/cli/project.rs", "storage"),
    ("daemon/src/cli/update.rs", "storage"),
    ("daemon/src/cli/usage.rs", "storage"),
    ("daemon/src/config.rs", "db"),
    ("daemon/src/config.rs", "studio"),
    ("daemon/src/cli/doctor.rs", "db"),
    ("daemon/src/cli/doctor.rs", "studio"),
];

const LINES_MAX: usize = 500;

#[test]
fn every_module_uses_only_what_its_row_allows() {
    let rows: BTreeMap<&str, &[&str]> = MODULES.into_iter().collect();
    let mut found = Vec::new();
    for source in daemon() {
        let inside = source.path.trim_start_matches("daemon/src/");
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        if ROOTS.contains(&module) {
            continue;
        }
        let Some(allowed) = rows.get(module) else {
            found.push(format!("{}: module `{module}` has no row in MODULES", source.path));
            continue;
        };
        for (line, used) in used_paths(&source, inside) {
            let own = used.split("::").next() == Some(module);
            let inner = INNER.iter().any(|inner| below(&used, inner));
            if !own && (inner || !allowed.iter().any(|path| below(&used, path))) {
                found.push(format!("{}:{line}: {module} may not use {used}", source.path));
            }
        }
    }
    report(found);
}

#[test]
fn a_crate_of_the_outside_world_stays_in_its_module() {
    let mut found = Vec::new();
    for source in daemon() {
        let inside = source.path.trim_start_matches("daemon/src/");
        for (name, places) in CONFINED {
            if places.iter().any(|place| inside.starts_with(place)) {
                continue;
            }
            let named = words(&source.code).filter(|(at, word)| {
                *word == name
                    && (source.code[at + name.len()..].starts_with("::") || source.code[..*at].trim_end().ends_with("use"))
            });
            found.extend(
                named.map(|(at, _)| format!("{}:{}: {name} belongs to {places:?}", source.path, line_of(&source.code, at))),
            );
        }
    }
    let manifest = fs::read_to_string(format!("{ROOT}/daemon/Cargo.toml")).expect("the daemon's manifest");
    found.extend(manifest.contains("minijinja").then(|| "daemon/Cargo.toml: minijinja belongs to a plugin".to_owned()));
    report(found);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let mut found = Vec::new();
    for source in daemon() {
        let inside = source.path.trim_start_matches("daemon/src/");
        if !ENVIRONMENT.iter().any(|place| inside.starts_with(place)) {
            let reads = ["env::var", "env::vars", "env::args"].iter().flat_map(|call| source.code.match_indices(call));
            found.extend(reads.map(|(at, call)| format!("{}:{}: {call}", source.path, line_of(&source.code, at))));
        }
    }
    report(found);
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let long = files(&["rs", "py", "sh"]).into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{path}: {lines} lines, {LINES_MAX} are allowed: look for a seam"))
    });
    report(long.collect());
}

#[test]
fn banned_calls_are_nowhere_outside_tests() {
    let mut found = Vec::new();
    for source in daemon().into_iter().chain(rust("plugins")).chain(rust("plugin-sdk")) {
        for (call, allowed, instead) in BANNED {
            if allowed.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            let calls = source.code.match_indices(call).filter(|(at, _)| {
                // `eprintln!` and `print!` inside `println!` are other words.
                !call.starts_with(char::is_alphabetic) || !source.code[..*at].ends_with(is_word)
            });
            found.extend(calls.map(|(at, _)| format!("{}:{}: {call}: {instead}", source.path, line_of(&source.code, at))));
        }
    }
    report(found);
}

#[test]
fn no_test_is_switched_off_and_no_code_is_dead() {
    let mut found = Vec::new();
    for source in rust("tests").into_iter().chain(rust("daemon/tests")) {
        for mark in ["#[ignore", "allow(dead_code)"] {
            found.extend(
                source.code.match_indices(mark).map(|(at, _)| format!("{}:{}: {mark}", source.path, line_of(&source.code, at))),
            );
        }
    }
    report(found);
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut found = Vec::new();
    for (path, text) in files(&["rs", "py", "sh", "sql", "toml", "yml", "wit", "md"]) {
        for (number, line) in text.lines().enumerate() {
            found.extend(marks.iter().filter(|mark| line.contains(*mark)).map(|mark| format!("{path}:{}: {mark}", number + 1)));
        }
    }
    report(found);
}

#[test]
fn every_module_file_says_why_it_exists() {
    let headless =
        daemon().into_iter().chain(rust("plugins")).chain(rust("plugin-sdk")).filter(|source| !source.text.starts_with("//!"));
    report(headless.map(|source| format!("{}:1: begin with a //! head", source.path)).collect());
}

#[test]
fn no_path_of_a_developers_machine_is_in_a_file() {
    // The gateway's image has its configuration in its user's home.
    let allowed = "/home/kong";
    let marks = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for (path, text) in files(&[""]) {
        for (number, line) in text.lines().enumerate() {
            let line = line.replace(allowed, "");
            for mark in marks {
                // `target/work/` and `https://x/home/` are other paths: an absolute one begins the word.
                let begins =
                    line.match_indices(mark).any(|(at, _)| !line[..at].ends_with(|c: char| is_word(c) || "-./}{".contains(c)));
                found.extend(begins.then(|| format!("{path}:{}: {mark}", number + 1)));
            }
        }
    }
    report(found);
}

#[test]
fn the_daemon_knows_no_service_by_name() {
    let set = fs::read_to_string(format!("{ROOT}/templates/sets/supabase/set.toml")).expect("the default set");
    let set: Vec<&str> = set.split("[[service]]").skip(1).filter_map(|table| table.split('"').nth(1)).collect();
    assert!(set.contains(&"db") && set.len() >= 10, "the services of the default set: {set:?}");
    let mut found = Vec::new();
    for source in daemon() {
        for (line, literal) in &source.literals {
            let range = ALSO_PORT_RANGES.contains(&(source.path.as_str(), literal.as_str()));
            let upstream = source.path.starts_with(WORDS_OF_UPSTREAM);
            if (set.contains(&literal.as_str()) || literal == "studio") && !range && !upstream {
                found.push(format!("{}:{line}: \"{literal}\" belongs into a template set (decision 10)", source.path));
            }
        }
    }
    report(found);
}

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// Whether `used` is `allowed` or lies below it.
fn below(used: &str, allowed: &str) -> bool {
    used.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn daemon() -> Vec<Source> {
    rust("daemon/src")
}

fn rust(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&Path::new(ROOT).join(folder), &mut found);
    let sources = found.into_iter().filter(|(path, _)| path.ends_with(".rs"));
    sources.map(|(path, text)| take_apart(path, text)).collect()
}

/// Every text file with one of the endings; the empty ending is all of them.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(Path::new(ROOT), &mut found);
    found.retain(|(path, _)| endings.iter().any(|ending| ending.is_empty() || path.ends_with(&format!(".{ending}"))));
    found
}

/// What a clone holds: build output, state, and folders that begin with a dot but `.ci` are left out.
fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = ["target", "data", "node_modules", "__pycache__"].contains(&name.as_str())
            || (name.starts_with('.') && name != ".ci");
        if path.is_dir() && !skipped {
            walk(&path, found);
        } else if path.is_file()
            && let Ok(text) = fs::read_to_string(&path)
        {
            let shown = path.strip_prefix(ROOT).expect("inside the repository").display().to_string();
            found.push((shown, text));
        }
    }
}

#[test]
fn a_path_lies_below_whole_segments_only() {
    assert!(below("a::b", "a") && below("a", "a") && !below("ab", "a"));
}

/// The files; `both_databases_have_the_same_tables_columns_and_unique_indexes` asks the databases themselves.
#[test]
fn both_databases_have_the_same_tables_and_columns() {
    let folder = |name: &str| Path::new(ROOT).join("migrations").join(name);
    let schema = |name: &str| {
        let mut tables = BTreeMap::new();
        let mut files: Vec<_> = fs::read_dir(folder(name)).expect("migrations").flatten().map(|entry| entry.path()).collect();
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).expect("SQL")).collect();
        for part in text.split("CREATE TABLE ").skip(1) {
            let (table, body) = part.split_once('(').expect("columns");
            let lines = body.lines().map(str::trim).take_while(|line| !line.starts_with(')'));
            let columns =
                lines.filter_map(|line| line.split_whitespace().next()).filter(|word| word.starts_with(char::is_lowercase));
            tables.insert(table.trim().to_owned(), columns.map(str::to_owned).collect::<Vec<_>>());
        }
        let names: Vec<_> = files.iter().filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        (names, tables)
    };
    let (sqlite, postgres) = (schema("sqlite"), schema("postgres"));
    assert!(sqlite.1.len() > 10 && sqlite.1["projects"].contains(&"template_set".to_owned()), "{:?}", sqlite.1);
    assert_eq!(sqlite, postgres);
}

//! Which compiler builds plugins. They need the standard library of wasm32-unknown-unknown: installed, or its
//! sources. Nothing here installs or downloads anything; what is missing is said with the command that brings it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// What plugins are compiled for: no system interface at all, so that a plugin's imports are all it can ask for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The `rust-version` of the workspace, which the SDK and the shipped plugins have as well.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler only answers a question here.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The variables of the process that asked for the build.
pub type Environment = BTreeMap<OsString, OsString>;

/// How plugins are compiled here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that goes with it.
    pub cargo: PathBuf,
    /// Its folder.
    pub sysroot: PathBuf,
    /// Set when the standard library has to be compiled too: the linker, which then may be missing as well.
    pub build_std: Option<PathBuf>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// No compiler at all.
    #[error("no Rust compiler was found: install Rust (https://rustup.rs), or name one in SUPAMANAGER_WASM_RUSTC")]
    CompilerMissing,
    /// None that can build for Wasm.
    #[error(
        "no Rust compiler here can build for {TARGET} (looked at {}): run `rustup target add {TARGET}`, or on Debian \
         `apt-get update && apt-get install rustc-web rust-web-src`",
        looked_at.join(", ")
    )]
    TargetUnsupported {
        /// The compilers.
        looked_at: Vec<String>,
    },
    /// The library's sources are here and nothing to link with.
    #[error("{} can build for {TARGET}, but there is no linker: install `rust-lld` with a rustup toolchain, or `wasm-ld` (Debian: apt-get install lld)", rustc.display())]
    LinkerMissing {
        /// The compiler.
        rustc: PathBuf,
    },
}

/// The first compiler with the target's library; else the first with the library's sources.
///
/// # Errors
/// [`ToolchainError`] with the ways out.
pub async fn choose(environment: &Environment) -> Result<Toolchain, ToolchainError> {
    let (mut compilers, mut looked_at) = (Vec::new(), Vec::new());
    for rustc in candidates(environment) {
        let Some(sysroot) = ask(&rustc, &["--print", "sysroot"]).await else { continue };
        let version = ask(&rustc, &["--version"]).await.unwrap_or_default();
        if new_enough(&version) {
            looked_at.push(rustc.display().to_string());
            compilers.push((rustc, PathBuf::from(sysroot)));
        } else {
            looked_at.push(format!("{}, which is {version:?} and older than {OLDEST}", rustc.display()));
        }
    }
    if looked_at.is_empty() {
        return Err(ToolchainError::CompilerMissing);
    }
    for (rustc, sysroot) in &compilers {
        let libraries = ask(rustc, &["--print", "target-libdir", "--target", TARGET]).await;
        if libraries.is_some_and(|folder| holds_std(Path::new(&folder))) {
            return Ok(toolchain(rustc, sysroot, environment, None));
        }
    }
    for (rustc, sysroot) in &compilers {
        if sysroot.join("lib/rustlib/src/rust/library/std").is_dir() {
            let linker = linker(&compilers, environment).ok_or(ToolchainError::LinkerMissing { rustc: rustc.clone() })?;
            return Ok(toolchain(rustc, sysroot, environment, Some(linker)));
        }
    }
    Err(ToolchainError::TargetUnsupported { looked_at })
}

/// Whether a compiler that calls itself `rustc 1.96.0 (...)` can compile what asks for [`OLDEST`].
fn new_enough(version: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> { text.split(['.', '-']).map_while(|part| part.parse().ok()).collect() };
    version.split_whitespace().nth(1).is_some_and(|number| numbers(number) >= numbers(OLDEST))
}

fn toolchain(rustc: &Path, sysroot: &Path, environment: &Environment, build_std: Option<PathBuf>) -> Toolchain {
    // A cargo of another version may read a crate that its neighbour's compiler cannot build.
    let own = [sysroot.join("bin/cargo"), rustc.with_file_name("cargo")].into_iter().find(|cargo| cargo.is_file());
    let cargo = own.or_else(|| in_path("cargo", environment)).unwrap_or_else(|| "cargo".into());
    Toolchain { rustc: rustc.to_owned(), cargo, sysroot: sysroot.to_owned(), build_std }
}

/// Compilers in the order they are asked, each once.
fn candidates(environment: &Environment) -> Vec<PathBuf> {
    let named = |name: &str| environment.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut found: Vec<PathBuf> = ["SUPAMANAGER_WASM_RUSTC", "RUSTC"].into_iter().filter_map(named).collect();
    found.extend(in_path("rustc", environment));
    let rustup = named("RUSTUP_HOME").or_else(|| named("HOME").map(|home| home.join(".rustup")));
    if let Some(toolchains) = rustup.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) {
        let mut toolchains: Vec<PathBuf> = toolchains.flatten().map(|entry| entry.path().join("bin/rustc")).collect();
        toolchains.sort();
        found.extend(toolchains);
    }
    found.push("/usr/bin/rustc".into());
    let mut seen = Vec::new();
    found.retain(|rustc| {
        rustc.is_file() && !seen.contains(rustc) && {
            seen.push(rustc.clone());
            true
        }
    });
    found
}

fn in_path(program: &str, environment: &Environment) -> Option<PathBuf> {
    let path = environment.get(OsStr::new("PATH"))?;
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// rust-lld speaks the object format of its compiler best; any toolchain's will do before a foreign wasm-ld.
fn linker(compilers: &[(PathBuf, PathBuf)], environment: &Environment) -> Option<PathBuf> {
    let own = compilers.iter().find_map(|(_, sysroot)| {
        let hosts = fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
        hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|file| file.is_file())
    });
    own.or_else(|| in_path("wasm-ld", environment))
}

fn holds_std(folder: &Path) -> bool {
    let is_std = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(is_std))
}

/// One line of a compiler; `None` when it does not answer well, which makes it no candidate.
async fn ask(rustc: &Path, question: &[&str]) -> Option<String> {
    let mut command = Command::new(rustc);
    command.args(question).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    // rustup's stand-in would otherwise fetch a toolchain that is not there.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    let output = timeout(ANSWER_DEADLINE, command.output()).await.ok()?.ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

/// The variables of a nested build: those of the outer one that say what or how *it* builds are left out, the
/// ones that say where cargo finds crates stay.
pub fn nested_environment(outer: &Environment) -> Environment {
    const KEPT: [&str; 6] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"];
    let goes = |name: &str| {
        let kept = KEPT.iter().any(|kept| name.starts_with(kept));
        let cargos = name.starts_with("CARGO") && !kept;
        cargos
            || name.starts_with("RUSTC")
            || matches!(name, "RUSTFLAGS" | "RUSTUP_TOOLCHAIN" | "TARGET" | "MAKEFLAGS" | "MFLAGS")
    };
    let stays = |(name, _): &(&OsString, &OsString)| name.to_str().is_none_or(|name| !goes(name));
    outer.iter().filter(stays).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_nested_build_keeps_the_way_to_crates_and_nothing_of_the_outer_build() {
        let outer = environment(&[
            ("PATH", "/bin"),
            ("CARGO_HOME", "/c"),
            ("CARGO_NET_OFFLINE", "true"),
            ("CARGO_SOURCE_X_REGISTRY", "y"),
            ("CARGO_TARGET_DIR", "/t"),
            ("CARGO_ENCODED_RUSTFLAGS", "-g"),
            ("CARGO", "/bin/cargo"),
            ("RUSTC_WRAPPER", "w"),
            ("RUSTFLAGS", "-g"),
            ("TARGET", "x"),
            ("MAKEFLAGS", "-j"),
        ]);
        let names: Vec<String> = nested_environment(&outer).keys().map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_SOURCE_X_REGISTRY", "PATH"]);
    }

    #[test]
    fn a_compiler_named_by_hand_is_asked_first_and_one_that_is_not_there_never() {
        let folder = std::env::temp_dir().join(format!("supamanager-rustc-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (named, found) = (folder.join("named"), folder.join("rustc"));
        fs::write(&named, "").unwrap();
        fs::write(&found, "").unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = environment(&[
            ("PATH", &text(&folder)),
            ("SUPAMANAGER_WASM_RUSTC", &text(&named)),
            ("RUSTC", "/nowhere/rustc"),
            ("RUSTUP_HOME", "/nowhere"),
        ]);
        assert_eq!(candidates(&environment)[..2], [named, found]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_compiler_older_than_the_sdk_asks_for_is_no_candidate() {
        for good in [&format!("rustc {OLDEST}"), "rustc 1.96.0 (ac68faa20 2026-05-25)", "rustc 2.0.0-nightly (0 2030-01-01)"] {
            assert!(new_enough(good), "{good}");
        }
        for bad in ["rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)", "rustc 1.9.0", "rustc", ""] {
            assert!(!new_enough(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_a_compiler_the_way_out_is_named() {
        let folder = std::env::temp_dir().join(format!("supamanager-none-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // `true` answers nothing, so it is no compiler.
        let error = ask(Path::new("/bin/true"), &["--print", "sysroot"]).await;
        assert_eq!(error, None);
        let words = ToolchainError::TargetUnsupported { looked_at: vec!["/usr/bin/rustc".into()] }.to_string();
        assert!(words.contains("rustup target add") && words.contains("rust-web-src"), "{words}");
        fs::remove_dir_all(folder).unwrap();
    }
}

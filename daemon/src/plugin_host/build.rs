//! From a plugin crate to a folder that the host loads: a nested cargo makes a core module, wit-component makes
//! a component of it, the manifest gets its digest, and the host itself tries the result.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use wit_component::ComponentEncoder;

use super::limits::Limits;
use super::load::{self, COMPONENT_FILE, LoadError, Loader, MANIFEST_FILE};
use super::manifest::Manifest;
use super::recipe;
pub use super::recipe::read as recipe;
pub use super::toolchain::Environment;
use super::toolchain::{self, TARGET, Toolchain, ToolchainError};
use super::trust;
use super::versions;

/// With a standard library to compile and a cold cache of crates, on a slow machine.
const CARGO_DEADLINE: Duration = Duration::from_secs(45 * 60);
const METADATA_DEADLINE: Duration = Duration::from_secs(120);

/// Small, and nothing to unwind into; given on the command line, so that an author's workspace needs no profile.
const PROFILE: [&str; 7] = [
    "profile.plugin.inherits=\"release\"",
    "profile.plugin.opt-level=\"s\"",
    "profile.plugin.lto=\"fat\"",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic=\"abort\"",
    "profile.plugin.strip=true",
    "profile.plugin.debug=false",
];

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing to build with.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The crate is not one of a plugin.
    #[error("{}: {problem}", path.display())]
    Crate {
        /// File or folder.
        path: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// cargo has said why.
    #[error("cargo did not build {}: {problem}", folder.display())]
    Cargo {
        /// The crate.
        folder: PathBuf,
        /// How it ended.
        problem: String,
    },
    /// The core module does not become a component.
    #[error("{} does not become a component: {problem}: does it hold the bindings of the contract? In Rust, an `export_*!` line of supamanager-plugin brings them", module.display())]
    Component {
        /// The core module.
        module: PathBuf,
        /// wit-component's words.
        problem: String,
    },
    /// What was built does not load.
    #[error("what was built does not load: {0}")]
    Load(#[from] LoadError),
    /// Files.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The plugin.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of the component.
    pub size: usize,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it imports.
    pub imports: Vec<&'static str>,
}

/// Builds plugins into a folder; one toolchain and one target folder serve all crates.
pub struct Builder {
    toolchain: OnceCell<Toolchain>,
    outer: Environment,
    environment: Environment,
    out: PathBuf,
    build_dir: PathBuf,
    loader: Loader,
    shipped: bool,
}

impl Builder {
    /// What cargo makes on the way goes into `build_dir`, else into `.build` of `out`.
    ///
    /// # Errors
    /// [`BuildError::Io`].
    pub fn new(outer: &Environment, out: &Path, build_dir: Option<&Path>) -> Result<Self, BuildError> {
        fs::create_dir_all(out).map_err(io(out))?;
        let out = fs::canonicalize(out).map_err(io(out))?;
        let build_dir =
            build_dir.map_or_else(|| Ok(out.join(".build")), |folder| std::path::absolute(folder).map_err(io(folder)))?;
        let (environment, loader) = (toolchain::nested_environment(outer), Loader::alone(Limits::default())?);
        let (toolchain, outer) = (OnceCell::new(), outer.clone());
        Ok(Self { toolchain, outer, environment, out, build_dir, loader, shipped: false })
    }

    /// Records what it builds as shipped: the plugins of the daemon's own repository.
    #[must_use]
    pub fn shipped(self, shipped: bool) -> Self {
        Self { shipped, ..self }
    }

    /// One line about what compiles a plugin, for people.
    ///
    /// # Errors
    /// [`BuildError::Toolchain`] with the ways out.
    pub async fn describe(&self, folder: &Path) -> Result<String, BuildError> {
        if let Some(command) = recipe::read(folder)? {
            return Ok(command.join(" "));
        }
        let toolchain = self.toolchain().await?;
        let rustc = toolchain.rustc.display();
        Ok(match &toolchain.build_std {
            None => format!("{rustc}, with its own standard library for {TARGET}"),
            Some(linker) => format!("{rustc}, standard library for {TARGET} from its sources, linked by {}", linker.display()),
        })
    }

    /// Chosen once, when the first crate wants it.
    async fn toolchain(&self) -> Result<&Toolchain, BuildError> {
        Ok(self.toolchain.get_or_try_init(|| toolchain::choose(&self.outer)).await?)
    }

    /// Builds one plugin: a crate, or a folder whose plugin.toml says by `[build]` how.
    ///
    /// # Errors
    /// [`BuildError`], each with the way out.
    pub async fn build(&self, folder: &Path) -> Result<Built, BuildError> {
        let folder = fs::canonicalize(folder).map_err(io(folder))?;
        if let Some(command) = recipe::read(&folder)? {
            let made = recipe::follow(&folder, &command, &self.outer).await?;
            return self.finish(&folder, &made.name, &made.version, &made.requested, &componentise(&made.wasm)?).await;
        }
        let requested = read_request(&folder)?;
        let (package, workspace) = self.package(&folder).await?;
        let module = self.compile(&folder, &package, &workspace).await?;
        self.finish(&folder, &package.name, &package.version, &requested, &componentise(&module)?).await
    }

    /// Writes the manifest, puts both in their place and has the host try them.
    async fn finish(
        &self,
        folder: &Path,
        name: &str,
        version: &str,
        requested: &str,
        component: &[u8],
    ) -> Result<Built, BuildError> {
        let digest = load::sha256_hex(component);
        let manifest = format!(
            "# Written by `supamanager plugin build`; the rest is {MANIFEST_FILE} of its sources.\n\
             name = \"{name}\"\nversion = \"{version}\"\nsha256 = \"{digest}\"\n\n{requested}"
        );
        // It becomes the name of a folder.
        Manifest::parse(&manifest).map_err(|problem| BuildError::Crate { path: folder.join(MANIFEST_FILE), problem })?;
        let built = self.place(name, &manifest, component)?;
        if self.shipped {
            trust::record(&self.out, name, &manifest).map_err(io(&self.out))?;
        }
        let plugin = load::load(&self.loader, &built).await?;
        let imports = plugin.imports.iter().map(|interface| interface.as_str()).collect();
        Ok(Built { name: name.to_owned(), folder: built, size: component.len(), digest: plugin.digest, imports })
    }

    /// The crate as cargo knows it, and the root of its workspace.
    async fn package(&self, folder: &Path) -> Result<(Package, PathBuf), BuildError> {
        let mut cargo = self.cargo(folder, "metadata").await?;
        cargo.args(["--no-deps", "--format-version", "1"]);
        let output = run(cargo, folder, METADATA_DEADLINE).await?;
        let wrong = |problem| BuildError::Crate { path: folder.to_owned(), problem };
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).map_err(|error| wrong(format!("`cargo metadata` cannot be read: {error}")))?;
        let manifest = folder.join("Cargo.toml");
        let own = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        let own = own.ok_or_else(|| wrong("cargo knows no package in this folder: name the folder of the crate".to_owned()))?;
        Ok((own, metadata.workspace_root))
    }

    async fn compile(&self, folder: &Path, package: &Package, workspace: &Path) -> Result<PathBuf, BuildError> {
        let mut cargo = self.cargo(folder, "rustc").await?;
        cargo.args(["--lib", "--profile", "plugin", "--target", TARGET, "--message-format=json-render-diagnostics"]);
        cargo.arg("--target-dir").arg(&self.build_dir);
        for setting in PROFILE {
            cargo.args(["--config", setting]);
        }
        let toolchain = self.toolchain().await?;
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(toolchain));
        if let Some(linker) = &toolchain.build_std {
            // The library's sources are no secret feature; cargo only calls building them unstable.
            cargo.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo.arg("--").arg(remap(workspace, "/plugin"));
        let output = run(cargo, folder, CARGO_DEADLINE).await?;
        let made = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .filter(|artifact| artifact.manifest_path == package.manifest_path)
            .flat_map(|artifact| artifact.filenames)
            .find(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        made.ok_or_else(|| BuildError::Crate {
            path: package.manifest_path.clone(),
            problem: "it makes no Wasm module: set `crate-type = [\"cdylib\"]` under `[lib]`".to_owned(),
        })
    }

    /// The same bytes wherever the caches lie. The same flags for every crate of every workspace, or cargo would
    /// compile the standard library once for each (measured: 270 s instead of 190 s of processor time for the three
    /// shipped plugins); what is the workspace's own is said to its last crate only.
    fn rustflags(&self, toolchain: &Toolchain) -> OsString {
        let variable = |name: &str| self.environment.get(&OsString::from(name)).map(PathBuf::from);
        // The same whether cargo calls us, which sets it, or a shell does.
        let home = variable("CARGO_HOME").or_else(|| Some(variable("HOME")?.join(".cargo")));
        let places = [(Some(toolchain.sysroot.clone()), "/rust"), (home, "/home")];
        let flags: Vec<OsString> = places.into_iter().filter_map(|(from, to)| Some(remap(&from?, to))).collect();
        flags.join(std::ffi::OsStr::new("\u{1f}"))
    }

    async fn cargo(&self, folder: &Path, verb: &str) -> Result<Command, BuildError> {
        let toolchain = self.toolchain().await?;
        let mut cargo = Command::new(&toolchain.cargo);
        cargo.arg(verb).current_dir(folder).env_clear().envs(&self.environment);
        cargo.env("RUSTC", &toolchain.rustc).env("RUSTUP_AUTO_INSTALL", "0");
        if is_locked(folder) {
            cargo.arg("--locked");
        }
        cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        Ok(cargo)
    }

    /// Writes both files beside the old ones and swaps the folders: a host never finds half a plugin.
    fn place(&self, name: &str, manifest: &str, component: &[u8]) -> Result<PathBuf, BuildError> {
        let (unfinished, finished) = (self.out.join(format!(".{name}.new")), self.out.join(name));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(io(&unfinished))?;
        }
        fs::create_dir(&unfinished).map_err(io(&unfinished))?;
        for (file, bytes) in [(MANIFEST_FILE, manifest.as_bytes()), (COMPONENT_FILE, component)] {
            let path = unfinished.join(file);
            fs::write(&path, bytes).map_err(io(&path))?;
        }
        versions::take_place(&unfinished, &finished).map_err(io(&finished))?;
        Ok(finished)
    }
}

/// Whether the workspace of a crate has a lock file. One further up belongs to another workspace.
fn is_locked(folder: &Path) -> bool {
    let is_root = |folder: &Path| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim_end() == "[workspace]")
    };
    for parent in folder.ancestors() {
        if parent.join("Cargo.lock").is_file() || is_root(parent) {
            return parent.join("Cargo.lock").is_file();
        }
    }
    false
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// The crate's own plugin.toml: everything but what the build fills in.
fn read_request(folder: &Path) -> Result<String, BuildError> {
    let path = folder.join(MANIFEST_FILE);
    let wrong = |problem| BuildError::Crate { path: path.clone(), problem };
    let text =
        fs::read_to_string(&path).map_err(|error| wrong(format!("{error}: a plugin crate says there which hooks it is for")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    match ["name", "version", "sha256"].into_iter().find(|key| table.contains_key(*key)) {
        Some(key) => Err(wrong(format!("`{key}` is filled in by the build: leave it out"))),
        None => Ok(text),
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    filenames: Vec<PathBuf>,
}

async fn run(mut cargo: Command, folder: &Path, deadline: Duration) -> Result<Output, BuildError> {
    let failed = |problem| BuildError::Cargo { folder: folder.to_owned(), problem };
    // Not `output()`: it would keep what cargo says to itself until the end.
    let child = cargo.stdout(Stdio::piped()).spawn().map_err(|error| failed(error.to_string()))?;
    let output = match timeout(deadline, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => return Err(failed(format!("it did not end within {} s", deadline.as_secs()))),
    };
    if output.status.success() {
        return Ok(output);
    }
    Err(failed(format!("{}, see above", output.status)))
}

fn componentise(module: &Path) -> Result<Vec<u8>, BuildError> {
    let bytes = fs::read(module).map_err(io(module))?;
    if wasmparser::Parser::is_component(&bytes) {
        return Ok(bytes);
    }
    let encoded = ComponentEncoder::default().validate(true).module(&bytes).and_then(|encoder| encoder.encode());
    encoded.map_err(|error| BuildError::Component { module: module.to_owned(), problem: format!("{error:#}") })
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> BuildError {
    move |source| BuildError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_says_what_it_is_for_and_not_what_the_build_fills_in() {
        let folder = std::env::temp_dir().join(format!("supamanager-crate-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let refusal = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(folder.join(MANIFEST_FILE), text).unwrap();
            }
            read_request(&folder).map_err(|error| error.to_string())
        };
        assert!(refusal(None).unwrap_err().contains("plugin.toml"));
        assert!(refusal(Some("= 1")).unwrap_err().contains("plugin.toml"));
        for key in ["name", "version", "sha256"] {
            assert!(refusal(Some(&format!("{key} = \"a\""))).unwrap_err().contains(&format!("`{key}` is filled in")));
        }
        assert!(refusal(Some("contract = \"0.1.0\"")).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_module_of_another_world_does_not_become_a_component() {
        let module = std::env::temp_dir().join(format!("supamanager-module-{}.wasm", std::process::id()));
        fs::write(&module, b"no wasm").unwrap();
        let error = componentise(&module).unwrap_err().to_string();
        assert!(error.contains("export_*!"), "{error}");
        fs::remove_file(module).unwrap();
    }
}

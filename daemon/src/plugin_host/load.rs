//! From a folder to a plugin that can be called. Everything that can be wrong with a plugin is found here, at
//! load, and each refusal names the file and the way out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::adapt;
use super::approvals::Leave;
use super::cache::Cache;
use super::call::{self, Callee};
use super::engine::WasmEngine;
use super::grants::Interface;
use super::imports;
use super::limits::{Hook, Limits};
use super::manifest::{Binding, Manifest};
use super::settings::Settings;
use super::state::Surroundings;
use super::trust::Provenance;
use crate::clock::Clock;
use crate::domain::PluginChoices;
use crate::telemetry::PluginMetrics;

/// The two files of a plugin.
pub const MANIFEST_FILE: &str = "plugin.toml";
/// See [`MANIFEST_FILE`].
pub const COMPONENT_FILE: &str = "plugin.wasm";

/// Larger than an interpreter packed into a component (18 MiB), small enough to read whole.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// Why plugins could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// wasmtime does not start.
    #[error("the wasm engine does not start: {0}")]
    Engine(String),
    /// The folder of all plugins.
    #[error("plugin folder {}: {problem}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// plugin.toml.
    #[error("{}: {problem}", file.display())]
    Manifest {
        /// Which.
        file: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// It comes from nobody who is trusted.
    #[error("{}: {problem}", file.display())]
    Untrusted {
        /// Its plugin.toml.
        file: PathBuf,
        /// Why, and the way out.
        problem: String,
    },
    /// It reaches further than the operator granted.
    #[error(
        "{}: it asks for what was not granted to {digest}: {}. Grant it with `supamanager plugin grant {name}`",
        file.display(),
        asks.join("; ")
    )]
    NotGranted {
        /// Its plugin.toml.
        file: PathBuf,
        /// Its name.
        name: String,
        /// Its digest.
        digest: String,
        /// A line each.
        asks: Vec<String>,
    },
    /// plugin.wasm is not the one that plugin.toml was written for.
    #[error("{}: its sha256 is {found}, plugin.toml says {expected}: build the plugin again, or take both files from one place", file.display())]
    Digest {
        /// Which.
        file: PathBuf,
        /// By plugin.toml.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// It is no component, or one that does not compile or link.
    #[error("{}: {problem}", file.display())]
    Component {
        /// Which.
        file: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// It imports something it does not get.
    #[error("{}: it imports `{import}`: {problem}", file.display())]
    Import {
        /// Which.
        file: PathBuf,
        /// The import.
        import: String,
        /// Why it does not get it, and the way out.
        problem: String,
    },
    /// It does not take the options that the operator has it told.
    #[error("{}: plugin_options: {problem}", file.display())]
    Options {
        /// Its plugin.toml.
        file: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
    /// It does not say, or not in time, what it is.
    #[error("{}: `describe`: {problem}", file.display())]
    Describe {
        /// Which.
        file: PathBuf,
        /// What is wrong, and the way out.
        problem: String,
    },
}

/// One hook of a loaded plugin.
#[derive(Clone)]
pub struct Bound {
    /// As in the manifest.
    pub binding: Binding,
    /// What a call needs.
    pub callee: Callee,
}

/// A plugin that can be called.
pub struct Plugin {
    /// Its manifest.
    pub manifest: Manifest,
    /// The text of that.
    pub text: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it says of itself.
    pub summary: String,
    /// Bytes of the component.
    pub size: usize,
    /// What the component imports.
    pub imports: BTreeSet<Interface>,
    /// Its hooks.
    pub bound: Vec<Bound>,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What its options are held against.
    pub settings: Option<Settings>,
}

impl Plugin {
    /// What a call of this hook needs, if it is bound to it.
    pub fn bound_to(&self, hook: Hook) -> Option<&Bound> {
        self.bound.iter().find(|bound| bound.callee.hook == hook)
    }

    /// Whether it runs for a project of these choices.
    pub fn runs(&self, choices: &PluginChoices) -> bool {
        choices.runs(&self.manifest.name, self.manifest.opt_in)
    }

    /// Whether it takes these options.
    ///
    /// # Errors
    /// A sentence naming the place.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<(), String> {
        match &self.settings {
            Some(settings) => settings.check(options),
            None if options.is_empty() => Ok(()),
            None => Err(format!("`{}` has no options: its plugin.toml has no `[settings]`", self.manifest.name)),
        }
    }
}

/// The plugin folders inside of a folder, by name. Files and names beginning with a dot are nobody's plugins.
///
/// # Errors
/// When the folder cannot be read.
pub fn plugin_folders(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |error: std::io::Error| LoadError::Folder {
        folder: folder.to_owned(),
        problem: format!("{error}: make it, or name another one (SUPAMANAGER_PLUGINS_DIR)"),
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// What every load needs.
pub struct Loader {
    /// Compiles and runs.
    pub engine: Arc<WasmEngine>,
    /// Compiled plugins.
    pub cache: Option<Cache>,
    /// What a call may use; a manifest may lower it.
    pub limits: Limits,
    /// Where loads and calls are counted.
    pub metrics: PluginMetrics,
    /// Whose plugins are loaded, and what was granted to them.
    pub leave: Leave,
}

impl Loader {
    /// Starts an engine; compiled plugins are kept in `cache`, without one every load compiles.
    ///
    /// # Errors
    /// [`LoadError::Engine`].
    pub fn start(
        limits: Limits,
        cache: Option<&Path>,
        clock: Clock,
        metrics: PluginMetrics,
        leave: Leave,
    ) -> Result<Self, LoadError> {
        let engine = Arc::new(WasmEngine::start(&limits, clock).map_err(LoadError::Engine)?);
        Ok(Self { engine, cache: cache.and_then(Cache::open), limits, metrics, leave })
    }

    /// For a command that looks at one plugin and calls it for nobody.
    ///
    /// # Errors
    /// [`LoadError::Engine`].
    pub fn alone(limits: Limits) -> Result<Self, LoadError> {
        Self::start(limits, None, Clock::system(), PluginMetrics::default(), Leave::of_everything())
    }
}

/// Reads, checks, compiles, links and asks one plugin.
///
/// # Errors
/// The first thing that is wrong with it.
pub async fn load(loader: &Loader, folder: &Path) -> Result<Plugin, LoadError> {
    let (begun, engine) = (Instant::now(), &loader.engine);
    let manifest_file = folder.join(MANIFEST_FILE);
    let file = folder.join(COMPONENT_FILE);
    let (text, manifest) = read_manifest(folder)?;
    let wrong = |problem| LoadError::Manifest { file: manifest_file.clone(), problem };
    let granted = manifest.granted().map_err(wrong)?;
    let settings = manifest.settings.as_ref().map(Settings::new).transpose().map_err(wrong)?;
    let provenance = loader.leave.judge(folder, &text, &manifest)?;
    let bytes = read_component(folder, &manifest)?;
    let size = bytes.len();
    let (component, from_cache) = compile(loader, &manifest.sha256, bytes, &file).await?;
    let imports = imports::check(engine.wasm(), &component, &manifest, &file)?;
    let broken = |error: wasmtime::Error| LoadError::Component {
        file: file.clone(),
        problem: format!("{error:#}: build it against contract {} with `supamanager plugin build`", manifest.contract),
    };
    let linker = adapt::link(engine.wasm(), &granted).map_err(broken)?;
    let contract: Arc<dyn adapt::Contract> = adapt::adapt(&linker, &component, &manifest.hook_kinds()).map_err(broken)?.into();
    let mut bound = Vec::new();
    for binding in &manifest.hooks {
        let limits = binding.limits(&loader.limits).map_err(wrong)?;
        let (name, hook) = (manifest.name.as_str(), binding.hook);
        let metrics = loader.metrics.of(name, hook.as_str());
        let callee = Callee { name: name.into(), hook, metrics, limits, contract: contract.clone() };
        bound.push(Bound { binding: binding.clone(), callee });
    }
    let asked = Callee { metrics: loader.metrics.of(&manifest.name, "describe"), ..bound[0].callee.clone() };
    let summary = describe(engine, &asked, &manifest, &file).await?;
    let digest = format!("sha256:{}", manifest.sha256);
    loader.metrics.loaded(&manifest.name, from_cache, begun.elapsed());
    Ok(Plugin { provenance, settings, digest, manifest, text, summary, size, imports, bound })
}

/// The text of a plugin's manifest, and what it says.
///
/// # Errors
/// [`LoadError::Manifest`].
pub fn read_manifest(folder: &Path) -> Result<(String, Manifest), LoadError> {
    let file = &folder.join(MANIFEST_FILE);
    let wrong = |problem| LoadError::Manifest { file: file.to_owned(), problem };
    let bytes = read_bounded(file, MANIFEST_BYTES_MAX).map_err(wrong)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8: save it as UTF-8".to_owned()))?;
    let manifest = Manifest::parse(&text).map_err(wrong)?;
    // One name per folder: two folders of one name cannot exist, so no two plugins can either.
    if folder.file_name().is_none_or(|name| name.to_string_lossy() != manifest.name) {
        let problem = format!("`name` is `{0}`: the folder must be called `{0}` too", manifest.name);
        return Err(LoadError::Manifest { file: file.to_owned(), problem });
    }
    Ok((text, manifest))
}

/// The component, which is the one that the manifest was written for.
///
/// # Errors
/// [`LoadError::Component`], [`LoadError::Digest`].
pub fn read_component(folder: &Path, manifest: &Manifest) -> Result<Vec<u8>, LoadError> {
    let file = &folder.join(COMPONENT_FILE);
    let wrong = |problem| LoadError::Component { file: file.to_owned(), problem };
    let bytes = read_bounded(file, COMPONENT_BYTES_MAX).map_err(wrong)?;
    let found = sha256_hex(&bytes);
    if found != manifest.sha256 {
        return Err(LoadError::Digest { file: file.to_owned(), expected: manifest.sha256.clone(), found });
    }
    if wasmparser::Parser::is_core_wasm(&bytes) {
        return Err(wrong("it is a core module: make a component of it with `supamanager plugin build`".to_owned()));
    }
    if !wasmparser::Parser::is_component(&bytes) {
        return Err(wrong("it is no WebAssembly component: build it with `supamanager plugin build`".to_owned()));
    }
    Ok(bytes)
}

/// 64 hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_bounded(file: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let length = fs::metadata(file).map_err(|error| format!("{error}: build the plugin, or remove its folder"))?.len();
    if length > bytes_max {
        return Err(format!("it has {length} bytes, at most {bytes_max} are read"));
    }
    fs::read(file).map_err(|error| error.to_string())
}

/// From our own cache (true), or compiled off the runtime and put there.
async fn compile(loader: &Loader, digest: &str, bytes: Vec<u8>, file: &Path) -> Result<(Component, bool), LoadError> {
    let (engine, cache) = (&loader.engine, loader.cache.as_ref());
    if let Some(component) = cache.and_then(|cache| cache.load(engine.wasm(), digest)) {
        return Ok((component, true));
    }
    let wasm = engine.wasm().clone();
    let compiled = tokio::task::spawn_blocking(move || Component::new(&wasm, bytes)).await;
    let failed = |words: String| LoadError::Component {
        file: file.to_owned(),
        problem: format!("it does not compile: {words}: build it again with `supamanager plugin build`"),
    };
    let component = compiled.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(format!("{error:#}")))?;
    if let Some(cache) = cache {
        cache.store(engine.wasm(), digest, &component);
    }
    Ok((component, false))
}

/// Instantiates once and asks: what links may still not run, and a name in two places must be one name.
async fn describe(engine: &Arc<WasmEngine>, callee: &Callee, manifest: &Manifest, file: &Path) -> Result<String, LoadError> {
    let wrong = |problem| LoadError::Describe { file: file.to_owned(), problem };
    let span = tracing::info_span!("plugin.load", plugin.id = &*callee.name);
    let said = call::call(engine, callee, Surroundings::none(), span, |contract, store| {
        Box::pin(async move { contract.describe(store).await.map(Ok) })
    });
    let said = said.await.map_err(|error| wrong(error.to_string()))?;
    if (said.name.as_str(), said.version.as_str()) != (manifest.name.as_str(), manifest.version.as_str()) {
        return Err(wrong(format!(
            "the component says it is `{}` {}, plugin.toml says `{}` {}: build the plugin again",
            said.name, said.version, manifest.name, manifest.version
        )));
    }
    Ok(said.summary.chars().take(500).collect())
}

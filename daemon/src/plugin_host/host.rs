//! What the rest of the daemon calls: one method per hook. Chains are decided here: renderers fold, the first
//! probe that knows a service answers, post-create plugins run in sequence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use serde_json::{Map, Value};

use super::approvals::{Approvals, Leave};
use super::call;
use super::egress::EgressHost;
use super::hooks::{Egress, HookError, Memory, Pins, ProbeInput, ProbeReport, RenderInput, RenderedFile, ServiceAccess};
use super::limits::{Hook, Limits};
use super::load::{self, Bound, LoadError, Loader, Plugin};
use super::manifest::OnFailure;
use super::output;
use super::probing::is_its_fault;
use super::registry::{self, PluginInfo, Probe, Registry};
use super::shadow::Shadows;
use super::state::Surroundings;
use super::versions::Versions;
use crate::backend::ErrorClass;
use crate::clock::Clock;
use crate::domain::{PluginChoices, ServiceState};
use crate::telemetry::PluginMetrics;

/// Where plugins come from and what they may use.
#[derive(Clone)]
pub struct HostConfig {
    /// One folder per plugin inside.
    pub folder: PathBuf,
    /// For compiled plugins; without one every start compiles.
    pub cache: Option<PathBuf>,
    /// For the last versions of every plugin; without one there is no way back, and no way on for an operation that began
    /// with a version that is gone.
    pub versions: Option<PathBuf>,
    /// What a call may use; a manifest may lower it.
    pub limits: Limits,
    /// When something happened.
    pub clock: Clock,
    /// Where loads and calls are counted.
    pub metrics: PluginMetrics,
    /// Where plugins remember; without one they are denied it.
    pub memory: Option<Arc<dyn Memory>>,
    /// The way to hosts outside; without one there is none.
    pub egress: Option<Arc<dyn Egress>>,
    /// To which hosts the operator lets plugins, beside those of their manifests.
    pub egress_hosts: BTreeMap<String, Vec<EgressHost>>,
    /// What the operator has them told: plugin -> options.
    pub options: BTreeMap<String, Map<String, Value>>,
    /// Whose plugins are loaded, and what was granted to them.
    pub leave: Leave,
}

impl HostConfig {
    /// The daemon's: compiled plugins are kept in its data folder, limits are the defaults.
    pub fn new(folder: &Path, data_dir: &Path) -> Self {
        let (cache, versions) = (Some(data_dir.join("cache")), Some(data_dir.join("plugins")));
        let leave = Leave { approvals: Approvals::in_folder(data_dir), ..Leave::default() };
        Self { cache, versions, leave, ..Self::without_cache(folder) }
    }

    /// Every load compiles, and no version is kept.
    pub fn without_cache(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            cache: None,
            versions: None,
            limits: Limits::default(),
            clock: Clock::system(),
            metrics: PluginMetrics::default(),
            memory: None,
            egress: None,
            egress_hosts: BTreeMap::new(),
            options: BTreeMap::new(),
            leave: Leave::default(),
        }
    }
}

/// All plugins of a daemon.
pub struct PluginHost {
    pub(super) loader: Loader,
    pub(super) folder: PathBuf,
    pub(super) versions: Option<Versions>,
    pub(super) memory: Option<Arc<dyn Memory>>,
    egress: Option<Arc<dyn Egress>>,
    egress_hosts: BTreeMap<String, Vec<EgressHost>>,
    pub(super) operators_options: BTreeMap<String, Map<String, Value>>,
    /// What runs. A call takes it as it is and keeps to it.
    pub(super) current: RwLock<Arc<Registry>>,
    /// What ran before, for operations that began with it.
    pub(super) retired: Mutex<Vec<Arc<Plugin>>>,
    /// Newer versions that are tried beside those that run.
    pub(super) shadows: Shadows,
    /// One change at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl PluginHost {
    /// Loads every plugin of the folder. An empty folder is a host without plugins.
    ///
    /// # Errors
    /// The first plugin that is broken, with the file and the way out.
    pub async fn load(config: HostConfig) -> Result<Self, LoadError> {
        let loader = Loader::start(config.limits, config.cache.as_deref(), config.clock, config.metrics, config.leave)?;
        let (folder, versions) = (config.folder, config.versions.map(Versions::new));
        let (current, retired, shadows, changing) = Default::default();
        let (memory, operators_options) = (config.memory, config.options);
        let (egress, egress_hosts) = (config.egress, config.egress_hosts);
        let host = Self {
            loader,
            folder,
            versions,
            memory,
            egress,
            egress_hosts,
            operators_options,
            current,
            retired,
            shadows,
            changing,
        };
        host.first_load().await?;
        for plugin in host.list() {
            tracing::info!(
                plugin.id = plugin.name,
                plugin.digest = plugin.digest,
                "plugin `{}` {} is loaded, {}",
                plugin.name,
                plugin.version,
                plugin.provenance
            );
        }
        Ok(host)
    }

    /// Loads one plugin's folder by itself and says what is known of it.
    ///
    /// # Errors
    /// What is wrong with it, with the way out.
    pub async fn inspect(folder: &Path, limits: Limits) -> Result<PluginInfo, LoadError> {
        Ok(registry::info(&load::load(&Loader::alone(limits)?, folder).await?))
    }

    /// What is loaded, by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.current().list()
    }

    /// What runs now.
    pub(super) fn current(&self) -> Arc<Registry> {
        self.current.read().unwrap_or_else(|poison| poison.into_inner()).clone()
    }

    /// Where loads and calls are counted.
    pub fn metrics(&self) -> &PluginMetrics {
        &self.loader.metrics
    }

    /// Whether any plugin renders for a project of these choices: without one it cannot be made.
    pub fn has_render(&self, choices: &PluginChoices) -> bool {
        self.current().bound_to(Hook::Render).iter().any(|(plugin, _)| plugin.runs(choices))
    }

    /// Whether a plugin of this name runs and is bound to the hook.
    pub fn has_hook(&self, name: &str, hook: Hook) -> bool {
        self.current().plugin(name).is_some_and(|plugin| plugin.bound_to(hook).is_some())
    }

    /// What an operation that begins now on a project of these choices uses to its end.
    pub fn pins(&self, choices: &PluginChoices) -> Pins {
        self.current().pins(choices)
    }

    /// Guests that compute now, neither answered nor waiting for the host.
    pub fn computing(&self) -> i64 {
        self.loader.engine.computing().now()
    }

    /// Makes the files of a stack.
    ///
    /// # Errors
    /// [`HookError::NoPlugin`] when no renderer is pinned, otherwise what went wrong in one.
    pub async fn render(&self, pins: &Pins, input: RenderInput) -> Result<Vec<RenderedFile>, HookError> {
        let renderers = self.pinned(Hook::Render, pins).await?;
        let Some((last, _)) = renderers.last() else {
            return Err(HookError::NoPlugin { hook: Hook::Render.as_str() });
        };
        let context = input.context.to_string();
        let mut files = Vec::new();
        for (plugin, bound) in &renderers {
            self.check_merged(plugin, &input.choices)?;
            let span = span(plugin, Hook::Render, input.project.as_str(), input.operation.as_str());
            let surroundings = Surroundings {
                templates: input.templates.clone(),
                project: Some(input.project.clone()),
                options: self.options(&plugin.manifest.name, &input.choices),
                ..Surroundings::none()
            };
            let (context, wanted, so_far) = (context.clone(), input.files.clone(), files.clone());
            let made = call::call(&self.loader.engine, &bound.callee, surroundings, span, move |contract, store| {
                contract.render(store, context, wanted, so_far)
            });
            let folded =
                made.await.and_then(|made| output::fold(&plugin.manifest.name, &bound.callee.limits, files.clone(), made));
            files = match folded {
                Ok(folded) => folded,
                // Again in a moment: a stack without this renderer would be for good.
                Err(error) if error.class() == ErrorClass::Retry => return Err(error),
                Err(error) if bound.binding.on_failure == OnFailure::Fallback => {
                    tracing::warn!(plugin.id = plugin.manifest.name, %error, "a renderer failed, those after it go on without");
                    continue;
                }
                Err(error) => return Err(error),
            };
        }
        output::check_complete(&last.manifest.name, &input.files, &files)?;
        Ok(files)
    }

    /// Says how one service is doing: the word of the first probe plugin that knows its kind of probe.
    ///
    /// # Errors
    /// [`HookError::NoPlugin`] when nobody knows it, otherwise what went wrong in the plugin. None of that says
    /// anything about the service.
    pub async fn probe(&self, input: ProbeInput, access: Arc<dyn ServiceAccess>) -> Result<ProbeReport, HookError> {
        let (mut first_failure, mut left_alone) = (None, None);
        for Probe { plugin, bound, breaker } in self.current().probes() {
            if !plugin.runs(&input.choices) {
                continue;
            }
            let falls_back = bound.binding.on_failure == OnFailure::Fallback;
            let shadow = self.shadows.of(&plugin.manifest.name);
            let decides = shadow.as_ref().is_some_and(|shadow| shadow.decides_for(&input.project));
            // The breaker is the running version's: another one that decides is asked.
            if let Some(left) = breaker.closed_for(Instant::now()).filter(|_| !decides) {
                let (name, seconds) = (&plugin.manifest.name, left.as_secs() + 1);
                let reason = format!("probe plugin `{name}` keeps failing and is asked again in {seconds} s");
                let report = ProbeReport { state: ServiceState::Unknown, reason, endpoint: String::new() };
                if falls_back {
                    left_alone.get_or_insert(report);
                    continue;
                }
                return Ok(report);
            }
            let (answer, is_running) = match shadow {
                None => (self.asking(plugin, bound, &input, access.clone()).verdict().await, true),
                Some(shadow) => self.ask_both(&shadow, plugin, bound, &input, access.clone()).await,
            };
            if is_running && breaker.note(answer.as_ref().is_err_and(is_its_fault), Instant::now()) {
                tracing::warn!(
                    plugin.id = plugin.manifest.name,
                    "probe plugin failed five times in a row and is left alone for a while"
                );
            }
            match answer {
                Ok(Some(report)) => return Ok(report),
                Ok(None) => {}
                Err(error) if falls_back => drop(first_failure.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        match (first_failure, left_alone) {
            (Some(error), _) => Err(error),
            (None, Some(report)) => Ok(report),
            (None, None) => Err(HookError::NoPlugin { hook: Hook::Probe.as_str() }),
        }
    }

    /// The way outside of a plugin, and to which hosts: its manifest's, which were granted, and the operator's.
    pub(super) fn way_outside(&self, plugin: &Plugin) -> Option<(Arc<dyn Egress>, Vec<EgressHost>)> {
        let operators = self.egress_hosts.get(&plugin.manifest.name).into_iter().flatten();
        Some((self.egress.clone()?, operators.chain(&plugin.manifest.egress).cloned().collect()))
    }

    /// The pinned plugins of a hook, in order.
    ///
    /// # Errors
    /// [`HookError::PinMissing`] when the code an operation began with is nowhere any more.
    pub(super) async fn pinned(&self, hook: Hook, pins: &Pins) -> Result<Vec<(Arc<Plugin>, Bound)>, HookError> {
        let mut plugins = Vec::new();
        for (name, digest) in pins {
            match self.pinned_plugin(name, digest).await {
                Some(plugin) => plugins.push(plugin),
                // The same plugin in another version that has nothing to do with this hook changes nothing here.
                None if self.current().plugin(name).is_some_and(|plugin| plugin.bound_to(hook).is_none()) => {}
                None => return Err(HookError::PinMissing { plugin: name.clone(), digest: digest.clone() }),
            }
        }
        Ok(registry::bound_to(&plugins, hook))
    }
}

/// A guest's log lines become events inside of it.
pub(super) fn span(plugin: &Plugin, hook: Hook, project: &str, operation: &str) -> tracing::Span {
    tracing::info_span!(
        "plugin.call",
        plugin.id = plugin.manifest.name,
        plugin.digest = plugin.digest,
        hook = hook.as_str(),
        project.id = project,
        op.id = operation
    )
}

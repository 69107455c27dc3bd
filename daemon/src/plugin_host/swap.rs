//! Plugins change while the daemon runs. What the folder has is read whole, compiled, linked and asked who it is beside the
//! version that works, and takes its place in one move; calls in flight end on the code they began with. A version that
//! is broken replaces nothing. An operation keeps the digest it began with: what was replaced stays at hand for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::host::PluginHost;
use super::load::{self, LoadError, Plugin};
use super::registry::Registry;
use super::trust::{self, Provenance};
use super::versions::Held;

/// Replaced plugins kept in memory; older ones are loaded again when an operation asks for them.
const RETIRED: usize = 8;

/// What became of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub plugin: String,
    /// What happened.
    pub fate: Fate,
    /// What ran before, by digest.
    pub from: Option<String>,
    /// What runs now, by digest.
    pub to: Option<String>,
    /// Why it was refused, or has no leave any more.
    pub error: Option<String>,
}

/// What became of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: the folder has what runs.
    Unchanged,
    /// It was not there before.
    Loaded,
    /// Another version runs now.
    Replaced,
    /// Its folder is gone, or its leave, and so is it.
    Removed,
    /// What the folder has is broken; what ran goes on, if anything did.
    Refused,
}

impl Fate {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Loaded => "loaded",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Refused => "refused",
        }
    }
}

/// Why a step back was not made. What ran goes on.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// No such plugin runs.
    #[error("no plugin `{0}` runs: `supamanager plugin list` names those that do")]
    Unknown(String),
    /// There is nothing to go to.
    #[error("no {wanted} of plugin `{plugin}` is kept; kept are, oldest first: {kept}")]
    NotKept {
        /// The plugin.
        plugin: String,
        /// `older version`, or the digest that was asked for.
        wanted: String,
        /// The digests.
        kept: String,
    },
    /// It does not load any more.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It would not outlive a restart.
    #[error("it cannot be written down that an older version runs: {0}: see to the data folder")]
    Write(#[from] std::io::Error),
}

impl PluginHost {
    /// Takes over what the folder has now.
    ///
    /// # Errors
    /// When the folder itself cannot be read; what ran goes on. What is wrong with one plugin is in its change.
    pub async fn reload(&self) -> Result<Vec<Change>, LoadError> {
        let _alone = self.changing.lock().await;
        let (next, changes) = self.look(&self.current()).await?;
        let changes: Vec<Change> = changes.into_iter().map(|(change, error)| with(change, error)).collect();
        if changes.iter().any(|change| !matches!(change.fate, Fate::Unchanged | Fate::Refused)) {
            self.swap(next);
        }
        self.shadows.keep_only(|shadow| shadow.has_leave(&self.loader.leave));
        for change in changes.iter().filter(|change| change.fate != Fate::Unchanged) {
            tell(change);
        }
        Ok(changes)
    }

    /// What the folder has at the start. Half a set of plugins would be another set: the first broken one ends it.
    pub(super) async fn first_load(&self) -> Result<(), LoadError> {
        let (first, changes) = self.look(&self.current()).await?;
        for (change, error) in changes {
            match error {
                None => {}
                // Nobody said yet, or any more, that it may: that is no broken set.
                Some(error @ LoadError::NotGranted { .. }) => {
                    let runs = change.to.as_deref().unwrap_or("nothing");
                    tracing::warn!(plugin.id = change.plugin, runs, %error, "plugin `{}` was not granted what it asks for", change.plugin);
                }
                Some(error) => return Err(error),
            }
        }
        self.swap(first);
        Ok(())
    }

    /// The newest kept version that may run, for one in the folder that may not.
    async fn newest_allowed(&self, name: &str) -> Option<Arc<Plugin>> {
        for version in self.versions.as_ref()?.of(name).into_iter().rev() {
            if self.loader.leave.judge_folder(&version.folder).is_ok()
                && let Ok(plugin) = load::load(&self.loader, &version.folder).await
            {
                return Some(Arc::new(plugin));
            }
        }
        None
    }

    /// What would run by what the folder has, beside what runs; nothing is swapped.
    async fn look(&self, now: &Registry) -> Result<(Registry, Vec<(Change, Option<LoadError>)>), LoadError> {
        let (mut plugins, mut changes) = (Vec::new(), Vec::new());
        for folder in load::plugin_folders(&self.folder)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let running = now.plugin(&name);
            let from = running.map(|plugin| plugin.digest.clone());
            let (plugin, fate, error) = match self.newest(&name, &folder, running).await {
                Ok(plugin) => {
                    let fate = match running {
                        Some(running) if Arc::ptr_eq(running, &plugin) => Fate::Unchanged,
                        Some(_) => Fate::Replaced,
                        None => Fate::Loaded,
                    };
                    (Some(plugin), fate, None)
                }
                // At the start nothing runs: what ran before may.
                Err(error @ LoadError::NotGranted { .. }) if running.is_none() => {
                    (self.newest_allowed(&name).await, Fate::Refused, Some(error))
                }
                // Somebody took the leave back: what ran has none either.
                Err(error) if running.is_some_and(|running| self.lost_leave(running)) => (None, Fate::Removed, Some(error)),
                Err(error) => (running.cloned(), Fate::Refused, Some(error)),
            };
            let to = plugin.as_ref().map(|plugin| plugin.digest.clone());
            plugins.extend(plugin);
            changes.push((Change { plugin: name, fate, from, to, error: None }, error));
        }
        let in_folder = |plugin: &Plugin| changes.iter().any(|(change, _)| change.plugin == plugin.manifest.name);
        let gone: Vec<&Arc<Plugin>> = now.plugins().iter().filter(|plugin| !in_folder(plugin)).collect();
        changes.extend(gone.into_iter().map(|gone| {
            let (plugin, from) = (gone.manifest.name.clone(), Some(gone.digest.clone()));
            (Change { plugin, fate: Fate::Removed, from, to: None, error: None }, None)
        }));
        Ok((Registry::new(plugins, now), changes))
    }

    /// The version that is to run: the folder's, or the one that is held in its place.
    async fn newest(&self, name: &str, folder: &Path, running: Option<&Arc<Plugin>>) -> Result<Arc<Plugin>, LoadError> {
        let (text, manifest) = load::read_manifest(folder)?;
        let wanted = format!("sha256:{}", manifest.sha256);
        if let Some((digest, folder)) = self.held(name, &wanted) {
            if let Some(running) = running.filter(|running| running.digest == digest && !self.lost_leave(running)) {
                return Ok(running.clone());
            }
            match self.load_and_keep(&folder).await {
                Ok(plugin) => return Ok(plugin),
                Err(error) => tracing::warn!(plugin.id = name, %error, "the older version does not load, the folder's runs"),
            }
        }
        match running.filter(|running| running.digest == wanted && running.text == text) {
            Some(running) => {
                self.loader.leave.judge(folder, &text, &manifest)?;
                // What runs is whole; what the next start would find may not be.
                load::read_component(folder, &manifest)?;
                Ok(running.clone())
            }
            None => {
                let plugin = self.load_and_keep(folder).await?;
                self.let_go(name);
                Ok(plugin)
            }
        }
    }

    /// Whether a plugin that runs would not be let in any more: not trusted, or not granted what it asks for.
    fn lost_leave(&self, plugin: &Plugin) -> bool {
        let folder = self.kept(&plugin.manifest.name, &plugin.digest).map(|(_, folder)| folder);
        let folder = folder.unwrap_or_else(|| self.folder.join(&plugin.manifest.name));
        plugin.provenance != Provenance::Shipped && self.loader.leave.judge(&folder, &plugin.text, &plugin.manifest).is_err()
    }

    /// The version that runs in place of the folder's, if the folder still has the one that it was put in place of.
    fn held(&self, name: &str, in_folder: &str) -> Option<(String, PathBuf)> {
        let versions = self.versions.as_ref()?;
        let held = versions.held(name)?;
        if held.instead_of == in_folder { self.kept(name, &held.digest) } else { None }
    }

    /// The folder's version runs: nothing is held in its place any more.
    fn let_go(&self, name: &str) {
        let Some(versions) = &self.versions else { return };
        if versions.held(name).is_some()
            && let Err(error) = versions.hold(name, None)
        {
            tracing::warn!(plugin.id = name, %error, "it cannot be written down that the folder's version runs again");
        }
    }

    async fn load_and_keep(&self, folder: &Path) -> Result<Arc<Plugin>, LoadError> {
        let plugin = load::load(&self.loader, folder).await?;
        self.check_operators(&plugin, folder)?;
        let running = self.current().plugin(&plugin.manifest.name).map(|running| running.digest.clone());
        if let Some(Err(error)) = self.versions.as_ref().map(|versions| versions.keep(&plugin, folder, running.as_deref())) {
            tracing::warn!(plugin.id = plugin.manifest.name, %error, "a version of a plugin was not kept: there is no way back to it");
        }
        Ok(Arc::new(plugin))
    }

    /// What the operator has a plugin told. Where projects add to it, the whole is checked when they choose.
    pub(super) fn check_operators(&self, plugin: &Plugin, folder: &Path) -> Result<(), LoadError> {
        let options = self.operators_options.get(&plugin.manifest.name);
        if options.is_none() && plugin.manifest.is_a_projects_choice() {
            return Ok(());
        }
        let wrong = |problem| LoadError::Options { file: folder.join(load::MANIFEST_FILE), problem };
        plugin.check_options(&options.cloned().unwrap_or_default()).map_err(wrong)
    }

    /// A kept version by its digest, and where it loads from.
    fn kept(&self, name: &str, digest: &str) -> Option<(String, PathBuf)> {
        let found = self.versions.as_ref()?.of(name).into_iter().find(|version| version.digest == digest)?;
        Some((found.digest, found.folder))
    }

    /// Goes back to the version before the one that runs, or to the kept one of a digest. It stays, also over a restart,
    /// until the folder gets another version than it has now.
    ///
    /// # Errors
    /// [`RollbackError`]; what ran goes on.
    pub async fn rollback(&self, name: &str, to: Option<&str>) -> Result<Change, RollbackError> {
        let _alone = self.changing.lock().await;
        let now = self.current();
        let running = now.plugin(name).ok_or_else(|| RollbackError::Unknown(name.to_owned()))?;
        let versions = self.versions.as_ref().map(|versions| versions.of(name)).unwrap_or_default();
        let place = versions.iter().position(|version| version.digest == running.digest).unwrap_or(versions.len());
        let target = match to {
            Some(digest) => versions.iter().find(|version| version.digest == digest),
            None => versions[..place].last(),
        };
        let not_kept = || RollbackError::NotKept {
            plugin: name.to_owned(),
            wanted: to.map_or_else(|| "older version".to_owned(), |digest| format!("version {digest}")),
            kept: versions.iter().map(|version| version.digest.as_str()).collect::<Vec<_>>().join(", "),
        };
        let target = target.ok_or_else(not_kept)?;
        let plugin = Arc::new(load::load(&self.loader, &target.folder).await?);
        self.check_operators(&plugin, &target.folder)?;
        let in_folder = load::read_manifest(&self.folder.join(name)).map(|(_, manifest)| format!("sha256:{}", manifest.sha256));
        let instead_of = in_folder.unwrap_or_else(|_| running.digest.clone());
        let held = Held { digest: target.digest.clone(), instead_of };
        if let Some(kept) = &self.versions {
            kept.hold(name, (held.digest != held.instead_of).then_some(&held))?;
        }
        let fate = if plugin.digest == running.digest { Fate::Unchanged } else { Fate::Replaced };
        let (from, to) = (Some(running.digest.clone()), Some(plugin.digest.clone()));
        let change = Change { plugin: name.to_owned(), fate, from, to, error: None };
        let others = now.plugins().iter().filter(|plugin| plugin.manifest.name != name).cloned();
        self.swap(Registry::new(others.chain([plugin]).collect(), &now));
        tell(&change);
        Ok(change)
    }

    /// In one move. What is replaced stays for the operations that began with it.
    fn swap(&self, next: Registry) {
        let next = Arc::new(next);
        self.shadows.keep_only(|shadow| shadow.is_beside(next.plugins()));
        let before = std::mem::replace(&mut *self.current.write().unwrap_or_else(|poison| poison.into_inner()), next.clone());
        for plugin in before.plugins().iter().filter(|old| !next.plugins().iter().any(|new| Arc::ptr_eq(old, new))) {
            self.loader.metrics.gone(&plugin.manifest.name, &plugin.manifest.version, &plugin.digest, plugin.provenance.as_str());
            self.retire(plugin.clone());
        }
        for plugin in next.plugins() {
            self.loader.metrics.runs(&plugin.manifest.name, &plugin.manifest.version, &plugin.digest, plugin.provenance.as_str());
        }
    }

    fn retire(&self, plugin: Arc<Plugin>) {
        let mut retired = self.retired.lock().unwrap_or_else(|poison| poison.into_inner());
        retired.retain(|old| old.digest != plugin.digest || old.manifest.name != plugin.manifest.name);
        retired.push(plugin);
        let beyond = retired.len().saturating_sub(RETIRED);
        retired.drain(..beyond);
    }

    /// The code of a pin, wherever it still is: running, replaced, or kept in the data folder.
    pub(super) async fn pinned_plugin(&self, name: &str, digest: &str) -> Option<Arc<Plugin>> {
        let is_it = |plugin: &&Arc<Plugin>| plugin.manifest.name == name && plugin.digest == digest;
        if let Some(plugin) = self.current().plugins().iter().find(is_it) {
            return Some(plugin.clone());
        }
        let retired = self.retired.lock().unwrap_or_else(|poison| poison.into_inner()).iter().find(is_it).cloned();
        if retired.is_some() {
            return retired.filter(|plugin| !self.lost_leave(plugin));
        }
        let (_, folder) = self.kept(name, digest)?;
        let plugin = load::load(&self.loader, &folder).await.map(Arc::new);
        let plugin = plugin.inspect_err(|error| tracing::warn!(plugin.id = name, %error, "a kept version does not load")).ok()?;
        self.retire(plugin.clone());
        Some(plugin)
    }

    /// Everything that decides what runs: when each file was written, and its length.
    fn files(&self) -> BTreeMap<PathBuf, Option<(SystemTime, u64)>> {
        let folders = load::plugin_folders(&self.folder).unwrap_or_default();
        let of_a_plugin = [load::MANIFEST_FILE, load::COMPONENT_FILE, trust::SIGNATURE_FILE];
        let files = folders.iter().flat_map(|folder| of_a_plugin.map(|file| folder.join(file)));
        let grants = self.loader.leave.approvals.file().map(Path::to_owned);
        let looked = files.chain([self.folder.join(trust::SHIPPED_FILE)]).chain(grants).map(|file| {
            let known = std::fs::metadata(&file).ok();
            let written = known.and_then(|known| Some((known.modified().ok()?, known.len())));
            (file, written)
        });
        looked.collect()
    }

    /// Reloads when the files of a plugin have changed and have been left alone for a round.
    pub async fn watch(&self, every: Duration, stop: CancellationToken) {
        let (mut taken, mut before) = (self.files(), None);
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let now = self.files();
            if now != taken && before.as_ref() == Some(&now) {
                if let Err(error) = self.reload().await {
                    tracing::warn!(%error, "the plugins were not looked at again: those that ran go on");
                }
                taken = now.clone();
            }
            before = Some(now);
        }
    }
}

fn with(change: Change, error: Option<LoadError>) -> Change {
    Change { error: error.map(|error| error.to_string()), ..change }
}

fn tell(change: &Change) {
    let Change { plugin, fate, from, to, error } = change;
    let (from, to) = (from.as_deref().unwrap_or("nothing"), to.as_deref().unwrap_or("nothing"));
    match error {
        None => tracing::info!(plugin.id = plugin, from, to, "plugin `{plugin}` was {}", fate.as_str()),
        Some(error) if *fate == Fate::Removed => {
            tracing::warn!(plugin.id = plugin, from, error, "plugin `{plugin}` was stopped: it has no leave any more");
        }
        Some(error) => tracing::warn!(plugin.id = plugin, runs = to, error, "plugin `{plugin}` was refused, what ran goes on"),
    }
}

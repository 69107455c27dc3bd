//! The composition root: builds every part, owns the tasks, stops them in order.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::backend::Traced;
use crate::backend::docker::DockerBackend;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{InstallationId, Secret};
use crate::http::{Api, router};
use crate::lifecycle::{Announcer, Failpoints, Lifecycle, Parts};
use crate::plugin_host::{HostConfig, PluginHost};
use crate::reach::Reach;
use crate::secrets::{MasterKey, new_hex};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::templates::Templates;
use crate::{health, usage};

/// A store that belongs to a data folder: the lock of the folder is held as long as this lives.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The installation.
    pub installation: InstallationId,
    /// The master key.
    pub key: MasterKey,
    _lock: Option<File>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, with the way out.
pub async fn serve(config: Config, encryption_secret: Option<Secret<String>>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let opened = open(&config, encryption_secret, &clock, Lock::Take).await?;
    let templates = Templates::load(&config.templates_dir).context("templates_dir")?;
    let named = |key: &str, name: &str, known: Vec<String>| anyhow!("{key} is `{name}`: use one of {}", known.join(", "));
    templates.set(&config.template_set).map_err(|known| named("template_set", &config.template_set, known))?;
    templates.images(&config.image_set).map_err(|known| named("image_set", &config.image_set, known))?;
    let docker = DockerBackend::connect(Some(config.docker_host.as_str()).filter(|host| !host.is_empty()))?;
    let backend = Arc::new(Traced::new(docker, clock.clone()));
    let plugins = PluginHost::load(HostConfig::new(&config.plugins_dir, &config.data_dir)).await.context("plugins_dir")?;
    let reach = Reach::new(backend.clone(), opened.installation.clone()).map_err(anyhow::Error::msg)?;
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| format!("listen is {}", config.listen))?;
    let stop = CancellationToken::new();
    let parts = Arc::new(Parts {
        announcer: Announcer::new(opened.store.clone(), clock.clone()),
        failpoints: Failpoints::new(&config.failpoint, &config.data_dir),
        turns: Semaphore::new(config.limits.operations),
        choosing: Default::default(),
        installation: opened.installation,
        store: opened.store,
        key: opened.key,
        metrics: Metrics::default(),
        sight: Default::default(),
        pulls: Default::default(),
        running: Default::default(),
        backend,
        plugins,
        templates,
        reach,
        clock,
        config,
    });
    let lifecycle = Lifecycle::new(parts.clone(), stop.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.run().await }
    });
    tasks.spawn(health::run(lifecycle.clone(), stop.clone()));
    tasks.spawn(usage::run(lifecycle.clone(), stop.clone()));
    tasks.close();
    tracing::info!(listen = %listener.local_addr()?, data_dir = %parts.config.data_dir.display(), "supamanager serves");
    let api = Api::new(lifecycle.clone(), &parts.config.limits);
    let serving = axum::serve(listener, router(api)).with_graceful_shutdown({
        let stop = stop.clone();
        async move {
            signalled().await;
            stop.cancel();
        }
    });
    // Open event streams would hold a graceful shutdown for ever.
    let limit = Duration::from_secs(parts.config.deadlines.stop_s);
    tokio::select! {
        served = serving => served?,
        () = async { stop.cancelled().await; tokio::time::sleep(limit).await } => {}
    }
    stop.cancel();
    lifecycle.stopped(limit).await;
    let _ = tokio::time::timeout(limit, tasks.wait()).await;
    parts.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Whether the data folder is locked: one daemon acts on a store, a command that only adds a row may run beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Take the folder's lock or fail.
    Take,
    /// Leave it alone.
    Leave,
}

/// Opens the data folder: its lock, the store, the installation's identity and key.
///
/// # Errors
/// A second daemon, another installation's store, or another key: each says what to do.
pub async fn open(config: &Config, secret: Option<Secret<String>>, clock: &Clock, lock: Lock) -> anyhow::Result<Opened> {
    let folder = &config.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("data_dir {}", folder.display()))?;
    let lock = if lock == Lock::Take { Some(take_lock(folder)?) } else { None };
    let store = Store::open(&config.store_url()).await.context("database_url")?;
    let (installation, known_key) = match store.installation().await? {
        Some((id, key)) => (id, Some(key)),
        None => (InstallationId::parse(&new_hex(16)?)?, None),
    };
    let named = agree(folder, &installation, known_key.is_none())?;
    let (secret, source) = match secret {
        Some(secret) => (secret, "ENCRYPTION_SECRET"),
        // A new key could read nothing of an old store: none is made for it.
        None if known_key.is_some() && !folder.join(KEY_FILE).exists() => {
            bail!("the store in {} was made with ENCRYPTION_SECRET set: set it to the same value", folder.display())
        }
        None => (key_file(folder)?, KEY_FILE),
    };
    let key = MasterKey::derive(&secret, &installation)?;
    if let Some(known) = known_key.filter(|known| known != key.id()) {
        bail!(
            "the store was made with key {known} and {source} is key {}: give the ENCRYPTION_SECRET it was made with",
            key.id()
        );
    }
    store.found(&installation, key.id(), &config.regions, clock.now()).await?;
    // The store comes first: a store without the file is completed at the next start, a file without a store is refused.
    if !named {
        write_new(&folder.join("installation"), installation.as_str())?;
    }
    Ok(Opened { store, installation, key, _lock: lock })
}

/// One daemon per data folder; the operating system frees the lock when the process ends, however it ends.
fn take_lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    if file.try_lock().is_err() {
        bail!("another daemon works on {}: stop it, or give this one another data_dir", folder.display());
    }
    Ok(file)
}

/// The file in the data folder that stands in for ENCRYPTION_SECRET.
const KEY_FILE: &str = "encryption.key";

/// The generated stand-in for ENCRYPTION_SECRET: made once, 0600, and said so.
fn key_file(folder: &Path) -> anyhow::Result<Secret<String>> {
    let path = folder.join(KEY_FILE);
    let key = new_hex(32)?;
    match write_new(&path, &key) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "ENCRYPTION_SECRET is not set: made a key file; without it no secret can be read, so keep a copy apart from backups");
            Ok(Secret::new(key))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut key = String::new();
            File::open(&path).and_then(|mut file| file.read_to_string(&mut key)).with_context(|| path.display().to_string())?;
            Ok(Secret::new(key.trim().to_owned()))
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The installation id lives in the store and in the folder (decision 1): a store beside a foreign folder would
/// take that folder's objects for its own. Whether the folder has one.
fn agree(folder: &Path, id: &InstallationId, new: bool) -> anyhow::Result<bool> {
    let path = folder.join("installation");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == id.as_str() => Ok(true),
        Ok(text) if new => bail!(
            "{} belongs to installation {}, and the store is new: give the store it came with, or another data_dir",
            folder.display(),
            text.trim()
        ),
        Ok(text) => {
            bail!("{} belongs to installation {}, the store to {id}: they do not belong together", folder.display(), text.trim())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A whole private file or none, whatever is killed when; one that is there already stays (AlreadyExists).
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    linked
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = async { tokio::signal::ctrl_c().await.ok() };
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => stream.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt => {}
        _ = terminate => {}
    }
}

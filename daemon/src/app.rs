//! The composition root: builds every part, owns the tasks, stops them in order.

mod backup;
mod keyfile;
mod remembering;
mod rotate;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::docker::DockerBackend;
use crate::backend::{Backend, Traced};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::domain::{InstallationId, Secret};
use crate::http::{Api, router};
use crate::lifecycle::{Failpoints, Foundations, Lifecycle, Parts, purge};
use crate::people::{People, Rules};
use crate::plugin_host::{HostConfig, Leave, PluginHost, egress_of_plugins};
use crate::reach::{Network, Wire};
use crate::secrets::{MasterKey, new_hex};
use crate::store::{Lease, ListFilter, Occupied, Store};
use crate::templates::Templates;
use crate::{health, holding, notify, reach, usage};

pub use backup::{Kept, backup, restore};
pub use keyfile::KEY_FILE;
use remembering::Remembering;
pub use rotate::{NextKey, Rotated, rotate};

/// A store that belongs to a data folder: the lock of the folder and the lease are held as long as this lives.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The installation.
    pub installation: InstallationId,
    /// The master key.
    pub key: MasterKey,
    /// The right to act on the store; a command has none.
    pub lease: Option<Lease>,
    _lock: Option<File>,
}

/// What the daemon works on: an engine, and the way to the addresses of its containers.
pub struct Outside {
    /// The container engine.
    pub backend: Arc<dyn Backend>,
    /// What is said to its containers.
    pub wire: Arc<dyn Wire>,
}

/// Serves until SIGTERM or SIGINT, or until another daemon may act on the store.
///
/// # Errors
/// Whatever keeps it from starting, with the way out; and that it lost the store's lease.
pub async fn serve(config: Config, encryption_secret: Option<Secret<String>>, lock: Lock) -> anyhow::Result<()> {
    serve_on(config, encryption_secret, lock, docker).await
}

/// The same on another engine: `outside` is asked once the store is open.
///
/// # Errors
/// As above, and whatever `outside` fails with.
pub async fn serve_on(
    config: Config,
    encryption_secret: Option<Secret<String>>,
    lock: Lock,
    outside: impl FnOnce(&Config, &Clock) -> anyhow::Result<Outside>,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let mut opened = open(&config, encryption_secret, &clock, lock).await?;
    let mut lease = opened.lease.take();
    let templates = Templates::load(&config.templates_dir).context("templates_dir")?;
    let named = |key: &str, name: &str, known: Vec<String>| anyhow!("{key} is `{name}`: use one of {}", known.join(", "));
    templates.set(&config.template_set).map_err(|known| named("template_set", &config.template_set, known))?;
    templates.images(&config.image_set).map_err(|known| named("image_set", &config.image_set, known))?;
    let Outside { backend, wire } = outside(&config, &clock)?;
    let host = HostConfig {
        memory: Some(Arc::new(Remembering(opened.store.clone()))),
        options: config.options_of_plugins()?,
        egress: Some(Arc::new(reach::Outside)),
        egress_hosts: egress_of_plugins(config.egress_of_plugins()?).map_err(anyhow::Error::msg)?,
        leave: Leave::new(&config.plugin_keys, &config.plugins_unsigned, &config.data_dir).map_err(anyhow::Error::msg)?,
        ..HostConfig::new(&config.plugins_dir, &config.data_dir)
    };
    let plugins = Arc::new(PluginHost::load(host).await.context("plugins_dir")?);
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| format!("listen is {}", config.listen))?;
    let told = notify::Settings::load(&config.notify).map_err(anyhow::Error::msg)?;
    let (kinds, window_ms) = told.wanted(&plugins);
    opened.store.want_notices(kinds, window_ms).await?;
    let stop = CancellationToken::new();
    let parts = Arc::new(Parts::new(Foundations {
        failpoints: Failpoints::new(&config.failpoint, &config.data_dir),
        installation: opened.installation,
        store: opened.store,
        key: opened.key,
        plugins,
        backend,
        wire,
        templates,
        clock,
        config,
    }));
    let lifecycle = Lifecycle::new(parts.clone(), stop.clone());
    let tasks = watch(&lifecycle, &stop);
    if parts.config.plugins_watch_s > 0 {
        let (plugins, stop) = (parts.plugins.clone(), stop.clone());
        let every = Duration::from_secs(parts.config.plugins_watch_s);
        tasks.spawn(async move { plugins.watch(every, stop).await });
    }
    let (notifier, plugins, news) = (parts.notifier.clone(), parts.plugins.clone(), lifecycle.watch());
    tasks.spawn(notify::run(notifier, told, plugins, news, parts.metrics.clone(), stop.clone()));
    tracing::info!(listen = %listener.local_addr()?, data_dir = %parts.config.data_dir.display(), "supamanager serves");
    parts.store.chain_audit().await?;
    let people = People::new(parts.store.clone(), parts.clock.clone(), &parts.key, rules_of_people(&parts.config));
    if let Some(secret) = people.begin_setup().await? {
        let link = format!("http://{}/setup?token={}", listener.local_addr()?, secret.expose());
        tracing::info!(link, "nobody has an account yet: open this link once, or run `supamanager user create`");
    }
    tasks.spawn(forget_sessions(people.clone(), stop.clone()));
    let api = Api::new(lifecycle.clone(), people, &parts.config.limits);
    let serving =
        axum::serve(listener, router(api).into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown({
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
        reason = lost(lease.as_mut()) => {
            // Nothing is finished and nothing is written: it is another's now.
            stop.cancel();
            bail!("{reason}; this one stops at once, start it again");
        }
    }
    stop.cancel();
    lifecycle.stopped(limit).await;
    let _ = tokio::time::timeout(limit, tasks.wait()).await;
    parts.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What the configuration says of people.
pub fn rules_of_people(config: &Config) -> Rules {
    let config::People { access_s, session_s, invitation_s, tries_per_minute } = config.people;
    Rules { access_s, session_s, invitation_s, tries_per_minute }
}

/// Sessions that ended long ago go once an hour.
async fn forget_sessions(people: People, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(3600));
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        if let Err(error) = people.forget_sessions().await {
            tracing::warn!(%error, "sessions that ended could not be forgotten");
        }
    }
}

fn docker(config: &Config, clock: &Clock) -> anyhow::Result<Outside> {
    let docker = DockerBackend::connect(Some(config.docker_host.as_str()).filter(|host| !host.is_empty()))?;
    let docker = if config.resources.parent_cgroup == "off" { docker.without_groups() } else { docker };
    let backend = Arc::new(Traced::new(docker, clock.clone()));
    Ok(Outside { backend, wire: Arc::new(Network::new().map_err(anyhow::Error::msg)?) })
}

/// Begins everything that goes on beside the requests, until `stop` falls.
pub fn watch(lifecycle: &Lifecycle, stop: &CancellationToken) -> TaskTracker {
    let tasks = TaskTracker::new();
    tasks.spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.run().await }
    });
    tasks.spawn(health::run(lifecycle.clone(), stop.clone()));
    tasks.spawn(holding::run(lifecycle.clone(), stop.clone()));
    tasks.spawn(usage::run(lifecycle.clone(), stop.clone()));
    tasks.spawn(purge::run(lifecycle.clone(), stop.clone()));
    tasks.close();
    tasks
}

async fn lost(lease: Option<&mut Lease>) -> String {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

/// Whether the data folder is locked: one daemon acts on a store, a command that only adds a row may run beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Take the folder's lock and the store's lease, or fail.
    Take,
    /// Wait until they are free: a standby.
    Wait,
    /// Leave it alone.
    Leave,
}

/// Opens the data folder: its lock, the store, the installation's identity and key.
///
/// # Errors
/// A second daemon, another installation's store, or another key: each says what to do.
pub async fn open(config: &Config, secret: Option<Secret<String>>, clock: &Clock, lock: Lock) -> anyhow::Result<Opened> {
    let folder = &config.data_dir;
    make_folder(folder)?;
    let held = match lock {
        Lock::Take => Some(take_lock(folder)?),
        Lock::Wait => Some(wait_for_lock(folder).await?),
        Lock::Leave => None,
    };
    let url = config.store_url();
    let leased =
        async |occupied| Store::open_leased(&url, occupied, clock.now()).await.map(|(store, lease)| (store, Some(lease)));
    let opening = match lock {
        Lock::Take => leased(Occupied::Fail).await,
        Lock::Wait => leased(Occupied::Wait).await,
        Lock::Leave => Store::open(&url).await.map(|store| (store, None)),
    };
    let (store, lease) = opening.context("database_url")?;
    let (installation, known_key) = match store.installation().await? {
        Some((id, key)) => (id, Some(key)),
        None => (InstallationId::parse(&new_hex(16)?)?, None),
    };
    let named = agree(folder, &installation, known_key.is_none())?;
    if !named && !store.projects(&ListFilter { limit: 1, ..ListFilter::default() }).await?.projects.is_empty() {
        bail!("the store has projects, and {} has none of their files: give the data_dir they were made in", folder.display());
    }
    let key = match (secret, &known_key) {
        (Some(secret), known) => {
            let key = MasterKey::derive(&secret, &installation)?;
            if let Some(known) = known.as_ref().filter(|known| *known != key.id()) {
                bail!("the store is under key {known} and ENCRYPTION_SECRET is key {}: give the one it is under", key.id());
            }
            key
        }
        // A new key could read nothing of an old store: none is made for it.
        (None, Some(known)) => keyfile::find(folder, &installation, known, held.is_some())?,
        (None, None) => MasterKey::derive(&keyfile::make(folder)?, &installation)?,
    };
    let key = match store.hash_key().await? {
        Some(sealed) => key.with_hash_key(&sealed)?,
        None => key,
    };
    store.found(&installation, key.id(), &config.regions, clock.now()).await?;
    // The store comes first: a store without the file is completed at the next start, a file without a store is refused.
    if !named {
        keyfile::write_new(&folder.join("installation"), installation.as_str())?;
    }
    Ok(Opened { store, installation, key, lease, _lock: held })
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("data_dir {}", folder.display()))
}

/// One daemon per data folder; the operating system frees the lock when the process ends, however it ends.
fn take_lock(folder: &Path) -> anyhow::Result<File> {
    try_lock(folder)?
        .ok_or_else(|| anyhow!("another daemon works on {}: stop it, or give this one another data_dir", folder.display()))
}

/// The same for a standby, until the daemon before it is gone.
async fn wait_for_lock(folder: &Path) -> anyhow::Result<File> {
    let mut told = false;
    loop {
        if let Some(file) = try_lock(folder)? {
            return Ok(file);
        }
        if !told {
            tracing::info!(data_dir = %folder.display(), "another daemon works on the data folder: this one stands by");
            told = true;
        }
        tokio::time::sleep(STANDBY_LOOKS).await;
    }
}

/// How often a standby looks whether it is needed.
const STANDBY_LOOKS: Duration = Duration::from_millis(200);

fn try_lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    Ok(file.try_lock().is_ok().then_some(file))
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

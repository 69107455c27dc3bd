//! `supamanager plugin keygen | sign | verify | grant | revoke`: whose plugins run, and what they may reach. They work on files
//! beside the daemon, which takes over what changes: so they work also while a plugin keeps it from starting.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::plugin_host::{
    Approval, Approvals, CANDIDATES, Leave, Limits, LoadError, MANIFEST_FILE, PluginHost, PluginInfo, SIGNATURE_FILE, held_in,
    new_key, plugin_folders, sign,
};

/// Makes a pair of keys; the secret half goes into a file of its own.
///
/// # Errors
/// When the file is there already or cannot be written.
pub fn keygen(name: &str, out: &Path) -> anyhow::Result<()> {
    let (secret, public) = new_key(name).map_err(anyhow::Error::msg)?;
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = opened.with_context(|| format!("{}: a new file is wanted", out.display()))?;
    writeln!(file, "{secret}")?;
    println!("secret key: {}, keep it where plugins are signed", out.display());
    println!("public key, for plugin_keys:\n{public}");
    Ok(())
}

/// Signs a plugin that was built.
///
/// # Errors
/// When a file cannot be read or written.
pub fn sign_folder(folder: &Path, key: &Path) -> anyhow::Result<()> {
    let read = |file: &Path| fs::read_to_string(file).with_context(|| format!("{}", file.display()));
    let (manifest, secret) = (read(&folder.join(MANIFEST_FILE))?, read(key)?);
    let file = folder.join(SIGNATURE_FILE);
    fs::write(&file, sign(&secret, &manifest).map_err(anyhow::Error::msg)?).with_context(|| format!("{}", file.display()))?;
    println!("signed: {}", file.display());
    Ok(())
}

/// Whether a daemon of this configuration would load a plugin.
///
/// # Errors
/// Why it would not.
pub async fn verify(folder: &Path, config: &Config) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
    let plugin = PluginHost::inspect(&folder, limits()).await?;
    let (provenance, _) = leave(config)?.judge_folder(&folder)?;
    println!("{} {} {}: {provenance}", plugin.name, plugin.version, plugin.digest);
    Ok(())
}

/// Grants a plugin everything it asks for, once somebody has seen it: without `given`, its digest and that of what it asks
/// for, it is only shown.
///
/// # Errors
/// When there is no such plugin, it is broken, or one of the digests is another one.
pub async fn grant(name: &str, given: Option<(&str, &str)>, config: &Config) -> anyhow::Result<()> {
    let mut plugin = PluginHost::inspect(&config.plugins_dir.join(name), limits()).await;
    let candidate = config.plugins_dir.join(CANDIDATES).join(name);
    // A version that is to be tried is granted before it takes the other's place.
    let is_it = |plugin: &PluginInfo| given.is_none_or(|(digest, _)| digest == plugin.digest);
    if candidate.is_dir() && !plugin.as_ref().is_ok_and(is_it) {
        plugin = PluginHost::inspect(&candidate, limits()).await;
    }
    let plugin = plugin?;
    let asks = plugin.reaches.lines();
    if asks.is_empty() {
        println!("{name} {} asks for nothing that has to be granted", plugin.digest);
        return Ok(());
    }
    println!("{name} {} asks for", plugin.digest);
    asks.iter().for_each(|line| println!("    {line}"));
    let asked = plugin.reaches.digest();
    match given {
        None => println!("grant it with: supamanager plugin grant {name} --digest {} --asks {asked}", plugin.digest),
        Some((digest, asks)) if digest == plugin.digest && asks == asked => {
            let approval = Approval { digest: plugin.digest, reaches: plugin.reaches };
            Approvals::in_folder(&config.data_dir).grant(name, approval).context("the grant was not written")?;
            println!("granted");
        }
        Some((digest, _)) if digest == plugin.digest => {
            bail!("`{name}` asks for something else now than what was looked at under that digest: look at it again")
        }
        Some((given, _)) => {
            bail!("the plugin in {} has another digest than {given}: look at what it asks for", config.plugins_dir.display())
        }
    }
    Ok(())
}

/// Takes a grant back: the plugin is called no more, once the daemon has seen it.
///
/// # Errors
/// When there was none, or it cannot be written.
pub fn revoke(name: &str, config: &Config) -> anyhow::Result<()> {
    if !Approvals::in_folder(&config.data_dir).revoke(name).context("the grant was not taken back")? {
        bail!("nothing was granted to `{name}`");
    }
    println!("revoked: the daemon calls it no more, and starts without it");
    Ok(())
}

/// A plugin of the folder.
pub struct Judged {
    /// As its folder is called.
    pub name: String,
    /// What it is, or why it is broken.
    pub plugin: Result<PluginInfo, LoadError>,
    /// Where it comes from and what it was granted beyond what it asks for, or why a daemon of this configuration would not
    /// load it.
    pub provenance: Result<(String, Vec<String>), LoadError>,
    /// The digest of another version that runs in its place.
    pub held: Option<String>,
}

/// The plugins of a folder, by name.
///
/// # Errors
/// When the folder cannot be read, or a key of the configuration is none.
pub async fn judged(config: &Config) -> anyhow::Result<Vec<Judged>> {
    let leave = leave(config)?;
    let mut all = Vec::new();
    for folder in plugin_folders(&config.plugins_dir)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plugin = PluginHost::inspect(&folder, limits()).await;
        let provenance = leave.judge_folder(&folder).map(|(provenance, beyond)| (provenance.to_string(), beyond));
        let held = plugin.as_ref().ok().and_then(|plugin| held_in(&config.data_dir, &name, &plugin.digest));
        all.push(Judged { name, plugin, provenance, held });
    }
    Ok(all)
}

fn leave(config: &Config) -> anyhow::Result<Leave> {
    Leave::new(&config.plugin_keys, &config.plugins_unsigned, &config.data_dir).map_err(anyhow::Error::msg)
}

fn limits() -> Limits {
    Limits::default()
}

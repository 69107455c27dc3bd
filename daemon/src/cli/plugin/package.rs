//! `supamanager plugin pack | install`: a plugin as one file, and that file into a plugin folder, pinned to its digest.
//!
//! The file is a tar of plugin.toml, plugin.wasm and, if there is one, plugin.sig: anybody can look into it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use crate::plugin_host::{COMPONENT_FILE, Limits, MANIFEST_FILE, PluginHost, SIGNATURE_FILE};
use crate::web;

/// What a component may have (plugin_host/load.rs), and a little for the rest.
const BYTES_MAX: u64 = 65 << 20;
/// For a file from elsewhere.
const DEADLINE: Duration = Duration::from_secs(300);
/// Everything that is packed, and nothing else is unpacked.
const FILES: [&str; 3] = [MANIFEST_FILE, COMPONENT_FILE, SIGNATURE_FILE];

/// Packs a plugin that was built.
///
/// # Errors
/// When it does not load, or a file cannot be written.
pub async fn pack(folder: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
    let plugin = PluginHost::inspect(&folder, Limits::default()).await?;
    let mut builder = tar::Builder::new(Vec::new());
    for name in FILES {
        let Ok(bytes) = fs::read(folder.join(name)) else { continue };
        // Neither times nor owners: the same plugin packs to the same bytes.
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    let bytes = builder.into_inner()?;
    let file = out.map_or_else(|| PathBuf::from(format!("{}-{}.plugin", plugin.name, plugin.version)), Path::to_owned);
    fs::write(&file, &bytes).with_context(|| format!("{}", file.display()))?;
    println!("packed     {} {} into {}, {} KiB", plugin.name, plugin.version, file.display(), bytes.len().div_ceil(1024));
    println!("install it with: supamanager plugin install {} --digest {}", file.display(), digest(&bytes));
    Ok(())
}

/// Takes such a file, from a path or from an `http://` address, into the plugin folder; the version before is what the daemon
/// keeps.
///
/// # Errors
/// When it is not the file of this digest, or what is in it does not load: then nothing has changed.
pub async fn install(source: &str, wanted: Option<&str>, plugins_dir: &Path) -> anyhow::Result<()> {
    let bytes =
        if source.starts_with("http://") || source.starts_with("https://") { fetch(source).await? } else { read(source)? };
    let found = digest(&bytes);
    match wanted {
        Some(wanted) => ensure!(wanted == found, "{source} has the digest {found}, not {wanted}: nothing was installed"),
        None => bail!(
            "look at where it comes from, then say which one you mean: supamanager plugin install {source} --digest {found}"
        ),
    }
    let unpacked = plugins_dir.join(format!(".installing-{}", std::process::id()));
    let installed = unpack(&bytes, &unpacked, plugins_dir).await;
    let _ = fs::remove_dir_all(&unpacked);
    let (name, version) = installed?;
    println!("installed  {name} {version} in {}", plugins_dir.join(&name).display());
    println!("whether it is trusted: supamanager plugin list; what it reaches: supamanager plugin grant {name}");
    Ok(())
}

async fn unpack(bytes: &[u8], unpacked: &Path, plugins_dir: &Path) -> anyhow::Result<(String, String)> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(bytes).entries().context("it is no file of `plugin pack`")? {
        let mut entry = entry.context("it is no file of `plugin pack`")?;
        let path = entry.path()?.into_owned();
        let known = FILES.into_iter().find(|name| path == Path::new(name));
        let name = known.with_context(|| format!("it holds {}, which no plugin has", path.display()))?;
        ensure!(entry.header().entry_type().is_file() && entry.size() <= BYTES_MAX, "{name} in it is no file, or too large");
        let mut text = Vec::new();
        entry.read_to_end(&mut text)?;
        files.push((name, text));
    }
    let manifest = files.iter().find(|(name, _)| *name == MANIFEST_FILE).context("it holds no plugin.toml")?;
    let name = name_of(&String::from_utf8_lossy(&manifest.1))?;
    let folder = unpacked.join(&name);
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    for (name, bytes) in &files {
        fs::write(folder.join(name), bytes)?;
    }
    let plugin = PluginHost::inspect(&folder, Limits::default()).await?;
    let (place, old) = (plugins_dir.join(&name), unpacked.join(".before"));
    let before = place.exists();
    if before {
        fs::rename(&place, &old)?;
    }
    if let Err(error) = fs::rename(&folder, &place) {
        if before {
            fs::rename(&old, &place)?;
        }
        return Err(error.into());
    }
    Ok((plugin.name, plugin.version))
}

/// Before anything is believed of it: it becomes the name of a folder.
fn name_of(manifest: &str) -> anyhow::Result<String> {
    let table: toml::Table = toml::from_str(manifest).context("its plugin.toml cannot be read")?;
    let name = table.get("name").and_then(toml::Value::as_str).unwrap_or_default();
    let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(!name.is_empty() && fits, "`name` in its plugin.toml is `{}`: a-z, 0-9 and - are expected", name.escape_default());
    Ok(name.to_owned())
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    let opened = fs::File::open(file).with_context(|| file.to_owned())?;
    let mut bytes = Vec::new();
    opened.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= BYTES_MAX, "{file} is larger than {} MiB", BYTES_MAX >> 20);
    Ok(bytes)
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let client = web::client().timeout(DEADLINE).build()?;
    let mut answer = client.get(url).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        ensure!((bytes.len() + chunk.len()) as u64 <= BYTES_MAX, "{url} is larger than {} MiB", BYTES_MAX >> 20);
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

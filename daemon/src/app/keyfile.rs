//! The file that stands in for ENCRYPTION_SECRET, and what lies beside it while the master key is changed.
//!
//! The store names the key that its secrets are under, and moves from one key to the next in one transaction. So the next
//! key is written before that transaction, in a file of its own, and takes the other's place after it: whenever the process
//! ends, one of the two is the key that the store names. Nothing here ever removes a key that a store may still need.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::domain::{InstallationId, Secret};
use crate::secrets::{MasterKey, new_hex};

/// The key file's name in the data folder.
pub const KEY_FILE: &str = "encryption.key";
/// The next key, from before the store is moved to it until it is in its place.
const NEXT_FILE: &str = "encryption.key.next";

/// The generated stand-in for ENCRYPTION_SECRET: made once, 0600, and said so.
///
/// # Errors
/// When it can be neither written nor read.
pub fn make(folder: &Path) -> anyhow::Result<Secret<String>> {
    let path = folder.join(KEY_FILE);
    let key = new_hex(32)?;
    match write_new(&path, &key) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "ENCRYPTION_SECRET is not set: made a key file; without it no secret can be read, so keep a copy apart from backups");
            Ok(Secret::new(key))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(folder, KEY_FILE)?.with_context(|| format!("{} has gone", path.display()))
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The key that the store is under, from the key file or the one beside it. With `finish`, which takes the folder's lock, a
/// change that was killed after the store had moved is brought to its end.
///
/// # Errors
/// When there is no key file, or none of them is that key.
pub fn find(folder: &Path, installation: &InstallationId, known: &str, finish: bool) -> anyhow::Result<MasterKey> {
    let mut seen = Vec::new();
    for name in [KEY_FILE, NEXT_FILE] {
        let Some(secret) = read(folder, name)? else { continue };
        let key = MasterKey::derive(&secret, installation)?;
        if key.id() == known {
            if name == NEXT_FILE && finish {
                put_aside(folder, installation)?;
                put_in_place(folder)?;
            }
            return Ok(key);
        }
        seen.push(format!("{name} is key {}", key.id()));
    }
    if seen.is_empty() {
        bail!("the store in {} is under key {known}, which ENCRYPTION_SECRET made: set it to the same value", folder.display());
    }
    bail!("the store is under key {known} and {}: give the ENCRYPTION_SECRET it is under, or that key file", seen.join(", "))
}

/// The next key: the one that an earlier attempt left, or a new one, safely on disk.
///
/// # Errors
/// When it can be neither written nor read.
pub fn next(folder: &Path) -> anyhow::Result<Secret<String>> {
    if let Some(left) = read(folder, NEXT_FILE)? {
        return Ok(left);
    }
    let key = new_hex(32)?;
    write_new(&folder.join(NEXT_FILE), &key).with_context(|| format!("{NEXT_FILE} in {}", folder.display()))?;
    Ok(Secret::new(key))
}

/// Keeps the key file under a second name, with its key's id: backups of the store from before the change need it. `None`
/// when there is no key file.
///
/// # Errors
/// When the file system refuses.
pub fn put_aside(folder: &Path, installation: &InstallationId) -> anyhow::Result<Option<String>> {
    let Some(secret) = read(folder, KEY_FILE)? else { return Ok(None) };
    let name = format!("{KEY_FILE}.{}", MasterKey::derive(&secret, installation)?.id());
    match std::fs::hard_link(folder.join(KEY_FILE), folder.join(&name)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(|| name.clone())?,
        _ => {}
    }
    synced(folder)?;
    Ok(Some(name))
}

/// The next key takes the place of the key file. Only after [`put_aside`], and once the store is under it.
///
/// # Errors
/// When the file system refuses.
pub fn put_in_place(folder: &Path) -> anyhow::Result<()> {
    std::fs::rename(folder.join(NEXT_FILE), folder.join(KEY_FILE)).with_context(|| NEXT_FILE.to_owned())?;
    synced(folder)
}

/// No key file any more: the store is under a passphrase. Only after [`put_aside`].
///
/// # Errors
/// When the file system refuses.
pub fn retire(folder: &Path) -> anyhow::Result<()> {
    for name in [KEY_FILE, NEXT_FILE] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| name.to_owned())?,
            _ => {}
        }
    }
    synced(folder)
}

/// A whole private file or none, whatever is killed when; one that is there already stays (AlreadyExists).
///
/// # Errors
/// What the file system says.
pub fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    linked?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The text of a key file, if it is there.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(folder: &Path, name: &str) -> anyhow::Result<Option<Secret<String>>> {
    let path = folder.join(name);
    let mut text = String::new();
    match File::open(&path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => Ok(Some(Secret::new(text.trim().to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn synced(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| folder.display().to_string())
}

//! The last versions of every plugin, kept in the data folder. So a step back needs no build and no file from elsewhere,
//! and an operation that goes on after a restart finds the code it began with (I12) although the folder has newer.
//!
//! A version lies in `<number>-<sha256>/<name>/`, as a plugin folder that loads like any other. The numbers rise in the
//! order in which versions came. `<name>.held` says that one of them runs in place of the folder's: what it replaces is
//! written down too, so that it ends when somebody puts yet another version into the folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::load::{COMPONENT_FILE, MANIFEST_FILE, Plugin, sha256_hex};
use super::trust::{self, Provenance, SIGNATURE_FILE};

/// Versions kept of one plugin.
const KEPT: usize = 5;

/// The folder.
pub struct Versions(PathBuf);

/// One version of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    number: u32,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// It loads from here.
    pub folder: PathBuf,
}

/// A version that runs in place of the folder's, both by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What runs.
    pub digest: String,
    /// What the folder had then.
    pub instead_of: String,
}

impl Versions {
    /// Kept in this folder, which is made with the first one.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The kept versions of a plugin, oldest first.
    pub fn of(&self, name: &str) -> Vec<Version> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let (file_name, folder) = (entry.file_name(), entry.path().join(name));
            let Some((number, hex)) = file_name.to_str().and_then(|text| text.split_once('-')) else { continue };
            if let (Ok(number), true) = (number.parse(), folder.is_dir()) {
                found.push(Version { number, digest: format!("sha256:{hex}"), folder });
            }
        }
        found.sort_by_key(|version| version.number);
        found
    }

    /// Keeps what was just loaded from `from`, and lets go of the oldest beyond [`KEPT`], but not of what is `running` or held.
    /// One that is kept already stays as it is, but for its plugin.toml, its signature and its place in the order.
    ///
    /// # Errors
    /// When it cannot be written, or is not what was loaded any more.
    pub fn keep(&self, plugin: &Plugin, from: &Path, running: Option<&str>) -> io::Result<()> {
        let name = &plugin.manifest.name;
        let versions = self.of(name);
        if let Some(kept) = versions.iter().find(|version| version.digest == plugin.digest) {
            if kept.folder == from {
                return Ok(());
            }
            put_papers(&kept.folder, plugin, from)?;
            // It has come back: the version before it is the one that ran until now.
            if versions.last() != Some(kept)
                && let Some(old) = kept.folder.parent()
            {
                fs::rename(old, self.next_folder(plugin))?;
            }
            return Ok(());
        }
        let component = fs::read(from.join(COMPONENT_FILE))?;
        if format!("sha256:{}", sha256_hex(&component)) != plugin.digest {
            return Err(io::Error::other("the file has changed since it was loaded"));
        }
        let (folder, unfinished) = (self.next_folder(plugin), self.0.join(".unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(unfinished.join(name))?;
        write(&unfinished.join(name).join(COMPONENT_FILE), &component)?;
        put_papers(&unfinished.join(name), plugin, from)?;
        fs::rename(&unfinished, &folder)?;
        let held = self.held(name).map(|held| held.digest);
        let old = (versions.len() + 1).saturating_sub(KEPT);
        let wanted = |version: &&Version| Some(&version.digest) != held.as_ref() && Some(version.digest.as_str()) != running;
        for version in versions.iter().take(old).filter(wanted) {
            fs::remove_dir_all(version.folder.parent().unwrap_or(&version.folder))?;
        }
        Ok(())
    }

    /// What runs in place of the folder's version.
    pub fn held(&self, name: &str) -> Option<Held> {
        let text = fs::read_to_string(self.held_file(name)).ok()?;
        let (digest, instead_of) = text.trim_end().split_once(' ')?;
        Some(Held { digest: digest.to_owned(), instead_of: instead_of.to_owned() })
    }

    /// From now on, also after a restart, this runs in place of the folder's version; `None`: nothing does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn hold(&self, name: &str, held: Option<&Held>) -> io::Result<()> {
        match held {
            Some(held) => write(&self.held_file(name), format!("{} {}\n", held.digest, held.instead_of).as_bytes()),
            None => match fs::remove_file(self.held_file(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    fn held_file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.held"))
    }

    /// After all others, of whichever plugin.
    fn next_folder(&self, plugin: &Plugin) -> PathBuf {
        let names = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let number = |name: std::ffi::OsString| name.to_str()?.split_once('-')?.0.parse::<u32>().ok();
        let number = names.filter_map(number).max().unwrap_or_default() + 1;
        self.0.join(format!("{number:06}-{}", plugin.manifest.sha256))
    }
}

/// The version that a daemon with this data folder runs in place of the one of this digest, which its plugin folder has.
pub fn held_in(data_dir: &Path, name: &str, instead_of: &str) -> Option<String> {
    Versions::new(data_dir.join("plugins")).held(name).filter(|held| held.instead_of == instead_of).map(|held| held.digest)
}

/// What says what it is and whose.
fn put_papers(folder: &Path, plugin: &Plugin, from: &Path) -> io::Result<()> {
    write(&folder.join(MANIFEST_FILE), plugin.text.as_bytes())?;
    if plugin.provenance == Provenance::Shipped {
        let of_all = folder.parent().unwrap_or(folder);
        return trust::record(of_all, &plugin.manifest.name, &plugin.text);
    }
    match fs::read(from.join(SIGNATURE_FILE)) {
        Ok(signature) => write(&folder.join(SIGNATURE_FILE), &signature),
        Err(_) => Ok(()),
    }
}

/// Whole or not at all, also when the power goes.
pub(super) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // Another process may write the same file.
    let unfinished = file.with_extension(format!("{}.unfinished", std::process::id()));
    let mut opened = fs::File::create(&unfinished)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    fs::rename(&unfinished, file)
}

/// Moves a whole folder into the place of another, which goes; in one move, so that there is always one of them.
pub(super) fn take_place(from: &Path, place: &Path) -> io::Result<()> {
    if !place.exists() {
        return fs::rename(from, place);
    }
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, place, rustix::fs::RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // A file system that cannot: for a moment there is none.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let before = place.with_extension("before");
            fs::rename(place, &before)?;
            fs::rename(from, place)?;
            fs::rename(&before, from)?;
        }
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = fs::remove_dir_all(from) {
        tracing::warn!(folder = %from.display(), %error, "what was replaced is still there");
    }
    Ok(())
}

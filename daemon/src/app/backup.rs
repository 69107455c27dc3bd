//! The daemon's own memory, out and back: a copy of the store with its checksum, and the master key apart from it.
//!
//! The copy is an ordinary SQLite file with `<file>.sha256` beside it, so that any tool can look into it. It holds no
//! key (decision 36): a backup with its key in it is sealed for nothing. The projects' data is not in it either; that is
//! in the `projects/` folder and belongs to each project's own backup.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::keyfile::{self, KEY_FILE};
use super::{make_folder, take_lock};
use crate::config::{Config, KEY_PASSPHRASE};
use crate::domain::{InstallationId, Secret};
use crate::secrets::{MasterKey, is_sealed_key, open_key, seal_key};
use crate::store::Store;

/// What a data folder may hold when a store is put into it: what a lost store leaves.
const MAY_STAY: [&str; 6] = ["projects", "cache", "plugins", "lock", "installation", "failpoint"];

/// What was written or put back.
#[derive(Debug)]
pub struct Kept {
    /// Whose store it is.
    pub installation: InstallationId,
    /// Id of the master key that its secrets are under.
    pub key_id: String,
    /// Bytes of the store.
    pub bytes: u64,
    /// Whether the master key is at hand where the store is.
    pub has_key: bool,
}

/// Copies the store to `file`, also while a daemon works on it, and the key to `key_file` if one is given: sealed when
/// there is a passphrase.
///
/// # Errors
/// A file that is there already, a key in clear beside the store, a database that is not SQLite.
pub async fn backup(
    config: &Config,
    secret: Option<&Secret<String>>,
    file: &Path,
    key_file: Option<&Path>,
    passphrase: Option<&Secret<String>>,
) -> anyhow::Result<Kept> {
    let source = sqlite(config)?;
    let sums = sums_of(file);
    for path in [file, &sums].into_iter().chain(key_file) {
        if path.exists() {
            bail!("{} is there already: give another name", path.display());
        }
    }
    if let Some(key_file) = key_file
        && passphrase.is_none()
        && folder_of(key_file)? == folder_of(file)?
    {
        bail!("a key in clear beside the store makes the sealing worthless: put it into another folder, or set {KEY_PASSPHRASE}");
    }
    let store = Store::look(&source).await.with_context(|| source.display().to_string())?;
    let (installation, key_id) = store.installation().await?.context("the store has no installation: start the daemon once")?;
    let key = key_file.map(|_| present_key(config, secret, &installation, &key_id)).transpose()?;
    let unfinished = unfinished(file);
    let copied = store.copy_to(&unfinished).await.with_context(|| unfinished.display().to_string());
    store.close().await;
    let written = copied.and_then(|()| {
        File::open(&unfinished)?.sync_all()?;
        let (sum, bytes) = checksum(&unfinished)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        keyfile::write_new(&sums, &format!("{sum}  {name}\n"))?;
        std::fs::rename(&unfinished, file)?;
        File::open(folder_of(file)?)?.sync_all()?;
        Ok(bytes)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    let bytes = written.with_context(|| file.display().to_string())?;
    if let (Some(path), Some(key)) = (key_file, key) {
        let text = passphrase.map_or_else(|| Ok(key.expose().clone()), |passphrase| seal_key(&key, passphrase))?;
        keyfile::write_new(path, &text).with_context(|| path.display().to_string())?;
    }
    Ok(Kept { installation, key_id, bytes, has_key: key_file.is_some() })
}

/// Puts a copy back into a data folder that has no store, with the key if a file of it is given.
///
/// # Errors
/// A folder with a store or with something unknown in it, a checksum that differs, a damaged copy, another key: nothing is
/// put into the folder then.
pub async fn restore(
    config: &Config,
    secret: Option<&Secret<String>>,
    file: &Path,
    key_file: Option<&Path>,
    passphrase: Option<&Secret<String>>,
) -> anyhow::Result<Kept> {
    let target = sqlite(config)?;
    make_folder(&config.data_dir)?;
    let _lock = take_lock(&config.data_dir)?;
    empty_enough(config, &target)?;
    let key = key_file.map(|path| read_key(path, passphrase)).transpose()?;
    let unfinished = unfinished(&target);
    let checked = checked_copy(file, &unfinished).await;
    let put = match checked {
        Ok(kept) => put_back(config, secret, key, kept, &unfinished, &target),
        Err(error) => Err(error),
    };
    if put.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    put
}

/// Copies while it sums, then has the database check the copy: what was checked is what is used.
async fn checked_copy(file: &Path, unfinished: &Path) -> anyhow::Result<Kept> {
    let sums = sums_of(file);
    let line = std::fs::read_to_string(&sums).with_context(|| format!("{}, which belongs to the copy", sums.display()))?;
    let wanted = line.split_whitespace().next().unwrap_or_default();
    let mut source = File::open(file).with_context(|| file.display().to_string())?;
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
    let bytes = std::io::copy(&mut source, &mut out)?;
    out.flush()?;
    out.sync_all()?;
    let (sum, _) = checksum(unfinished)?;
    if sum != wanted {
        bail!("{} has the checksum {sum} and {} says {wanted}: the copy was changed or cut off", file.display(), sums.display());
    }
    let version = Store::checked_version(unfinished).await.with_context(|| file.display().to_string())?;
    if version > Store::newest_version() {
        let ours = Store::newest_version();
        bail!("{} has schema {version} and this program knows {ours}: use the program that wrote it", file.display());
    }
    let (installation, key_id) = Store::identity(unfinished).await?.context("the copy has no installation")?;
    Ok(Kept { installation, key_id, bytes, has_key: false })
}

fn put_back(
    config: &Config,
    secret: Option<&Secret<String>>,
    key: Option<Secret<String>>,
    kept: Kept,
    unfinished: &Path,
    target: &Path,
) -> anyhow::Result<Kept> {
    let folder = &config.data_dir;
    let named = folder.join("installation");
    let there = std::fs::read_to_string(&named).ok();
    if let Some(other) = there.as_deref().map(str::trim).filter(|id| *id != kept.installation.as_str()) {
        bail!("{} belongs to installation {other}, the copy to {}: give another data_dir", folder.display(), kept.installation);
    }
    let mut has_key = false;
    for (source, text) in [("the key file given", key.as_ref()), ("ENCRYPTION_SECRET", secret)] {
        let Some(text) = text else { continue };
        let id = MasterKey::derive(text, &kept.installation)?.id().to_owned();
        if id != kept.key_id {
            bail!("{source} is key {id}, the copy's secrets are under key {}: give that one", kept.key_id);
        }
        has_key = true;
    }
    match (keyfile::read(folder, KEY_FILE)?, &key) {
        (Some(_), _) => {
            keyfile::find(folder, &kept.installation, &kept.key_id, false)?;
            has_key = true;
        }
        (None, Some(key)) => keyfile::write_new(&folder.join(KEY_FILE), key.expose())?,
        (None, None) => {}
    }
    std::fs::rename(unfinished, target)?;
    File::open(folder_of(target)?)?.sync_all()?;
    // The store comes first, as in `open`: a store without the file is completed at the next start.
    if there.is_none() {
        keyfile::write_new(&named, kept.installation.as_str())?;
    }
    Ok(Kept { has_key, ..kept })
}

fn empty_enough(config: &Config, target: &Path) -> anyhow::Result<()> {
    if target.exists() {
        bail!("{} is a store already: give another data_dir, or move it away first", target.display());
    }
    for entry in std::fs::read_dir(&config.data_dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !MAY_STAY.contains(&name.as_str()) && !name.starts_with(KEY_FILE) {
            bail!("{} holds `{name}`, which a lost store does not leave: give an empty data_dir", config.data_dir.display());
        }
    }
    Ok(())
}

/// The text of the key that the store is under: ENCRYPTION_SECRET, or the key file.
fn present_key(
    config: &Config,
    secret: Option<&Secret<String>>,
    installation: &InstallationId,
    known: &str,
) -> anyhow::Result<Secret<String>> {
    let text = match secret {
        Some(secret) => secret.clone(),
        None => keyfile::read(&config.data_dir, KEY_FILE)?
            .with_context(|| format!("there is no {KEY_FILE}: set ENCRYPTION_SECRET to what the daemon has"))?,
    };
    let id = MasterKey::derive(&text, installation)?.id().to_owned();
    match id == known {
        true => Ok(text),
        false => bail!("the store is under key {known} and the key at hand is {id}: give the one it is under"),
    }
}

fn read_key(path: &Path, passphrase: Option<&Secret<String>>) -> anyhow::Result<Secret<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    match (is_sealed_key(&text), passphrase) {
        (true, Some(passphrase)) => Ok(open_key(&text, passphrase)?),
        (true, None) => bail!("{} is sealed: set {KEY_PASSPHRASE} to the passphrase it was sealed with", path.display()),
        (false, _) => Ok(Secret::new(text.trim().to_owned())),
    }
}

fn sqlite(config: &Config) -> anyhow::Result<PathBuf> {
    Store::file(&config.store_url()).with_context(|| {
        "database_url is no sqlite: URL: copy a PostgreSQL store with pg_dump and pg_restore, and keep `installation` of the \
         data folder and the key with it"
    })
}

/// SHA-256 in hexadecimal digits, and the length in bytes.
fn checksum(path: &Path) -> anyhow::Result<(String, u64)> {
    let (mut file, mut sum, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                bytes += read as u64;
                sum.update(&buffer[..read]);
            }
        }
    }
    Ok((sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

fn sums_of(file: &Path) -> PathBuf {
    suffixed(file, "sha256")
}

fn unfinished(file: &Path) -> PathBuf {
    suffixed(file, &format!("{}.copying", std::process::id()))
}

fn suffixed(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

fn folder_of(file: &Path) -> anyhow::Result<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.canonicalize().with_context(|| folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Lock, open};
    use super::*;
    use crate::clock::Clock;
    use crate::secrets::new_hex;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("supamanager-backup-{}", new_hex(8).expect("a name")));
            std::fs::create_dir_all(folder.join("apart")).expect("made");
            Self(folder)
        }

        fn config(&self, data: &str) -> Config {
            Config { data_dir: self.0.join(data), ..Config::default() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn words<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("refused"))
    }

    #[tokio::test]
    async fn a_copy_made_beside_a_daemon_goes_back_whole_with_its_key() {
        let scratch = Scratch::new();
        let (old, new) = (scratch.config("old"), scratch.config("new"));
        let opened = open(&old, None, &Clock::system(), Lock::Take).await.expect("opened");
        let (copy, key) = (scratch.path("copy"), scratch.path("key"));
        let passphrase = Secret::new("a long passphrase".to_owned());
        let kept = backup(&old, None, &copy, Some(&key), Some(&passphrase)).await.expect("copied while it is open");
        assert_eq!((kept.installation.as_str(), kept.key_id.as_str()), (opened.installation.as_str(), opened.key.id()));
        assert!(words(backup(&old, None, &copy, None, None).await).contains("there already"));
        assert!(words(restore(&new, None, &copy, Some(&key), None).await).contains(KEY_PASSPHRASE));
        let back = restore(&new, None, &copy, Some(&key), Some(&passphrase)).await.expect("put back");
        assert!(back.has_key && back.bytes == kept.bytes);
        let again = open(&new, None, &Clock::system(), Lock::Take).await.expect("it opens with the key that came with it");
        assert_eq!((again.installation.as_str(), again.key.id()), (opened.installation.as_str(), opened.key.id()));
        assert_eq!(again.key.hash(&["x"]), opened.key.hash(&["x"]));
        assert_eq!(again.store.places().await.expect("rows"), opened.store.places().await.expect("rows"));
        again.store.close().await;
        drop(again);
        assert!(words(restore(&new, None, &copy, None, None).await).contains("a store already"));
    }

    #[tokio::test]
    async fn the_key_stays_out_and_a_clear_one_goes_elsewhere() {
        let scratch = Scratch::new();
        let (old, new) = (scratch.config("old"), scratch.config("new"));
        open(&old, None, &Clock::system(), Lock::Take).await.expect("opened").store.close().await;
        let copy = scratch.path("copy");
        let refused = words(backup(&old, None, &copy, Some(&scratch.path("key")), None).await);
        assert!(refused.contains("another folder") && !copy.exists(), "{refused}");
        let key = scratch.path("apart/key");
        backup(&old, None, &copy, Some(&key), None).await.expect("copied");
        let (text, bytes) = (std::fs::read_to_string(&key).expect("the key"), std::fs::read(&copy).expect("the copy"));
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "the copy holds the key");
        assert_eq!(text, std::fs::read_to_string(old.data_dir.join(KEY_FILE)).expect("the key file"));
        let wrong = Secret::new("w".repeat(40));
        assert!(words(restore(&new, Some(&wrong), &copy, None, None).await).contains("give that one"));
        assert!(!new.data_dir.join("supamanager.db").exists());
        assert!(!restore(&new, None, &copy, None, None).await.expect("without a key").has_key);
        assert!(open(&new, None, &Clock::system(), Lock::Take).await.is_err(), "no key is made for it");
    }

    #[tokio::test]
    async fn a_changed_copy_or_a_folder_in_use_is_refused_and_nothing_is_left() {
        let scratch = Scratch::new();
        let (old, new) = (scratch.config("old"), scratch.config("new"));
        open(&old, None, &Clock::system(), Lock::Take).await.expect("opened").store.close().await;
        let copy = scratch.path("copy");
        backup(&old, None, &copy, None, None).await.expect("copied");
        let whole = std::fs::read(&copy).expect("the copy");
        for damaged in [whole[..whole.len() - 1].to_vec(), [&whole[..5000], &[whole[5000] ^ 1], &whole[5001..]].concat()] {
            std::fs::write(&copy, &damaged).expect("written");
            assert!(words(restore(&new, None, &copy, None, None).await).contains("checksum"));
        }
        std::fs::write(&copy, b"no database").expect("written");
        let (sum, _) = checksum(&copy).expect("a sum");
        std::fs::write(sums_of(&copy), sum).expect("written");
        assert!(restore(&new, None, &copy, None, None).await.is_err(), "the sum is right and it is no store");
        std::fs::write(&copy, &whole).expect("written");
        std::fs::remove_file(sums_of(&copy)).expect("removed");
        assert!(words(restore(&new, None, &copy, None, None).await).contains("sha256"));
        let (sum, _) = checksum(&copy).expect("a sum");
        std::fs::write(sums_of(&copy), format!("{sum}  copy\n")).expect("written");
        std::fs::write(new.data_dir.join("letters.txt"), "x").expect("written");
        assert!(words(restore(&new, None, &copy, None, None).await).contains("letters.txt"));
        std::fs::remove_file(new.data_dir.join("letters.txt")).expect("removed");
        std::fs::write(new.data_dir.join("installation"), "0".repeat(32)).expect("written");
        assert!(words(restore(&new, None, &copy, None, None).await).contains("belongs to installation"));
        std::fs::remove_file(new.data_dir.join("installation")).expect("removed");
        let left: Vec<_> =
            std::fs::read_dir(&new.data_dir).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(left, ["lock"], "a refusal leaves nothing");
        let other = Config { database_url: "postgres://x/y".to_owned(), ..new };
        assert!(words(backup(&other, None, &copy, None, None).await).contains("pg_dump"));
    }
}

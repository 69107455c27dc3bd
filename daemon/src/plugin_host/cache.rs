//! Compiled plugins, so that a start takes a tenth of a millisecond per plugin instead of 400. Loading compiled
//! code is running it: wasmtime accepted a file with one flipped byte. So the files are only ever our own,
//! in a folder that is ours alone, each under a checksum with a key of this folder, and any doubt is a miss.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"supaaot1";
const TAG_BYTES: usize = 32;
/// A whole block of SHA-256, so that any key has the length HMAC wants.
const KEY_BYTES: usize = 64;

/// A folder of compiled plugins.
pub struct Cache {
    folder: PathBuf,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Cache {
    /// Opens the folder, or makes it. `None`, with a warning, when it is not ours alone: a daemon without a
    /// cache starts a second later, nothing else.
    pub fn open(folder: &Path) -> Option<Self> {
        let opened = ensure_private_folder(folder).and_then(|()| ensure_key(&folder.join("key")));
        match opened {
            Ok(key) => Some(Self { folder: folder.to_owned(), key }),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "compiled plugins are not cached");
                None
            }
        }
    }

    /// The compiled form of the component with this digest, made by this very engine.
    pub fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = file_name(engine, digest);
        let bytes = fs::read(self.folder.join(&name)).ok()?;
        let code = self.open_sealed(&name, &bytes)?;
        // SAFETY: `deserialize` runs what it is given. These bytes were written by `store` of this folder: the
        // tag over name and content holds under a key that only this account can read.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps a compiled component; a cache that cannot be written costs time at the next start only.
    pub fn store(&self, engine: &Engine, digest: &str, component: &Component) {
        let name = file_name(engine, digest);
        let written = component.serialize().map_err(io::Error::other).and_then(|code| {
            let sealed = self.seal(&name, &code);
            let unfinished = self.folder.join(format!(".{name}.{}", std::process::id()));
            write_private(&unfinished, &sealed)?;
            fs::rename(&unfinished, self.folder.join(&name))
        });
        if let Err(error) = written {
            tracing::warn!(folder = %self.folder.display(), %error, "a compiled plugin was not cached");
        }
    }

    fn seal(&self, name: &str, code: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(MAGIC.len() + TAG_BYTES + code.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.mac(name, code).finalize().into_bytes());
        sealed.extend_from_slice(code);
        sealed
    }

    fn open_sealed<'a>(&self, name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(TAG_BYTES)?;
        self.mac(name, code).verify_slice(tag).ok().map(|()| code)
    }

    /// Over the name too, so that a file cannot stand in for another one.
    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new((&*self.key).into());
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }
}

/// Digest of the component and hash of everything that decides what wasmtime makes of it.
fn file_name(engine: &Engine, digest: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{digest}-{:016x}.aot", hasher.finish())
}

fn ensure_private_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(folder) {
        Ok(()) => check_private(folder),
        Err(error) => Err(error),
    }
}

fn check_private(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        let words = format!("{} must belong to this account and be closed to others (chmod go= )", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
    }
    Ok(())
}

fn ensure_key(file: &Path) -> io::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if let Ok(bytes) = fs::read(file).map(Zeroizing::new)
        && bytes.len() == KEY_BYTES
    {
        check_private(file)?;
        key.copy_from_slice(&bytes);
        return Ok(key);
    }
    SysRng.try_fill_bytes(&mut *key).map_err(io::Error::other)?;
    let unfinished = file.with_extension(std::process::id().to_string());
    write_private(&unfinished, &*key)?;
    fs::rename(&unfinished, file)?;
    Ok(key)
}

fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.open(file)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("supamanager-aot-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn component(engine: &Engine) -> Component {
        Component::new(engine, b"\0asm\x0d\0\x01\0").expect("an empty component")
    }

    #[test]
    fn a_compiled_component_is_found_again() {
        let (engine, folder) = (Engine::default(), folder("again"));
        let cache = Cache::open(&folder).unwrap();
        assert!(cache.load(&engine, "d1").is_none());
        cache.store(&engine, "d1", &component(&engine));
        assert!(Cache::open(&folder).unwrap().load(&engine, "d1").is_some());
        assert!(cache.load(&engine, "d2").is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn any_changed_byte_and_any_changed_name_is_a_miss() {
        let (engine, folder) = (Engine::default(), folder("bytes"));
        let cache = Cache::open(&folder).unwrap();
        cache.store(&engine, "d1", &component(&engine));
        let file = folder.join(file_name(&engine, "d1"));
        let good = fs::read(&file).unwrap();
        for at in [0, 8, 40, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, &bad).unwrap();
            assert!(cache.load(&engine, "d1").is_none(), "byte {at}");
        }
        fs::write(&file, &good[..good.len() - 1]).unwrap();
        assert!(cache.load(&engine, "d1").is_none());
        fs::write(folder.join(file_name(&engine, "d2")), &good).unwrap();
        assert!(cache.load(&engine, "d2").is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let folder = folder("open");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Cache::open(&folder).is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}

//! The data folder: its key, and the file system below it.

use std::path::{Path, PathBuf};

use super::{Finding, advice, bad, good};
use crate::app::KEY_FILE;
use crate::config::Config;
use crate::domain::Secret;
use crate::secrets::MasterKey;

/// Whether there is a key, and for whom.
pub fn key(config: &Config, secret: Option<&Secret<String>>) -> Finding {
    let probe = crate::domain::InstallationId::parse(&"0".repeat(32));
    match (secret, probe) {
        (Some(secret), Ok(id)) => match MasterKey::derive(secret, &id) {
            Ok(_) => good("key: ENCRYPTION_SECRET is set and long enough"),
            Err(error) => bad(format!("key: {error}")),
        },
        _ => match private(&config.data_dir.join(KEY_FILE)) {
            Some(true) => good(format!("key: {}/{KEY_FILE}, readable by its owner only", config.data_dir.display())),
            Some(false) => bad(format!("key: others may read {}/{KEY_FILE}: chmod 600 it", config.data_dir.display())),
            None => advice("key: ENCRYPTION_SECRET is not set; the first start makes a key file in the data folder"),
        },
    }
}

fn private(path: &Path) -> Option<bool> {
    use std::os::unix::fs::PermissionsExt;
    Some(path.metadata().ok()?.permissions().mode() & 0o077 == 0)
}

/// File storage keeps a file's type and caching in extended attributes; without them every upload fails.
pub fn extended_attributes(config: &Config) -> Finding {
    let folder = nearest(&config.data_dir);
    let file = folder.join(format!(".supamanager-doctor-{}", std::process::id()));
    let tried = std::fs::write(&file, "x")
        .map_err(|error| error.to_string())
        .map(|()| rustix::fs::setxattr(&file, "user.supamanager.doctor", b"1", rustix::fs::XattrFlags::empty()));
    let _ = std::fs::remove_file(&file);
    match tried {
        Ok(Ok(())) => good(format!("extended attributes work in {}, which file storage needs", folder.display())),
        Ok(Err(error)) => bad(format!(
            "no extended attributes in {} ({error}), so file storage fails every upload: use a data_dir on ext4, xfs or btrfs",
            folder.display()
        )),
        Err(error) => advice(format!("extended attributes: {} cannot be tried: {error}", folder.display())),
    }
}

/// The folder, or the nearest one above it that is there: the first start makes the rest.
pub fn nearest(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Bytes that an ordinary account may still write there.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(nearest(folder)).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_it_will_be_in() {
        let there = std::env::temp_dir();
        assert_eq!(nearest(&there.join("not-there/deeper")), there);
        assert!(free_bytes(&there.join("not-there")).is_some_and(|bytes| bytes > 0));
    }
}

//! What lies on the disk, and what still fits.

use std::io::ErrorKind;
use std::path::Path;

/// Room for a copy of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What is copied, in bytes, with a tenth and 64 MiB to spare. Blocks that the file system could share are counted.
    pub needed_bytes: u64,
    /// What is free for the daemon's user, in bytes.
    pub free_bytes: u64,
}

/// A copy may need more than what it copies has: folders, and files that grow until everything stands still.
const EXTRA_BYTES: u64 = 64 << 20;

impl Room {
    /// Whether it is enough.
    pub fn is_enough(&self) -> bool {
        self.needed_bytes <= self.free_bytes
    }
}

/// Files looked at in one folder at most.
const FILES: u64 = 5_000_000;

/// How much of a folder was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What this daemon may read: not the database's own files, when it is not root.
    Readable,
    /// As much as is looked at.
    Cut,
}

/// How large a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes allocated on the disk.
    pub bytes: u64,
    /// How much of it they are.
    pub extent: Extent,
}

/// Bytes allocated under a folder, links not followed. What vanishes meanwhile does not count.
pub fn measure(folder: &Path) -> Measured {
    use std::os::unix::fs::MetadataExt;
    let mut measured = Measured { bytes: 0, extent: Extent::Whole };
    let (mut files, mut folders) = (0, vec![folder.to_owned()]);
    let barred = |error: &std::io::Error| error.kind() != ErrorKind::NotFound;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if barred(&error) => {
                measured.extent = Extent::Readable;
                continue;
            }
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            files += 1;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => measured.bytes += metadata.blocks() * 512,
                Err(error) if barred(&error) => measured.extent = Extent::Readable,
                Err(_) => {}
            }
        }
        if files > FILES {
            return Measured { extent: Extent::Cut, ..measured };
        }
    }
    measured
}

/// Bytes that the daemon's user may still take on the file system of `folder`.
///
/// # Errors
/// What the system says when `folder` is not there.
pub fn free(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Room beside `data` for a copy of it, on the file system of `folder`. Reads the whole tree.
///
/// # Errors
/// What the system says when `folder` is not there.
pub fn room_for_copy(folder: &Path, data: &Path) -> std::io::Result<Room> {
    let free_bytes = free(folder)?;
    let bytes = measure(data).bytes;
    Ok(Room { needed_bytes: bytes + bytes / 10 + EXTRA_BYTES, free_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_needs_what_lies_there_and_something_to_spare() {
        let folder = std::env::temp_dir().join(format!("supamanager-disk-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("data/deep")).expect("a folder");
        std::fs::write(folder.join("data/deep/file"), vec![7; 1 << 20]).expect("a file");
        let room = room_for_copy(&folder, &folder.join("data")).expect("a room");
        assert!(room.needed_bytes > (1 << 20) + EXTRA_BYTES && room.needed_bytes < (2 << 20) + EXTRA_BYTES, "{room:?}");
        assert!(room.free_bytes > 0 && !Room { free_bytes: 1, ..room }.is_enough());
        std::fs::remove_dir_all(folder).expect("the folder goes");
    }

    #[test]
    fn a_folder_is_what_its_files_take_and_no_link_leads_out_of_it() {
        let folder = std::env::temp_dir().join(format!("supamanager-measured-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a/b")).expect("a folder");
        std::fs::write(folder.join("a/b/file"), vec![7; 1 << 20]).expect("a file");
        std::os::unix::fs::symlink("/", folder.join("a/out")).expect("a link");
        let measured = measure(&folder);
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(measured.extent == Extent::Whole && (1 << 20..2 << 20).contains(&measured.bytes), "{measured:?}");
        assert_eq!(measure(&folder), Measured { bytes: 0, extent: Extent::Whole }, "a folder that is gone holds nothing");
    }
}

//! Folders.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// A new folder under `target/it`, left behind on failure so that it can be looked at.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = root().join("target/it").join(format!("{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

/// Files and folders, links followed.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the target folder");
    for entry in std::fs::read_dir(from).expect("the source folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// The repository's templates with one more image set, `broken`, made from `base` by replacing one image.
pub fn broken_images(base: &Path, base_set: &str, replace: &str, with: &str) -> PathBuf {
    let folder = scratch("broken-templates");
    copy_folder(base, &folder);
    let text = std::fs::read_to_string(folder.join(format!("images/{base_set}.toml"))).expect("the image set");
    assert!(text.contains(replace), "{replace} is not in {base_set}");
    let text = text.replace(replace, with).replace(&format!("name = \"{base_set}\""), "name = \"broken\"");
    std::fs::write(folder.join("images/broken.toml"), text).expect("written");
    folder
}

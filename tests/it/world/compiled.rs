//! Compiled plugins, shared by the daemons of all tests: to compile the shipped ones takes six seconds of a core, and a
//! hundred daemons begin with an empty folder. Each gets a copy of what the first one made, as a second start finds it.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{binary_path, copy_folder, plugins_dir, root, scratch};

/// What this binary made of these plugins.
fn folder() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    let binary = fs::metadata(binary_path()).and_then(|binary| binary.modified()).expect("the binary");
    (binary, fs::read(plugins_dir().join("shipped.toml")).expect("what is shipped")).hash(&mut hasher);
    root().join("target/it/compiled").join(format!("{:016x}", hasher.finish()))
}

/// Gives a daemon that has not been started what others compiled, if there is any.
pub fn give(data: &Path) {
    if folder().is_dir() {
        copy(&folder(), &data.join("cache"));
    }
}

/// Keeps what a daemon compiled, unless another one was first.
pub fn keep(data: &Path) {
    let (folder, unfinished) = (folder(), scratch("compiled-unfinished"));
    if folder.is_dir() || !data.join("cache").is_dir() {
        return fs::remove_dir_all(unfinished).expect("an empty folder goes");
    }
    copy(&data.join("cache"), &unfinished);
    fs::create_dir_all(folder.parent().expect("a parent")).expect("the folder of all");
    if fs::rename(&unfinished, &folder).is_err() {
        fs::remove_dir_all(unfinished).expect("the copy goes");
    }
}

/// Closed to others, or it is not believed.
fn copy(from: &Path, to: &Path) {
    copy_folder(from, to);
    fs::set_permissions(to, Permissions::from_mode(0o700)).expect("closed to others");
}

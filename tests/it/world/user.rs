//! Somebody who is not root but may use the engine, with a copy of all that the daemon needs: the repository itself
//! may lie in a folder that only root can enter.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use super::{binary_path, copy_folder, copy_plugins, root};

/// Where the engine listens; its group may use it.
const SOCKET: &str = "/var/run/docker.sock";
/// `nobody`.
const NOBODY: u32 = 65_534;

/// Another user and the folder that is theirs.
#[derive(Clone)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl User {
    /// Nobody, in the group of the engine's socket. Only root can become them.
    pub fn nobody(name: &str) -> Self {
        let gid = std::fs::metadata(SOCKET).expect("an engine").gid();
        let home = std::env::temp_dir().join(format!("supamanager-{name}-{}", std::process::id()));
        std::fs::create_dir_all(home.join("data")).expect("a folder");
        copy_folder(&root().join("templates"), &home.join("templates"));
        copy_plugins(&home.join("plugins"));
        std::fs::copy(binary_path(), home.join("supamanager")).expect("the program");
        for folder in [home.clone(), home.join("data")] {
            chown(&folder, Some(NOBODY), Some(gid)).expect("this test gives a folder away: run it as root");
        }
        Self { uid: NOBODY, gid, home }
    }
}

//! An image registry of this machine: Debian's `docker-registry` over a folder of the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Engine, root, run};

/// Ends with the value.
pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Serves on a port that must be free.
    pub async fn start(folder: &Path, port: u16) -> Self {
        let config = folder.join("registry.yml");
        let storage = folder.join("images");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            storage.display()
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(run(Command::new("sh").arg(root().join("tests/setup/registry.sh"))));
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { child: command.spawn().expect("a registry"), port };
        let begun = Instant::now();
        while supamanager_tests::get(format!("http://127.0.0.1:{port}/v2/")).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        registry
    }

    /// Takes an image from the engine: it is pushed, and the engine forgets it. The name to pull it by.
    pub fn take(&self, image: &str, name: &str) -> String {
        let reference = format!("127.0.0.1:{}/{name}", self.port);
        for arguments in [&["tag", image, &reference][..], &["push", "-q", &reference], &["rmi", image, &reference]] {
            Engine.docker(arguments);
        }
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

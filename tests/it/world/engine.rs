//! The engine, seen from outside: by its own command line, never through the daemon.

use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The engine of this machine.
#[derive(Clone, Copy)]
pub struct Engine;

impl Engine {
    /// Runs `docker ARGS`; standard output, or what it said on standard error.
    pub fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().expect("docker is installed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The same; it must succeed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments).unwrap_or_else(|error| panic!("docker {}: {error}", arguments.join(" ")))
    }

    /// Everything that carries a label: `container NAME`, `network NAME`, `volume NAME`.
    pub fn labelled(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let kinds: [(&str, &[&str]); 3] = [
            ("container", &["ps", "-a", "--format", "{{.Names}}"]),
            ("network", &["network", "ls", "--format", "{{.Name}}"]),
            ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ];
        let mut found = Vec::new();
        for (kind, command) in kinds {
            let listed = self.docker(&[command, &["--filter", &filter]].concat());
            found.extend(listed.lines().map(|name| format!("{kind} {name}")));
        }
        found
    }

    /// The projects that have a control group on this host, in any of its trees.
    pub fn groups(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let trees = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
        let entries = trees.flat_map(|tree| std::fs::read_dir(tree).into_iter().flatten().flatten());
        let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("supamanager-")?.to_owned()));
        let mut projects: Vec<String> = names.collect();
        projects.sort();
        projects.dedup();
        projects
    }

    /// `docker inspect` of one object as JSON.
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = self.docker(&["inspect", name]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")[0].clone()
    }

    /// A few megabytes with one program: enough for a container that listens. Made once per engine.
    pub fn tiny_image(&self) {
        // Side by side, each test would make its own and leave the others' without a name.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock();
        if self.try_docker(&["image", "inspect", "supamanager-sandbox/tiny:1"]).is_ok() {
            return;
        }
        let script = "set -e; busybox=$(command -v busybox); work=$(mktemp -d); mkdir -p $work/bin $work/tmp; cp $busybox $work/bin/busybox; \
            ln -s busybox $work/bin/sh; tar -C $work -c . | docker import -c 'ENTRYPOINT [\"/bin/busybox\"]' - supamanager-sandbox/tiny:1; rm -r $work";
        let done = Command::new("sh").args(["-c", script]).output().expect("a shell");
        assert!(done.status.success(), "{}: install busybox-static", String::from_utf8_lossy(&done.stderr));
    }
}

/// Objects that look like ours and are not: they must stay as they are (I3).
pub struct Decoys {
    names: [String; 3],
    before: Vec<String>,
}

impl Decoys {
    /// A container, a network and a volume with names and a label like ours, but no installation label. `number` is of
    /// whoever makes them alone: suites run side by side, and each has a subnet of its own.
    pub fn make(engine: Engine, mark: &str, number: u8) -> Self {
        engine.tiny_image();
        let names = ["container", "network", "volume"].map(|kind| format!("supamanager-decoy{mark}-{kind}"));
        remove(engine, &names);
        let label = ["--label", "io.supamanager.project=aaaaaaaaaaaaaaaaaaaa"];
        let command = ["httpd", "-f", "-p", "9000"];
        engine.docker(&[&["run", "-d", "--name", &names[0]], &label[..], &["supamanager-sandbox/tiny:1"], &command[..]].concat());
        let subnet = format!("10.213.{}.0/27", 77 + number);
        engine.docker(&[&["network", "create"], &label[..], &["--subnet", &subnet, &names[1]]].concat());
        engine.docker(&[&["volume", "create"], &label[..], &[&names[2]]].concat());
        let mut decoys = Self { names, before: Vec::new() };
        decoys.before = decoys.state(engine);
        decoys
    }

    /// Asserts that nothing about them changed, and removes them.
    pub fn untouched(self, engine: Engine) {
        assert_eq!(self.state(engine), self.before, "somebody touched a foreign object");
    }

    fn state(&self, engine: Engine) -> Vec<String> {
        let container = engine.inspect(&self.names[0]);
        let started = format!("{} {}", container["Id"], container["State"]["StartedAt"]);
        let network = engine.inspect(&self.names[1])["Id"].to_string();
        let volume = engine.inspect(&self.names[2])["CreatedAt"].to_string();
        vec![started, network, volume]
    }
}

impl Drop for Decoys {
    fn drop(&mut self) {
        remove(Engine, &self.names);
    }
}

/// Also what a run that was cut off has left.
fn remove(engine: Engine, [container, network, volume]: &[String; 3]) {
    let _ = engine.try_docker(&["rm", "-f", container]);
    let _ = engine.try_docker(&["network", "rm", network]);
    let _ = engine.try_docker(&["volume", "rm", volume]);
}

/// A network of somebody else, that holds a subnet until it is dropped.
pub struct ForeignNetwork(&'static str);

impl ForeignNetwork {
    /// Makes it. One that a run left behind that was cut off gives way.
    pub fn holding(name: &'static str, subnet: &str) -> Self {
        let _ = Engine.try_docker(&["network", "rm", name]);
        // Without a route on the host only the engine knows about it.
        Engine.docker(&["network", "create", "--internal", "--subnet", subnet, name]);
        Self(name)
    }
}

impl Drop for ForeignNetwork {
    fn drop(&mut self) {
        let _ = Engine.try_docker(&["network", "rm", self.0]);
    }
}

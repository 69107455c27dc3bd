//! Control groups, as files: one group per project that holds all of its containers, and what the kernel really has.
//!
//! Both versions are met: the second has one tree, the first a tree per controller, in each of which the engine makes
//! the group's folder and leaves it behind when the last container is gone.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::backend::Bounds;
use crate::domain::{Bytes, Cpu, Limits, ProjectRef};

/// The kernel's own period, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Limits of memory are rounded down to pages.
const PAGE: u64 = 4096;
/// Version 1 writes "no limit" as a number close to 2^63.
const UNLIMITED: u64 = 1 << 60;
/// What a group's name begins with; a ref follows.
const PREFIX: &str = "supamanager-";

/// One mounted tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    /// Names of controllers; empty for version 2.
    controllers: Vec<String>,
    /// What of the hierarchy is mounted.
    root: String,
    point: PathBuf,
}

/// The trees of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    trees: Vec<Tree>,
    /// Whether limits are set in the one tree of version 2.
    pub version: u8,
}

/// The name of a project's group.
pub fn name(project: &ProjectRef) -> String {
    format!("{PREFIX}{project}")
}

impl Cgroups {
    /// From the text of `/proc/self/mountinfo`; `None` when there is no memory controller to be found.
    pub fn read(mountinfo: &str) -> Option<Self> {
        let trees: Vec<Tree> = mountinfo.lines().filter_map(tree).collect();
        let has = |name: &str| trees.iter().any(|tree| tree.controllers.iter().any(|known| known == name));
        let unified = || trees.iter().any(|tree| tree.controllers.is_empty());
        let version = if has("memory") && has("cpu") { 1 } else { 2 };
        (version == 1 || unified()).then_some(Self { trees, version })
    }

    /// Those of this host.
    pub fn of_this_host() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// Makes the group, or changes one that is there. Nothing is written that is so already.
    pub fn ensure(&self, name: &str, bounds: &Bounds) -> Result<()> {
        for controller in ["memory", "cpu", "pids"] {
            let Some(tree) = self.tree(controller) else { continue };
            if self.version == 2 {
                let all = tree.point.join("cgroup.subtree_control");
                if !read(&all)?.split_whitespace().any(|known| known == controller) {
                    std::fs::write(&all, format!("+{controller}"))?;
                }
            }
            match std::fs::create_dir(tree.point.join(name)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let folder = |controller: &str| self.tree(controller).map(|tree| tree.point.join(name));
        let missing = || Error::new(ErrorKind::NotFound, "there is no controller for cpu or memory");
        let (cpu, memory) = (folder("cpu").ok_or_else(missing)?, folder("memory").ok_or_else(missing)?);
        self.set_cpu(&cpu, bounds.limits.cpu)?;
        self.set_memory(&memory, bounds.limits.memory)?;
        if let Some(pids) = folder("pids") {
            set(&pids.join("pids.max"), &bounds.pids.map_or("max".to_owned(), |pids| pids.to_string()))?;
        }
        Ok(())
    }

    fn set_cpu(&self, folder: &Path, cpu: Option<Cpu>) -> Result<()> {
        let quota = cpu.map(|cpu| (cpu.as_millis() * PERIOD_US / 1000).max(1000).to_string());
        if self.version == 2 {
            return set(&folder.join("cpu.max"), &format!("{} {PERIOD_US}", quota.as_deref().unwrap_or("max")));
        }
        set(&folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        set(&folder.join("cpu.cfs_quota_us"), quota.as_deref().unwrap_or("-1"))
    }

    /// With swap: on version 1 memory and swap together may never be less than memory alone, so the order depends on
    /// the direction.
    fn set_memory(&self, folder: &Path, memory: Option<Bytes>) -> Result<()> {
        if let (Some(wanted), Some(used)) = (memory, self.in_use(folder))
            && used > wanted.get()
        {
            let used = Bytes::new(used);
            return Err(Error::new(
                ErrorKind::ResourceBusy,
                format!("{used} are in use: ask for more than that, or stop something"),
            ));
        }
        if self.version == 2 {
            let text = |bytes: Option<u64>| bytes.map_or("max".to_owned(), |bytes| bytes.to_string());
            if folder.join("memory.swap.max").exists() {
                set(&folder.join("memory.swap.max"), &text(memory.map(|_| 0)))?;
            }
            return set(&folder.join("memory.max"), &text(memory.map(|memory| memory.get() / PAGE * PAGE)));
        }
        let hierarchy = folder.join("memory.use_hierarchy");
        if read(&hierarchy).is_ok_and(|text| text == "0") {
            std::fs::write(&hierarchy, "1")?;
        }
        let (alone, both) = (folder.join("memory.limit_in_bytes"), folder.join("memory.memsw.limit_in_bytes"));
        let text = memory.map_or("-1".to_owned(), |memory| (memory.get() / PAGE * PAGE).to_string());
        let now = number(&alone).unwrap_or(u64::MAX);
        let raises = memory.is_none_or(|memory| memory.get() / PAGE * PAGE > now);
        let with_swap = if both.exists() { Some(both) } else { None };
        let order = if raises { [with_swap, Some(alone)] } else { [Some(alone), with_swap] };
        for path in order.into_iter().flatten() {
            let already = memory.is_none() && number(&path).is_some_and(|now| now >= UNLIMITED);
            if !already {
                set(&path, &text)?;
            }
        }
        Ok(())
    }

    /// Memory that cannot be given back by dropping what was read from files.
    pub fn in_use(&self, folder: &Path) -> Option<u64> {
        let (current, cache) =
            if self.version == 2 { ("memory.current", "file") } else { ("memory.usage_in_bytes", "total_cache") };
        let stat = read(&folder.join("memory.stat")).ok()?;
        let cache = stat.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == cache)?.1.parse().ok());
        Some(number(&folder.join(current))?.saturating_sub(cache.unwrap_or(0)))
    }

    /// Removes the group from every tree; one that is gone already is fine. With it goes what a killed engine left in it:
    /// groups of containers that are no more. One with a process in it stays (`EBUSY`).
    pub fn remove(&self, name: &str) -> Result<()> {
        for tree in &self.trees {
            let folder = tree.point.join(name);
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    gone(&entry.path())?;
                }
            }
            gone(&folder)?;
        }
        Ok(())
    }

    /// The processes in a container's own group, whatever the engine knows of them. `parent` is the group that the
    /// container was made in, empty for the engine's own choice.
    pub fn processes_of(&self, parent: &str, id: &str) -> Vec<i32> {
        let within = |default| Some(parent.trim_matches('/')).filter(|name| !name.is_empty()).unwrap_or(default);
        let places = [
            format!("{}/{id}/cgroup.procs", within("docker")),
            // Where systemd makes the groups.
            format!("{}/docker-{id}.scope/cgroup.procs", within("system.slice")),
        ];
        let files = self.trees.iter().flat_map(|tree| places.iter().map(|place| tree.point.join(place)));
        let lists = files.filter_map(|file| read(&file).ok());
        let mut processes: Vec<i32> =
            lists.flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// The projects that have a group in any tree, whoever's they are.
    pub fn projects(&self) -> Vec<ProjectRef> {
        let entries = self.trees.iter().flat_map(|tree| std::fs::read_dir(&tree.point).into_iter().flatten().flatten());
        let named = entries.filter_map(|entry| ProjectRef::parse(entry.file_name().to_str()?.strip_prefix(PREFIX)?).ok());
        let mut projects: Vec<ProjectRef> = named.collect();
        projects.sort();
        projects.dedup();
        projects
    }

    /// What the kernel holds the process to whose `/proc/<pid>/cgroup` this is, and what it holds its group of ours to.
    /// `id` must be in every path: a process id may be another's by now.
    pub fn held(&self, of_process: &str, id: &str) -> Option<(Bounds, Option<Bounds>)> {
        let own = |controller: &str| self.folder_of(of_process, controller).filter(|path| path.ends_with(id));
        let (cpu, memory, pids) = (own("cpu")?, own("memory")?, own("pids"));
        let group = |path: &PathBuf| {
            let parent = path.parent()?;
            parent.file_name()?.to_str()?.starts_with(PREFIX).then(|| parent.to_owned())
        };
        let held = self.bounds(&cpu, &memory, pids.as_deref());
        let above = (group(&cpu)).zip(group(&memory)).map(|(cpu, memory)| {
            let pids = pids.as_ref().and_then(group);
            self.bounds(&cpu, &memory, pids.as_deref())
        });
        Some((held, above))
    }

    /// The folder of a container's memory controller.
    pub fn memory_of(&self, of_process: &str, id: &str) -> Option<PathBuf> {
        self.folder_of(of_process, "memory").filter(|path| path.ends_with(id))
    }

    fn folder_of(&self, of_process: &str, controller: &str) -> Option<PathBuf> {
        let tree = self.tree(controller)?;
        let path = of_process.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
            let meant = if self.version == 2 { number == "0" } else { names.split(',').any(|name| name == controller) };
            meant.then_some(path)
        })?;
        let inside = path.strip_prefix(tree.root.as_str()).unwrap_or(path);
        Some(tree.point.join(inside.trim_start_matches('/')))
    }

    fn bounds(&self, cpu: &Path, memory: &Path, pids: Option<&Path>) -> Bounds {
        let quota = if self.version == 2 {
            read(&cpu.join("cpu.max")).ok().and_then(|text| {
                let (quota, period) = text.split_once(' ')?;
                Some((quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?))
            })
        } else {
            number(&cpu.join("cpu.cfs_quota_us")).zip(number(&cpu.join("cpu.cfs_period_us")))
        };
        let limit = number(&memory.join(if self.version == 2 { "memory.max" } else { "memory.limit_in_bytes" }));
        Bounds {
            limits: Limits {
                cpu: quota.filter(|(_, period)| *period > 0).map(|(quota, period)| Cpu::millis(quota * 1000 / period)),
                memory: limit.filter(|limit| *limit < UNLIMITED).map(Bytes::new),
            },
            pids: pids.and_then(|folder| number(&folder.join("pids.max"))),
        }
    }

    fn tree(&self, controller: &str) -> Option<&Tree> {
        let of = |tree: &&Tree| match self.version {
            2 => tree.controllers.is_empty(),
            _ => tree.controllers.iter().any(|known| known == controller),
        };
        self.trees.iter().find(of)
    }
}

/// `36 35 98:0 ROOT POINT options - TYPE source SUPER`.
fn tree(line: &str) -> Option<Tree> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (mount.next()?.to_owned(), PathBuf::from(mount.next()?));
    let mut kind = kind.split(' ');
    let controllers = match kind.next()? {
        "cgroup2" => Vec::new(),
        "cgroup" => kind.next_back()?.split(',').filter(|word| *word != "rw" && *word != "ro").map(str::to_owned).collect(),
        _ => return None,
    };
    Some(Tree { controllers, root: root.trim_end_matches('/').to_owned(), point })
}

fn gone(folder: &Path) -> Result<()> {
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn number(path: &Path) -> Option<u64> {
    read(path).ok()?.parse().ok()
}

/// A write that changes nothing is left out: lowering memory makes the kernel look for pages.
fn set(path: &Path, text: &str) -> Result<()> {
    if read(path).is_ok_and(|now| now == text) { Ok(()) } else { std::fs::write(path, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    /// Trees in a folder that only looks like the kernel's: what is written where is what is tested.
    struct Folder(PathBuf);

    impl Folder {
        fn new(mark: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("supamanager-cgroup-{mark}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn is(&self, path: &str, text: &str) {
            assert_eq!(read(&self.0.join(path)).unwrap(), text, "{path}");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn bounds(cpu: Option<u64>, memory: Option<u64>) -> Bounds {
        Bounds { limits: Limits { cpu: cpu.map(Cpu::millis), memory: memory.map(Bytes::new) }, pids: Some(500) }
    }

    fn version_2(folder: &Folder) -> Cgroups {
        std::fs::write(folder.0.join("cgroup.subtree_control"), "cpu memory pids").unwrap();
        let line = format!("30 23 0:27 / {} rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate", folder.0.display());
        Cgroups::read(&line).expect("a tree")
    }

    fn version_1(folder: &Folder) -> Cgroups {
        let lines = ["cpu,cpuacct", "memory", "pids", "freezer", "name=systemd"].map(|controllers| {
            let name = controllers.split(['=', ',']).next().unwrap();
            std::fs::create_dir_all(folder.0.join(name)).unwrap();
            format!("32 31 0:29 / {} rw,relatime - cgroup cgroup rw,{controllers}\n", folder.0.join(name).display())
        });
        Cgroups::read(&lines.concat()).expect("trees")
    }

    #[test]
    fn the_one_tree_of_version_2_is_written_and_read() {
        let folder = Folder::new("two");
        let groups = version_2(&folder);
        groups.ensure("supamanager-x", &bounds(Some(1500), Some(1 << 30))).unwrap();
        folder.is("supamanager-x/cpu.max", "150000 100000");
        folder.is("supamanager-x/memory.max", "1073741824");
        folder.is("supamanager-x/pids.max", "500");
        std::fs::create_dir(folder.0.join(format!("supamanager-x/{ID}"))).unwrap();
        std::fs::write(folder.0.join(format!("supamanager-x/{ID}/memory.max")), "max\n").unwrap();
        let (own, group) = groups.held(&format!("0::/supamanager-x/{ID}\n"), ID).expect("found");
        assert_eq!((own, group), (Bounds::default(), Some(bounds(Some(1500), Some(1 << 30)))));
        groups.ensure("supamanager-x", &bounds(None, None)).unwrap();
        folder.is("supamanager-x/cpu.max", "max 100000");
        folder.is("supamanager-x/memory.max", "max");
    }

    #[test]
    fn the_trees_of_version_1_are_written_and_read() {
        let folder = Folder::new("one");
        let groups = version_1(&folder);
        assert_eq!(groups.version, 1);
        groups.ensure("supamanager-x", &bounds(Some(500), Some(5000))).unwrap();
        folder.is("cpu/supamanager-x/cpu.cfs_quota_us", "50000");
        folder.is("memory/supamanager-x/memory.limit_in_bytes", "4096");
        folder.is("pids/supamanager-x/pids.max", "500");
        let lines = format!("4:memory:/supamanager-x/{ID}\n3:cpu,cpuacct:/supamanager-x/{ID}\n2:pids:/docker/{ID}\n0::/\n");
        let (_, group) = groups.held(&lines, ID).expect("found");
        assert_eq!(group, Some(Bounds { pids: None, ..bounds(Some(500), Some(4096)) }));
        assert!(groups.held(&lines, "another").is_none(), "a process id may be somebody else's by now");
    }

    #[test]
    fn memory_that_is_in_use_is_not_taken_away() {
        let folder = Folder::new("busy");
        let groups = version_2(&folder);
        groups.ensure("supamanager-x", &bounds(None, Some(1 << 30))).unwrap();
        std::fs::write(folder.0.join("supamanager-x/memory.current"), "300000000").unwrap();
        std::fs::write(folder.0.join("supamanager-x/memory.stat"), "anon 200000000\nfile 100000000\n").unwrap();
        let error = groups.ensure("supamanager-x", &bounds(None, Some(100_000_000))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(error.to_string().starts_with("200MB are in use"), "{error}");
        folder.is("supamanager-x/memory.max", "1073741824");
        groups.ensure("supamanager-x", &bounds(None, Some(200_000_001))).unwrap();
    }

    #[test]
    fn a_group_is_found_and_removed_in_every_tree() {
        let folder = Folder::new("all");
        let groups = version_1(&folder);
        let project = ProjectRef::parse(&"b".repeat(20)).unwrap();
        assert!(groups.projects().is_empty());
        for tree in ["freezer", "name"] {
            std::fs::create_dir(folder.0.join(tree).join(name(&project))).unwrap();
        }
        std::fs::create_dir(folder.0.join("freezer/supamanager-decoy")).unwrap();
        assert_eq!(groups.projects(), std::slice::from_ref(&project));
        groups.remove(&name(&project)).unwrap();
        groups.remove(&name(&project)).unwrap();
        assert!(groups.projects().is_empty() && folder.0.join("freezer/supamanager-decoy").exists());
    }

    #[test]
    fn what_a_killed_engine_left_is_seen_and_goes_with_the_group() {
        let folder = Folder::new("left");
        let groups = version_1(&folder);
        for (tree, place, processes) in
            [("pids", "supamanager-x", "12\n7\n"), ("memory", "supamanager-x", "7\n"), ("cpu", "docker", "9\n")]
        {
            let path = folder.0.join(tree).join(place).join(ID);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cgroup.procs"), processes).unwrap();
        }
        assert_eq!(groups.processes_of("/supamanager-x", ID), [7, 12]);
        assert_eq!(groups.processes_of("", ID), [9]);
        assert!(groups.processes_of("/supamanager-x", "another").is_empty());
        assert!(groups.remove("supamanager-x").is_err(), "something is in it");
        for tree in ["pids", "memory"] {
            std::fs::remove_file(folder.0.join(tree).join("supamanager-x").join(ID).join("cgroup.procs")).unwrap();
        }
        groups.remove("supamanager-x").unwrap();
        assert!(!folder.0.join("pids/supamanager-x").exists() && folder.0.join("cpu/docker").exists());
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_read_from_its_root() {
        let lines = "1 1 0:1 /outer /cg/memory rw - cgroup cgroup rw,memory\n1 1 0:1 / /cg/cpu rw - cgroup cgroup rw,cpu\n";
        let groups = Cgroups::read(lines).expect("trees");
        let path = groups.folder_of("4:memory:/outer/docker/abc\n", "memory");
        assert_eq!(path, Some(PathBuf::from("/cg/memory/docker/abc")));
        assert_eq!(Cgroups::read("1 1 0:1 / /proc rw - proc proc rw\n"), None);
    }
}

//! I1 to I13 of the design, asked once everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use supamanager::backend::{ErrorClass, Labels};
use supamanager::domain::{InstallationId, OperationId, Project, ProjectRef, ProjectStatus, ServiceName};
use supamanager::lifecycle::{Created, LifecycleError};
use supamanager_tests::fake::{Container, FakeEngine, MIGRATIONS, Network, State, Volume, World};

use crate::records;
use crate::stand::{Life, Stand, installation, templates};

/// Objects that are not ours, among them some that look like it; and what was promised so far.
pub struct Witness {
    decoys: String,
    secrets: BTreeMap<ProjectRef, Vec<(String, String)>>,
    engine: FakeEngine,
    /// Projects that have been healthy once: their data is somebody's work. What was written, and how many volumes had
    /// been removed by then: a create that failed before has taken its own away.
    precious: BTreeMap<ProjectRef, (String, usize)>,
    /// Projects whose delete was acknowledged.
    pub deletes: BTreeSet<ProjectRef>,
    /// Operations that were acknowledged.
    pub promised: Vec<OperationId>,
    /// Keys of creates, and the project each was answered with; `None` when the answer was never heard.
    pub keys: BTreeMap<String, Option<ProjectRef>>,
    /// Projects beside which another installation has one of the same ref.
    shadowed: BTreeSet<ProjectRef>,
    /// What was wrong at some moment before the end.
    sampled: Vec<String>,
}

impl Witness {
    /// Puts the decoys on the engine.
    pub fn new(engine: &FakeEngine) -> Self {
        let mut world = engine.look();
        for decoy in ["postgres", "supamanager-decoy-db"].map(|name| decoy(name, None)) {
            world.containers.insert(decoy.id.clone(), decoy);
        }
        let network = |name: &str, labels, subnet: &str| Network {
            id: name.to_owned(),
            name: name.to_owned(),
            labels,
            composed: None,
            subnet: subnet.to_owned(),
        };
        let stranger = ProjectRef::parse(&"z".repeat(20)).unwrap();
        let name = format!("supamanager-{stranger}");
        let labels = Some(elsewhere(&stranger, None));
        let theirs = decoy(&format!("{name}-db"), Some(elsewhere(&stranger, Some("db"))));
        world.containers.insert(theirs.id.clone(), theirs);
        world.networks.insert(name.clone(), network(&name, labels.clone(), "192.168.78.0/24"));
        world.volumes.insert(format!("{name}-kept"), Volume { labels, folder: "/nowhere".into() });
        world.networks.insert("supamanager-decoy".into(), network("supamanager-decoy", None, "192.168.77.0/24"));
        world.volumes.insert("supamanager-decoy-kept".into(), Volume { labels: None, folder: "/nowhere".into() });
        let decoys = decoys(&world);
        drop(world);
        Self {
            engine: engine.clone(),
            decoys,
            secrets: BTreeMap::new(),
            precious: BTreeMap::new(),
            deletes: BTreeSet::new(),
            promised: Vec::new(),
            keys: BTreeMap::new(),
            shadowed: BTreeSet::new(),
            sampled: Vec::new(),
        }
    }

    /// A create whose name is its key, and what it promises.
    pub async fn create(&mut self, life: &Life, name: &str) -> Result<Created, LifecycleError> {
        // Before the answer: a crash may come between its commit and us hearing of it.
        self.keys.entry(name.to_owned()).or_default();
        let created = life.create(name).await?;
        self.keys.insert(name.to_owned(), Some(created.project.clone()));
        self.promised.extend(created.operation.clone());
        Ok(created)
    }

    /// I9: every create once more, with the key it had.
    pub async fn ask_again(&mut self, life: &Life) {
        for (name, known) in self.keys.clone() {
            match (self.create(life, &name).await, known) {
                (Ok(created), Some(known)) if created.operation.is_some() || created.project != known => {
                    self.sampled.push(format!("I9: the key of {known} gave {}, {:?}", created.project, created.operation));
                }
                (Ok(_), _) | (Err(LifecycleError::EngineAway(_) | LifecycleError::NotListed), _) => {}
                // Never accepted before, and not now.
                (Err(LifecycleError::Ports(_) | LifecycleError::Subnets(_)), None) => {}
                // Whether it fits is asked of the engine.
                (Err(LifecycleError::Backend(error)), None) if error.class() == ErrorClass::Retry => {}
                (Err(error), known) => self.sampled.push(format!("I9: the key of {known:?} gave an error: {error}")),
            }
        }
    }

    /// Remembers what was handed out up to now.
    pub async fn remember(&mut self, stand_data: &std::path::Path, life: &Life) {
        // The first ones are what was handed out; later ones are held against them.
        for (project, secrets) in life.secrets().await {
            self.secrets.entry(project).or_insert(secrets);
        }
        let projects = life.projects().await;
        self.sample(&projects);
        for project in projects {
            if matches!(project.status, ProjectStatus::ActiveHealthy | ProjectStatus::ActiveUnhealthy)
                && let Some(written) = data_of(stand_data, &project.id)
            {
                let removed = self.engine.look().removed_volumes.len();
                self.precious.entry(project.id).or_insert((written, removed));
            }
        }
    }

    /// Something that must not be is told at the end.
    pub fn wrong(&mut self, what: String) {
        self.sampled.push(what);
    }

    /// What must be so at every moment; and where there is a project now, another installation gets its like.
    fn sample(&mut self, projects: &[Project]) {
        let mut world = self.engine.look();
        if decoys(&world) != self.decoys {
            self.sampled.push("I3: something foreign was touched, seen on the way".to_owned());
        }
        unique(projects, &mut self.sampled);
        unique_on_engine(&world, &mut self.sampled);
        for project in projects {
            if self.shadowed.insert(project.id.clone()) {
                let like = decoy(&format!("supamanager-{}-twin", project.id), Some(elsewhere(&project.id, Some("db"))));
                world.containers.insert(like.id.clone(), like);
                let volume = Volume { labels: Some(elsewhere(&project.id, None)), folder: "/nowhere".into() };
                world.volumes.insert(format!("supamanager-{}-twin", project.id), volume);
            }
        }
        self.decoys = decoys(&world);
    }

    /// Everything that can be asked of a quiet system. What is wrong, one line each.
    pub async fn look(&self, engine: &FakeEngine, data: &std::path::Path, life: &Life) -> Vec<String> {
        let projects = life.projects().await;
        let mut pins = BTreeMap::new();
        for project in &projects {
            if let Some(operation) = &project.stack_operation {
                let pinned = life.parts.store.image_pins(operation).await.unwrap();
                let pinned: BTreeMap<String, String> = pinned.into_iter().map(|pin| (pin.service, pin.digest)).collect();
                pins.insert(project.id.clone(), pinned);
            }
        }
        let mut wrong = self.sampled.clone();
        wrong.extend(self.look_at(&engine.look(), &projects, data, &pins));
        let labels = records::labels(&engine.look());
        wrong.extend(records::look(life, data, &labels, &projects, &self.secrets).await);
        for (name, known) in &self.keys {
            let named: Vec<&ProjectRef> = projects.iter().filter(|p| p.name == *name).map(|p| &p.id).collect();
            if named.len() > 1 || (named.is_empty() && known.is_some()) {
                wrong.push(format!("I9: the key `{name}` gave {named:?}"));
            }
        }
        for (project, (written, _)) in &self.precious {
            if !self.deletes.contains(project) && data_of(data, project).as_ref() != Some(written) {
                wrong.push(format!("I7: {project} has lost its data"));
            }
        }
        let now = life.secrets().await;
        for (project, secrets) in &self.secrets {
            if now.get(project).is_some_and(|now| now != secrets) {
                wrong.push(format!("I8: a secret of {project} changed"));
            }
        }
        for operation in &self.promised {
            match life.parts.store.operation(operation).await.unwrap() {
                Some(found) if found.ended_at.is_some() => {}
                Some(found) => wrong.push(format!("I2: {operation} is {:?} for ever", found.state)),
                None => wrong.push(format!("I2: {operation} has vanished")),
            }
        }
        wrong
    }

    fn look_at(&self, world: &World, projects: &[Project], data: &std::path::Path, pins: &Pins) -> Vec<String> {
        let mut wrong = Vec::new();
        if decoys(world) != self.decoys {
            wrong.push("I3: something foreign was touched".to_owned());
        }
        for project in projects {
            objects_fit(world, project, pins.get(&project.id), &mut wrong);
            limits_fit(world, project, &mut wrong);
            let folder = data.join("projects").join(project.id.as_str());
            for left in [".next", ".previous", ".snapshot", ".snapshot.complete"] {
                if folder.join(left).exists() {
                    wrong.push(format!("I1: {left} of {} is left", project.id));
                }
            }
            // What a newer image has run on cannot be taken back to an older one: the data is that of the stack.
            let ran = std::fs::read_to_string(folder.join("volumes/db").join(MIGRATIONS)).unwrap_or_default();
            let pinned = pins.get(&project.id).and_then(|pins| pins.get("db")).map(String::as_str);
            if matches!(project.status, ProjectStatus::ActiveHealthy | ProjectStatus::Paused) && ran.lines().last() != pinned {
                wrong.push(format!("I7: the data of {} was run by {ran:?}, and its stack has {pinned:?}", project.id));
            }
            let folder = folder.exists();
            if folder && matches!(project.status, ProjectStatus::Failed | ProjectStatus::Deleted) {
                wrong.push(format!("I1: {} is {} and has a folder", project.id, project.status.as_str()));
            }
        }
        let known: BTreeSet<&ProjectRef> = projects.iter().map(|project| &project.id).collect();
        let owners = world.containers.values().filter(|c| c.is_of(&installation())).filter_map(|c| c.labels.as_ref());
        let owners = owners.map(|labels| &labels.project);
        wrong.extend(owners.filter(|owner| !known.contains(owner)).map(|owner| format!("I1: {owner} is nobody's")));
        unique(projects, &mut wrong);
        for (number, (volume, owner)) in world.removed_volumes.iter().enumerate() {
            let precious = self.precious.get(owner).is_some_and(|(_, removed_before)| number >= *removed_before);
            if precious && !self.deletes.contains(owner) {
                wrong.push(format!("I7: {volume} of {owner} was removed and nobody had asked for it"));
            }
        }
        wrong
    }
}

/// Service -> digest that its project's stack is pinned to, by project.
type Pins = BTreeMap<ProjectRef, BTreeMap<String, String>>;

/// I1: the engine has what the store says there should be: these services, of these images, on this network.
fn objects_fit(world: &World, project: &Project, pins: Option<&BTreeMap<String, String>>, wrong: &mut Vec<String>) {
    let ours =
        |labels: &Option<Labels>| labels.as_ref().is_some_and(|l| l.installation == installation() && l.project == project.id);
    let prefix = format!("supamanager-{}", project.id);
    let (services, runs) = match project.status {
        ProjectStatus::ActiveHealthy | ProjectStatus::ActiveUnhealthy => (services_of(project, pins), true),
        ProjectStatus::Paused => (services_of(project, pins), false),
        ProjectStatus::Failed | ProjectStatus::Deleted => (Vec::new(), false),
        ProjectStatus::Creating
        | ProjectStatus::Pausing
        | ProjectStatus::Updating
        | ProjectStatus::Resuming
        | ProjectStatus::Restarting
        | ProjectStatus::Deleting => {
            wrong.push(format!("I11: {} is {} and nothing is under way", project.id, project.status.as_str()));
            return;
        }
    };
    let mut want: Vec<String> = services
        .iter()
        .map(|(service, digest, ports)| {
            let ports = if runs { ports.clone() } else { Vec::new() };
            format!("container {prefix}-{service} {digest} running {runs} {ports:?}")
        })
        .collect();
    let containers: Vec<&Container> = world.containers.values().filter(|c| ours(&c.labels)).collect();
    let mut have: Vec<String> = Vec::new();
    for container in &containers {
        let running = matches!(container.state, State::Running { .. });
        let mut ports = if running { container.ports.clone() } else { Vec::new() };
        ports.sort_unstable();
        have.push(format!("container {} {} running {running} {ports:?}", container.name, container.digest));
        let service = container.labels.as_ref().and_then(|labels| labels.service.as_ref());
        if service.is_none_or(|service| container.name != format!("{prefix}-{service}")) {
            wrong.push(format!("I1: {} says that it is {service:?}", container.name));
        }
    }
    if project.status == ProjectStatus::Paused {
        // One that somebody removed by hand is made again by the resume.
        want.retain(|want| have.contains(want) || containers.iter().any(|c| want.starts_with(&format!("container {} ", c.name))));
    }
    let there = !services.is_empty();
    want.extend(there.then(|| format!("network {prefix} {}", project.subnet)));
    want.extend(there.then(|| format!("volume {prefix}-kept")));
    have.extend(world.networks.values().filter(|n| ours(&n.labels)).map(|n| format!("network {} {}", n.name, n.subnet)));
    have.extend(world.volumes.iter().filter(|(_, v)| ours(&v.labels)).map(|(name, _)| format!("volume {name}")));
    want.sort();
    have.sort();
    if have != want {
        let lines = |lines: Vec<String>| lines.join("\n      ");
        wrong.push(format!(
            "I1: {} is {}:\n      {}\n    should be\n      {}",
            project.id,
            project.status.as_str(),
            lines(have),
            lines(want)
        ));
    }
}

/// Every container is held by its project's group, or by limits of its own; a group goes with its project.
fn limits_fit(world: &World, project: &Project, wrong: &mut Vec<String>) {
    let group = world.groups.get(&project.id);
    if matches!(project.status, ProjectStatus::Failed | ProjectStatus::Deleted) {
        wrong.extend(group.map(|_| format!("I1: {} is {} and has a group", project.id, project.status.as_str())));
        return;
    }
    let limits = project.resources.limits();
    let ours = world.containers.values().filter(|container| container.is_of(&installation()));
    for container in ours.filter(|c| c.labels.as_ref().is_some_and(|labels| labels.project == project.id)) {
        let held = match container.parent {
            Some(_) => group.map(|bounds| bounds.limits) == Some(limits),
            None => container.limits.is_none() == limits.is_none(),
        };
        if !held {
            wrong.push(format!("{} is held by {:?} and {group:?}, not by {limits:?}", container.name, container.limits));
        }
    }
}

/// Its services, what each is pinned to, and the host ports it publishes.
fn services_of(project: &Project, pins: Option<&BTreeMap<String, String>>) -> Vec<(String, String, Vec<u16>)> {
    let set = &templates().set(&project.template_set).unwrap().spec;
    let on = set.services.iter().filter(|service| !project.without.contains(&service.name));
    let with_pins = on.map(|service| {
        let digest = pins.and_then(|pins| pins.get(service.name.as_str())).map_or("without a pin", String::as_str);
        let ports = set.ports.iter().filter(|port| port.service == service.name);
        let mut ports: Vec<u16> = ports.filter_map(|port| project.port(&port.name)).collect();
        ports.sort_unstable();
        (service.name.to_string(), digest.to_owned(), ports)
    });
    with_pins.collect()
}

/// I6, on the engine: ports that are published, subnets and names that are there.
fn unique_on_engine(world: &World, wrong: &mut Vec<String>) {
    let running = world.containers.values().filter(|c| matches!(c.state, State::Running { .. }));
    let ports = running.flat_map(|c| &c.ports).map(|port| format!("port {port}"));
    let names = world.containers.values().map(|c| format!("name {}", c.name));
    let subnets = world.networks.values().map(|n| format!("subnet {}", n.subnet));
    let mut seen = BTreeSet::new();
    for thing in ports.chain(names).chain(subnets) {
        if !seen.insert(thing.clone()) {
            wrong.push(format!("I6: {thing} is twice on the engine"));
        }
    }
}

/// I6, of the store's own rows: the engine refuses a port twice by itself.
fn unique(projects: &[Project], wrong: &mut Vec<String>) {
    let (mut ports, mut subnets) = (BTreeSet::new(), BTreeSet::new());
    for project in projects.iter().filter(|project| project.status != ProjectStatus::Deleted) {
        for (_, port) in &project.ports {
            if !ports.insert(*port) {
                wrong.push(format!("I6: port {port} is held twice"));
            }
        }
        if !subnets.insert(project.subnet.clone()) {
            wrong.push(format!("I6: subnet {} is held twice", project.subnet));
        }
    }
}

fn data_of(data: &std::path::Path, project: &ProjectRef) -> Option<String> {
    let path = data.join("projects").join(project.as_str()).join("volumes/db/written-by-the-first-start");
    std::fs::read_to_string(path).ok()
}

/// Labels of another installation on the same engine.
fn elsewhere(project: &ProjectRef, service: Option<&str>) -> Labels {
    Labels {
        installation: InstallationId::parse(&"6".repeat(32)).unwrap(),
        project: project.clone(),
        service: service.map(|name| ServiceName::parse(name).unwrap()),
        generation: 1,
        operation: OperationId::parse(&format!("op_{}", "6".repeat(24))).unwrap(),
        spec_hash: "of somebody else".to_owned(),
    }
}

fn decoy(name: &str, labels: Option<Labels>) -> Container {
    Container {
        id: format!("decoy of {name}"),
        name: name.to_owned(),
        labels,
        state: State::Running { since: 0 },
        digest: "sha256:decoy".to_owned(),
        network: "supamanager-decoy".to_owned(),
        address: Some(std::net::Ipv4Addr::new(192, 168, 77, 2)),
        volumes: vec!["supamanager-decoy-kept".to_owned()],
        ..Container::default()
    }
}

/// Everything that is not ours, as text: the daemon must leave it as it is. An engine that restarts ends and starts
/// their processes, which is not the daemon's doing; that one is stopped for good would be.
fn decoys(world: &World) -> String {
    let theirs = |labels: &Option<Labels>| labels.as_ref().is_none_or(|labels| labels.installation != installation());
    let containers = world.containers.values().filter(|c| theirs(&c.labels));
    let containers = containers.map(|c| format!("{} {} {:?} stopped {}", c.id, c.name, c.labels, c.stopped));
    let networks = world.networks.values().filter(|n| theirs(&n.labels)).map(|n| format!("{n:?}"));
    let volumes = world.volumes.iter().filter(|(_, v)| theirs(&v.labels)).map(|(name, v)| format!("{name} {v:?}"));
    containers.chain(networks).chain(volumes).collect::<Vec<_>>().join("\n")
}

/// The end of every case: all that is left is deleted, and nothing is left.
pub async fn all_deleted(stand_engine: &FakeEngine, data: &std::path::Path, life: &Life, witness: &mut Witness) -> Vec<String> {
    for project in life.projects().await {
        if project.status != ProjectStatus::Deleted {
            match life.lifecycle.delete(&project, "test").await {
                Ok(operation) => {
                    witness.promised.push(operation);
                    witness.deletes.insert(project.id);
                }
                Err(error) => return vec![format!("I11: {} cannot be deleted: {error}", project.id)],
            }
        }
    }
    // What the engine was asked for before it was well may still happen, after the last delete: that is the reaper's.
    while stand_engine.look().calls_on_their_way() > 0 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    life.quiet(std::time::Duration::from_secs(3600)).await;
    let mut wrong = witness.look(stand_engine, data, life).await;
    wrong.extend(stand_engine.look().labelled(&installation()).into_iter().map(|left| format!("I1: left: {left}")));
    let folders = std::fs::read_dir(data.join("projects")).map(|entries| entries.count()).unwrap_or(0);
    if folders > 0 {
        wrong.push(format!("I1: {folders} folders are left"));
    }
    wrong
}

impl Stand {
    /// A witness for this stand.
    pub fn witness(&self) -> Witness {
        Witness::new(&self.engine)
    }
}

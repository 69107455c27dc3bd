//! What the engine has, and what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use supamanager::backend::{BackendError, Bounds, Labels, Result};
use supamanager::domain::{InstallationId, ProjectRef, ServiceName};
use supamanager::subnets::Net;

use super::containers::{Container, Containers, State};
use super::manners::{Call, Fault, Manners};

/// Every image that has run on this data, in its order: what an older one cannot take back.
pub const MIGRATIONS: &str = "migrated-by";

fn migrate(folder: &std::path::Path, digest: &str) {
    let log = folder.join(MIGRATIONS);
    let before = std::fs::read_to_string(&log).unwrap_or_default();
    if folder.is_dir() && before.lines().last() != Some(digest) {
        std::fs::write(log, format!("{before}{digest}\n")).expect("the data folder takes a file");
    }
}

/// First pause before a container that ended is started again; it doubles up to a minute, as Docker's does.
const RESTART_MS: i64 = 100;

#[derive(Debug, Clone)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub labels: Option<Labels>,
    /// Compose made it from the rendered file of this project.
    pub composed: Option<ProjectRef>,
    pub subnet: String,
}

#[derive(Debug, Clone)]
pub struct Volume {
    pub labels: Option<Labels>,
    pub folder: PathBuf,
}

type Effect = Box<dyn FnOnce(&mut World, i64) + Send>;

/// Everything there is.
pub struct World {
    pub manners: Manners,
    pub containers: Containers,
    pub networks: BTreeMap<String, Network>,
    pub volumes: BTreeMap<String, Volume>,
    /// Reference -> digest.
    pub images: BTreeMap<String, String>,
    /// Host ports that a process beside the engine holds.
    pub foreign_ports: BTreeSet<u16>,
    /// Networks the engine can hold at most.
    pub networks_max: usize,
    /// Container names that nothing holds and nobody gets, until then.
    phantoms: BTreeMap<String, i64>,
    /// Containers that are being started: an engine that goes away meanwhile leaves their tasks behind.
    pub starting: BTreeSet<String>,
    /// Calls that were read and have not taken effect yet.
    pending: Vec<(i64, u64, Effect)>,
    away_until: i64,
    /// How often it went away.
    pub went_away: u32,
    next: u64,
    /// What a service says when it is asked over HTTP: status and body.
    pub answers: BTreeMap<ServiceName, (u16, String)>,
    /// Volumes that were removed, with the project they belonged to.
    pub removed_volumes: Vec<(String, ProjectRef)>,
    /// Passwords each database knows, by project and role: those of its first logins.
    pub passwords: BTreeMap<(ProjectRef, String), String>,
    /// The groups that hold projects together.
    pub groups: BTreeMap<ProjectRef, Bounds>,
    /// Whether groups can be made.
    pub allows_groups: bool,
    /// Each project's helper, by number: a newer one takes its place, whatever the older one was at.
    helpers: BTreeMap<ProjectRef, u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            manners: Manners::new(seed),
            containers: Containers::default(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            foreign_ports: BTreeSet::new(),
            networks_max: usize::MAX,
            phantoms: BTreeMap::new(),
            starting: BTreeSet::new(),
            pending: Vec::new(),
            away_until: i64::MIN,
            went_away: 0,
            next: 0,
            answers: BTreeMap::new(),
            removed_volumes: Vec::new(),
            passwords: BTreeMap::new(),
            groups: BTreeMap::new(),
            allows_groups: true,
            helpers: BTreeMap::new(),
        }
    }

    /// The same things in a world of its own, whose chances come from `seed`.
    pub fn copy(&self, seed: u64) -> Self {
        assert!(self.pending.is_empty(), "a call that is on its way cannot be copied");
        Self {
            manners: Manners::new(seed),
            containers: self.containers.clone(),
            networks: self.networks.clone(),
            volumes: self.volumes.clone(),
            images: self.images.clone(),
            foreign_ports: self.foreign_ports.clone(),
            networks_max: self.networks_max,
            phantoms: self.phantoms.clone(),
            starting: BTreeSet::new(),
            pending: Vec::new(),
            away_until: self.away_until,
            went_away: 0,
            next: self.next,
            answers: self.answers.clone(),
            removed_volumes: self.removed_volumes.clone(),
            passwords: self.passwords.clone(),
            groups: self.groups.clone(),
            allows_groups: self.allows_groups,
            helpers: BTreeMap::new(),
        }
    }

    /// Calls that were read and have not taken effect yet.
    pub fn calls_on_their_way(&self) -> usize {
        self.pending.len()
    }

    /// Everything that is due happens, in its order.
    pub(super) fn settle(&mut self, now: i64) {
        loop {
            let next = self.pending.iter().enumerate().filter(|(_, (due, ..))| *due <= now);
            let Some((at, _)) = next.min_by_key(|(_, (due, number, _))| (*due, *number)) else { break };
            let (due, _, effect) = self.pending.remove(at);
            self.pass_time(due);
            effect(self, due);
        }
        self.pass_time(now);
    }

    /// Removals end, and what ended is started again.
    fn pass_time(&mut self, now: i64) {
        self.phantoms.retain(|_, until| *until > now);
        if !self.containers.are_due(now) {
            return;
        }
        self.containers.retain(|_, container| !matches!(container.state, State::Removing { until } if until <= now));
        if now < self.away_until {
            return;
        }
        let due = self.containers.values().filter(|container| container.restart_at.is_some_and(|at| at <= now));
        let due: Vec<String> = due.map(|container| container.id.clone()).collect();
        for id in due {
            let at = self.containers[&id].restart_at.unwrap_or(now).max(self.away_until);
            if let Some(container) = self.containers.get_mut(&id) {
                container.restart_at = None;
            }
            // A start that fails is tried again like a process that ended.
            if self.start(&id, at).is_err() {
                self.end_process(&id, 128, at);
            }
        }
    }

    /// A helper of this project, in the place of any other. Its number.
    pub(super) fn replace_helper(&mut self, project: &ProjectRef) -> u64 {
        self.next += 1;
        self.helpers.insert(project.clone(), self.next);
        self.next
    }

    pub(super) fn has_helper(&self, project: &ProjectRef, number: u64) -> bool {
        self.helpers.get(project) == Some(&number)
    }

    pub(super) fn enqueue(&mut self, due: i64, effect: Effect) {
        self.next += 1;
        self.pending.push((due, self.next, effect));
    }

    /// How long a call takes and what goes wrong with it.
    pub(super) fn receive(&mut self, call: Call, now: i64) -> (Duration, Option<Fault>) {
        let (wait, fault) = self.manners.fate(call);
        if now < self.away_until { (Duration::from_millis(2), Some(Fault::Unreachable)) } else { (wait, fault) }
    }

    pub(super) fn go_away(&mut self, until: i64) {
        self.away_until = until;
        self.went_away += 1;
        self.pending.clear();
        for id in std::mem::take(&mut self.starting) {
            if let Some(container) = self.containers.get_mut(&id) {
                container.task_left |= !matches!(container.state, State::Running { .. });
            }
        }
        let rates = self.manners.rates;
        for container in self.containers.values_mut() {
            if matches!(container.state, State::Running { .. }) {
                container.cut_off = self.manners.chance(rates.cut_off);
                if container.cut_off {
                    container.address = None;
                    continue;
                }
                container.state = State::Exited { code: 137 };
                container.address = None;
                container.restart_at = (!container.stopped && !self.manners.chance(rates.forgotten)).then_some(until);
            }
        }
    }

    /// A process ended by itself: the restart policy is `unless-stopped`.
    pub(super) fn end_process(&mut self, id: &str, code: i64, now: i64) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if !matches!(container.state, State::Running { .. } | State::Exited { .. }) {
            return;
        }
        container.state = State::Exited { code };
        container.ended = Some((now, code));
        container.address = None;
        (container.frozen, container.cut_off) = (false, false);
        if !container.stopped {
            container.restarts += 1;
            let doubled = RESTART_MS << container.restarts.clamp(1, 10);
            container.restart_at = Some(now + doubled.min(60_000));
        }
    }

    pub(super) fn ids(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{:061x}", self.next)
    }

    // ---- effects

    pub(super) fn ensure_network(&mut self, name: &str, subnet: &str, labels: Labels) -> Result<String> {
        let composed = |network: &&Network| network.name == name && network.composed.as_ref() == Some(&labels.project);
        if let Some(id) = self.networks.values().find(composed).map(|network| network.id.clone()) {
            self.remove_composed(&labels.project);
            self.networks.remove(&id);
        }
        if let Some(there) = self.networks.values().find(|network| network.name == name) {
            let ours =
                there.labels.as_ref().is_some_and(|l| l.installation == labels.installation && l.project == labels.project);
            if !ours {
                return Err(BackendError::NameTaken { kind: "network", name: name.to_owned() });
            }
            if there.subnet == subnet {
                return Ok(there.id.clone());
            }
            let id = there.id.clone();
            self.remove_network(&id)?;
        }
        let wanted = Net::parse(subnet);
        let overlaps = |network: &Network| Net::parse(&network.subnet).zip(wanted).is_none_or(|(a, b)| a.overlaps(b));
        if self.networks.len() >= self.networks_max || self.networks.values().any(overlaps) {
            let reason = "Pool overlaps with other one on this address space".to_owned();
            return Err(BackendError::SubnetTaken { subnet: subnet.to_owned(), reason });
        }
        let id = self.ids("net");
        let made =
            Network { id: id.clone(), name: name.to_owned(), labels: Some(labels), composed: None, subnet: subnet.to_owned() };
        self.networks.insert(id.clone(), made);
        Ok(id)
    }

    /// What Compose made for a project gives way to what is done to the project.
    fn remove_composed(&mut self, project: &ProjectRef) {
        self.containers.retain(|_, container| container.composed.as_ref().is_none_or(|(of, _)| of != project));
    }

    pub(super) fn remove_network(&mut self, id: &str) -> Result<()> {
        let Some(network) = self.networks.get(id).cloned() else { return Ok(()) };
        let what = format!("remove network {id}");
        let Some(labels) = &network.labels else {
            return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
        };
        self.remove_composed(&labels.project);
        let name = &network.name;
        if self.containers.values().any(|c| c.network == *name && matches!(c.state, State::Running { .. })) {
            return Err(BackendError::Busy { what, reason: format!("network {name} has active endpoints") });
        }
        self.networks.remove(id);
        Ok(())
    }

    pub(super) fn ensure_volume(&mut self, name: &str, folder: PathBuf, labels: Labels) -> Result<()> {
        if let Some(there) = self.volumes.get(name) {
            let ours =
                there.labels.as_ref().is_some_and(|l| l.installation == labels.installation && l.project == labels.project);
            return if ours { Ok(()) } else { Err(BackendError::NameTaken { kind: "volume", name: name.to_owned() }) };
        }
        self.volumes.insert(name.to_owned(), Volume { labels: Some(labels), folder });
        Ok(())
    }

    pub(super) fn remove_volume(&mut self, name: &str) -> Result<()> {
        let Some(volume) = self.volumes.get(name).cloned() else { return Ok(()) };
        let what = format!("remove volume {name}");
        let Some(labels) = &volume.labels else {
            return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
        };
        self.remove_composed(&labels.project);
        if let Some(user) = self.containers.values().find(|container| container.volumes.iter().any(|used| used == name)) {
            return Err(BackendError::Busy { what, reason: format!("volume is in use - [{}]", user.id) });
        }
        self.removed_volumes.push((name.to_owned(), labels.project.clone()));
        self.volumes.remove(name);
        Ok(())
    }

    pub(super) fn ensure_container(&mut self, mut wanted: Container, now: i64) -> Result<String> {
        let labels = wanted.labels.clone().expect("a container to be has labels");
        for used in &wanted.volumes {
            if self.volumes.get(used).is_none_or(|volume| volume.labels.is_none()) {
                let what = format!("mount volume {used}");
                return Err(BackendError::Rejected { what, reason: "it is not there, or not ours".to_owned() });
            }
        }
        if !self.images.values().any(|digest| *digest == wanted.digest) {
            return Err(BackendError::ImageUnavailable { image: wanted.digest, reason: "No such image".to_owned() });
        }
        let busy = |reason: &str| BackendError::Busy { what: "create container".to_owned(), reason: reason.to_owned() };
        let composed = labels.service.clone().map(|service| (labels.project.clone(), service));
        self.containers.retain(|_, there| there.name != wanted.name || there.composed.is_none() || there.composed != composed);
        let there = self.containers.values().find(|container| container.name == wanted.name).cloned();
        if let Some(there) = there {
            let ours = there.labels.as_ref().filter(|l| l.installation == labels.installation && l.project == labels.project);
            let Some(ours) = ours else {
                return Err(BackendError::NameTaken { kind: "container", name: wanted.name });
            };
            if matches!(there.state, State::Removing { .. }) {
                return Err(busy("the name is held by a container that is being removed"));
            }
            let network_is_the_same = there.network_id.as_ref().is_none_or(|id| self.networks.contains_key(id));
            if ours.spec_hash == labels.spec_hash && network_is_the_same {
                return Ok(there.id);
            }
            self.containers.remove(&there.id);
        }
        if self.phantoms.contains_key(&wanted.name) {
            return Err(busy("Conflict. The container name is already in use"));
        }
        let chance = self.manners.rates.phantom_name;
        if self.manners.chance(chance) {
            self.phantoms.insert(wanted.name, now + 3_000);
            return Err(busy("Conflict. The container name is already in use"));
        }
        wanted.id = self.ids("c0");
        wanted.boot_ms = self.manners.rng.random_range(100..2_000);
        let id = wanted.id.clone();
        self.containers.insert(id.clone(), wanted);
        Ok(id)
    }

    pub(super) fn start(&mut self, id: &str, now: i64) -> Result<()> {
        self.starting.remove(id);
        let what = format!("start container {id}");
        let Some(container) = self.containers.get(id) else { return Err(BackendError::NotFound { what }) };
        match container.state {
            State::Running { .. } => return Ok(()),
            State::Removing { .. } => {
                return Err(BackendError::Busy { what, reason: "container is marked for removal".to_owned() });
            }
            State::Created | State::Exited { .. } => {}
        }
        if container.task_left {
            return Err(BackendError::TaskLeft { what, reason: format!("task {id}: already exists") });
        }
        let by_name = || self.networks.values().find(|network| network.name == container.network);
        let network = container.network_id.as_ref().map_or_else(by_name, |id| self.networks.get(id));
        let Some(network) = network.cloned() else {
            return Err(BackendError::NotFound { what: format!("{what}: network {} not found", container.network) });
        };
        let running = |c: &&Container| matches!(c.state, State::Running { .. });
        let held = |port: u16| self.containers.values().filter(running).any(|other| other.ports.contains(&port));
        if let Some(port) = container.ports.iter().find(|port| self.foreign_ports.contains(port) || held(**port)) {
            return Err(BackendError::PortTaken { port: *port, reason: "port is already allocated".to_owned() });
        }
        let first = network.subnet.split('/').next().and_then(|text| text.parse::<Ipv4Addr>().ok()).map_or(0, u32::from);
        let used: BTreeSet<Ipv4Addr> = self.containers.values().filter_map(|container| container.address).collect();
        let free = (2..16).map(|host| Ipv4Addr::from(first + host)).find(|address| !used.contains(address));
        let address = container.fixed.or(free);
        let chance = self.manners.rates.crash;
        let crashes = self.manners.chance(chance);
        let container = self.containers.get_mut(id).expect("it was there");
        container.stopped = false;
        container.restart_at = None;
        container.address = address;
        container.network_id = Some(network.id);
        container.state = State::Running { since: now };
        for folder in &container.folders {
            // What a service writes into its data folder on its first start, and never again.
            let kept = folder.join("written-by-the-first-start");
            if folder.is_dir() && !kept.exists() {
                std::fs::write(kept, id).expect("the data folder takes a file");
            }
            migrate(folder, &container.digest);
        }
        if crashes {
            self.end_process(id, 1, now);
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, id: &str) -> Result<()> {
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        if matches!(container.state, State::Running { .. } | State::Exited { .. }) {
            let code = if container.frozen { 137 } else { 0 };
            container.state = State::Exited { code };
            container.stopped = true;
            container.restart_at = None;
            container.address = None;
            (container.frozen, container.cut_off) = (false, false);
        }
        Ok(())
    }

    pub(super) fn remove_container(&mut self, id: &str, now: i64) -> Result<()> {
        let Some(container) = self.containers.get(id) else { return Ok(()) };
        let what = format!("remove container {id}");
        if container.labels.is_none() {
            return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
        }
        let removing = matches!(container.state, State::Removing { .. });
        let chance = self.manners.rates.removal_in_progress;
        if removing || self.manners.chance(chance) {
            let container = self.containers.get_mut(id).expect("it was there");
            if !removing {
                container.state = State::Removing { until: now + 4_000 };
                container.address = None;
            }
            return Err(BackendError::Busy { what, reason: "removal is already in progress".to_owned() });
        }
        self.containers.remove(id);
        Ok(())
    }

    /// What carries the label of this installation, as a leak check wants it: one line per object.
    pub fn labelled(&self, installation: &InstallationId) -> Vec<String> {
        let ours = |labels: &Option<Labels>| labels.as_ref().is_some_and(|labels| labels.installation == *installation);
        let containers = self.containers.values().filter(|c| ours(&c.labels)).map(|c| format!("container {}", c.name));
        let networks = self.networks.values().filter(|n| ours(&n.labels)).map(|n| format!("network {}", n.name));
        let volumes = self.volumes.iter().filter(|(_, v)| ours(&v.labels)).map(|(name, _)| format!("volume {name}"));
        let groups = self.groups.keys().map(|project| format!("group of {project}"));
        containers.chain(networks).chain(volumes).chain(groups).collect()
    }
}

//! The engine's containers, with what is found by more than their id. Nine thousand of them are asked for thousands of
//! times a second by a fleet that is probed; walked through each time, the fake engine would be all that is measured.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use supamanager::backend::Labels;
use supamanager::domain::{InstallationId, Limits, ProjectRef, ServiceName};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Created,
    Running {
        since: i64,
    },
    Exited {
        code: i64,
    },
    Removing {
        until: i64,
    },
}

/// A container, or a decoy when it has no labels.
#[derive(Debug, Clone, Default)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub labels: Option<Labels>,
    /// Compose made it from the rendered file of this project, for this service: it has no labels of ours.
    pub composed: Option<(ProjectRef, ServiceName)>,
    pub state: State,
    pub digest: String,
    pub network: String,
    /// The network's id, from its first start on: it remembers that one.
    pub network_id: Option<String>,
    pub fixed: Option<Ipv4Addr>,
    pub address: Option<Ipv4Addr>,
    pub ports: Vec<u16>,
    pub volumes: Vec<String>,
    /// Folders of the project that are mounted, absolute: its data lies there.
    pub folders: Vec<PathBuf>,
    /// Stopped on purpose: no restart policy brings it back.
    pub stopped: bool,
    pub restarts: i64,
    pub restart_at: Option<i64>,
    /// When its process last ended, and with which code.
    pub ended: Option<(i64, i64)>,
    /// From its start until it answers.
    pub boot_ms: i64,
    /// Its own limits.
    pub limits: Limits,
    /// The group it was made in.
    pub parent: Option<String>,
    /// It runs, and the engine that was killed meanwhile has lost its network.
    pub cut_off: bool,
    /// The engine was killed while it was being started: it never starts.
    pub task_left: bool,
    /// Its processes are stopped (SIGSTOP): it runs and does not answer.
    pub frozen: bool,
}

impl Container {
    /// Whether it carries that installation's label.
    pub fn is_of(&self, installation: &InstallationId) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.installation == *installation)
    }
}

/// Id -> container. Read like the map it is; whoever changes anything in it makes what was worked out be worked out again.
#[derive(Clone, Default)]
pub struct Containers {
    all: BTreeMap<String, Container>,
    found: Option<Found>,
}

/// What is worked out from all of them.
#[derive(Clone, Default)]
struct Found {
    by_address: HashMap<Ipv4Addr, String>,
    by_project: HashMap<ProjectRef, Vec<String>>,
    /// When the next one is started again or is gone.
    due: Option<i64>,
}

impl Containers {
    /// The container that has this address.
    pub(super) fn at(&mut self, address: Ipv4Addr) -> Option<&Container> {
        let id = self.found().by_address.get(&address)?.clone();
        self.all.get(&id)
    }

    /// The containers with this project's label, in the order of their ids.
    pub(super) fn of(&mut self, project: &ProjectRef) -> Vec<&Container> {
        let ids = self.found().by_project.get(project).cloned().unwrap_or_default();
        ids.iter().filter_map(|id| self.all.get(id)).collect()
    }

    /// Whether time brings one back, or takes one away, by then.
    pub(super) fn are_due(&mut self, now: i64) -> bool {
        self.found().due.is_some_and(|due| due <= now)
    }

    fn found(&mut self) -> &Found {
        let all = &self.all;
        self.found.get_or_insert_with(|| {
            let mut found = Found::default();
            for (id, container) in all {
                if let Some(address) = container.address {
                    found.by_address.entry(address).or_insert_with(|| id.clone());
                }
                if let Some(labels) = &container.labels {
                    found.by_project.entry(labels.project.clone()).or_default().push(id.clone());
                }
                let gone = if let State::Removing { until } = container.state { Some(until) } else { None };
                found.due = found.due.into_iter().chain(gone).chain(container.restart_at).min();
            }
            found
        })
    }
}

impl Deref for Containers {
    type Target = BTreeMap<String, Container>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl DerefMut for Containers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.found = None;
        &mut self.all
    }
}

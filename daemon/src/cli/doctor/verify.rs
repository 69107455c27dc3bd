//! The store against the engine, on a live system: nothing leaked and nothing lost (I1), nothing foreign under our names
//! (I3), nothing held twice (I6). It reads both and changes neither.
//!
//! A daemon may be at work meanwhile. So the store is read before and after the engine, and a project that changed between
//! the two, or that is under way, is left out: what remains was quiet while it was looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::Known;
use crate::backend::docker::DockerBackend;
use crate::backend::{Backend, ContainerState, Observed, ObservedContainer};
use crate::clock::Clock;
use crate::domain::{Project, ProjectRef, ProjectStatus, UnixMillis};

/// The daemon removes what an ended operation left after ten seconds, looking every thirty.
const SETTLED_MS: UnixMillis = 60_000;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `I1`, `I3` or `I6`.
    pub invariant: &'static str,
    /// What.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

/// What was compared.
pub struct Seen {
    /// Projects that were quiet.
    pub projects: usize,
    /// Projects that were not.
    pub in_transit: usize,
    /// What is wrong.
    pub differences: Vec<Difference>,
}

/// The services that a project should have, by name; `None` when its template set is gone.
pub type Services<'a> = &'a dyn Fn(&Project) -> Option<Vec<String>>;

/// Reads the engine and the store again, and compares.
///
/// # Errors
/// When there is no store, or the engine or the store does not answer.
pub async fn look(docker: &DockerBackend, known: &Known, services: Services<'_>, folders: &Path) -> anyhow::Result<Seen> {
    let store = known.store.as_ref().context("there is no store to compare with")?;
    let (installation, _) = store.installation().await?.context("the store has no installation")?;
    let (ours, all) = tokio::try_join!(docker.list(&installation), docker.everything())?;
    let after = super::all_projects(store).await?;
    let now = Clock::system().now();
    let quiet = |project: &&Project| {
        let before = known.projects.iter().find(|before| before.id == project.id);
        let same = before.is_some_and(|before| (before.status, before.updated_at) == (project.status, project.updated_at));
        let settled = project.status.is_active() || now - project.updated_at > SETTLED_MS;
        same && settled && !project.status.in_transit()
    };
    let projects: Vec<&Project> = after.iter().filter(quiet).collect();
    let mut differences = Vec::new();
    for project in &projects {
        fits(project, &ours, services(project), &mut differences);
        folder_fits(project, folders, &mut differences);
    }
    nobodys(&after, &ours, &mut differences);
    foreign(&after, &ours, &all, &mut differences);
    held_twice(&after, &ours, &mut differences);
    let gone = after.iter().filter(|project| project.status == ProjectStatus::Deleted).count();
    let compared = projects.iter().filter(|project| project.status != ProjectStatus::Deleted).count();
    Ok(Seen { projects: compared, in_transit: after.len() - gone - compared, differences })
}

/// I1 for one project: the engine has what the store says.
fn fits(project: &Project, ours: &Observed, services: Option<Vec<String>>, out: &mut Vec<Difference>) {
    let id = &project.id;
    let status = project.status.as_str();
    let containers: Vec<&ObservedContainer> = (ours.containers.iter())
        .filter(|container| container.labels.as_ref().is_some_and(|labels| labels.project == *id))
        .collect();
    let networks = ours.networks.iter().filter(|network| network.labels.as_ref().is_some_and(|labels| labels.project == *id));
    let networks: Vec<&str> = networks.map(|network| network.name.as_str()).collect();
    let volumes = ours.volumes.iter().filter(|volume| volume.labels.as_ref().is_some_and(|labels| labels.project == *id));
    let volumes: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    let mut wrong = |what: String, way_out: String| out.push(Difference { invariant: "I1", what, way_out });
    if matches!(project.status, ProjectStatus::Failed | ProjectStatus::Deleted) {
        let names = containers.iter().map(|container| container.name.as_str()).chain(networks).chain(volumes);
        for name in names {
            let way_out = "a running daemon removes it within a minute; its log says what keeps it from doing so".to_owned();
            wrong(format!("{name} is left of {id}, which is {status}"), way_out);
        }
        return;
    }
    let repaired = || format!("a running daemon puts it right within 30 s; else `supamanager project restart {id}`");
    if networks.len() != 1 {
        wrong(format!("{id} is {status} and has {} networks, it should have one", networks.len()), repaired());
    }
    for container in containers.iter().filter(|container| container.labels.as_ref().is_some_and(|l| l.service.is_none())) {
        let way_out = format!("remove it if it does nothing: docker rm -f {}", container.name);
        wrong(format!("{} is a helper of {id} and nothing is under way", container.name), way_out);
    }
    let Some(services) = services else {
        wrong(
            format!("{id} was made from the template set `{}`, which is not there", project.template_set),
            "put it back into templates_dir".to_owned(),
        );
        return;
    };
    for service in &services {
        let mut of = containers.iter().filter(|c| {
            c.labels.as_ref().and_then(|labels| labels.service.as_ref()).is_some_and(|name| name.as_str() == service)
        });
        let (first, more) = (of.next(), of.count());
        if more > 0 {
            wrong(format!("{id} has {} containers for {service}", more + 1), repaired());
        }
        let runs = first.is_some_and(|c| matches!(c.state, ContainerState::Running | ContainerState::Restarting));
        match (project.status.is_active(), first) {
            (true, None) => wrong(format!("{id} is {status} and has no container for {service}"), repaired()),
            (true, Some(found)) if !runs => {
                wrong(format!("{id} is {status} and {} is {:?}", found.name, found.state), repaired());
            }
            (false, Some(found)) if runs => wrong(format!("{id} is {status} and {} runs", found.name), repaired()),
            _ => {}
        }
    }
    if project.status.is_active() {
        let published: BTreeSet<u16> = containers.iter().flat_map(|container| container.published.iter().copied()).collect();
        for (name, port) in project.ports.iter().filter(|(_, port)| !published.contains(port)) {
            wrong(format!("{id} is {status} and port {port} ({name}) is not published"), repaired());
        }
    }
}

fn folder_fits(project: &Project, folders: &Path, out: &mut Vec<Difference>) {
    let folder = folders.join(project.id.as_str());
    let over = matches!(project.status, ProjectStatus::Failed | ProjectStatus::Deleted);
    let (what, way_out) = match (folder.exists(), over) {
        (true, true) => ("is left", "a running daemon removes it within a minute; its log says what keeps it from doing so"),
        (false, false) => ("is missing", "put it back from a backup of the data folder; the project's data lies in it"),
        _ => return,
    };
    let what = format!("the folder of {} ({}) {what}", project.id, project.status.as_str());
    out.push(Difference { invariant: "I1", what, way_out: way_out.to_owned() });
}

/// I1: what has our label belongs to a project that the store knows.
fn nobodys(projects: &[Project], ours: &Observed, out: &mut Vec<Difference>) {
    let known: BTreeSet<&ProjectRef> = projects.iter().map(|project| &project.id).collect();
    let containers = ours.containers.iter().map(|found| (&found.name, &found.labels));
    let networks = ours.networks.iter().map(|found| (&found.name, &found.labels));
    let volumes = ours.volumes.iter().map(|found| (&found.name, &found.labels));
    for (name, labels) in containers.chain(networks).chain(volumes) {
        let what = match labels {
            Some(labels) if known.contains(&labels.project) => continue,
            Some(labels) => format!("{name} belongs to project {}, which the store does not know", labels.project),
            None => format!("{name} carries the label of this installation and not our others"),
        };
        let way_out =
            "no daemon will touch it: `supamanager project lost` says whether the project can be adopted, or purge it".to_owned();
        out.push(Difference { invariant: "I1", what, way_out });
    }
}

/// I3 and I6: what is not ours and has a name, a port or a subnet of a living project.
fn foreign(projects: &[Project], ours: &Observed, all: &Observed, out: &mut Vec<Difference>) {
    let own: BTreeSet<&str> = (ours.containers.iter().map(|c| c.id.as_str()))
        .chain(ours.networks.iter().map(|n| n.id.as_str()))
        .chain(ours.volumes.iter().map(|v| v.name.as_str()))
        .collect();
    let containers = all.containers.iter().filter(|c| !own.contains(c.id.as_str()));
    let networks = all.networks.iter().filter(|n| !own.contains(n.id.as_str()));
    let volumes = all.volumes.iter().filter(|v| !own.contains(v.name.as_str()));
    let living: Vec<&Project> = projects.iter().filter(|project| project.status != ProjectStatus::Deleted).collect();
    let names = (containers.clone().map(|c| ("container", &c.name)))
        .chain(networks.clone().map(|n| ("network", &n.name)))
        .chain(volumes.map(|v| ("volume", &v.name)));
    for (kind, name) in names {
        if let Some(project) = living.iter().find(|project| is_name_of(name, &project.id)) {
            let what = format!("{kind} {name} has a name of {} and is not ours", project.id);
            let way_out = format!("rename or remove it (docker {kind} inspect {name}); the daemon never touches it");
            out.push(Difference { invariant: "I3", what, way_out });
        }
    }
    for container in containers {
        let held = living.iter().find(|project| project.ports.iter().any(|(_, port)| container.published.contains(port)));
        if let Some(project) = held {
            let what = format!("container {} publishes a port of {} and is not ours", container.name, project.id);
            let way_out = format!("give one of them another port: stop {}, or delete the project", container.name);
            out.push(Difference { invariant: "I6", what, way_out });
        }
    }
    for network in networks.filter(|network| network.subnet.is_some()) {
        if let Some(project) = living.iter().find(|project| network.subnet.as_deref() == Some(project.subnet.as_str())) {
            let what = format!("network {} has the subnet {} of {} and is not ours", network.name, project.subnet, project.id);
            let way_out = format!("remove the network {}, or set subnets.pool to a range that only we use", network.name);
            out.push(Difference { invariant: "I6", what, way_out });
        }
    }
}

fn is_name_of(name: &str, project: &ProjectRef) -> bool {
    let rest = name.strip_prefix("supamanager-").and_then(|rest| rest.strip_prefix(project.as_str()));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// I6 among our own: a port or subnet that two living projects hold, or that two of our containers publish.
fn held_twice(projects: &[Project], ours: &Observed, out: &mut Vec<Difference>) {
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for project in projects.iter().filter(|project| project.status != ProjectStatus::Deleted) {
        holders.entry(format!("project id {}", project.id)).or_default().push(project.id.to_string());
        for (_, port) in &project.ports {
            holders.entry(format!("port {port}")).or_default().push(project.id.to_string());
        }
        if !project.subnet.is_empty() {
            holders.entry(format!("subnet {}", project.subnet)).or_default().push(project.id.to_string());
        }
    }
    for container in &ours.containers {
        for port in &container.published {
            holders.entry(format!("published port {port}")).or_default().push(container.name.clone());
        }
    }
    for network in &ours.networks {
        let subnet = network.subnet.clone().unwrap_or_default();
        holders.entry(format!("subnet {subnet} on the engine")).or_default().push(network.name.clone());
    }
    for (what, held_by) in holders.into_iter().filter(|(_, held_by)| held_by.len() > 1) {
        let what = format!("{what} is held by {}", held_by.join(" and "));
        let way_out = "delete one of the two; both were given it, which is a fault of ours: please report it".to_owned();
        out.push(Difference { invariant: "I6", what, way_out });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{EngineHealth, Labels, ObservedNetwork, ObservedVolume};
    use crate::domain::{InstallationId, OperationId, ServiceName};

    fn id(letter: &str) -> ProjectRef {
        ProjectRef::parse(&letter.repeat(20)).expect("a ref")
    }

    fn project(letter: &str, status: ProjectStatus) -> Project {
        let number = u16::from(letter.as_bytes()[0]);
        Project {
            id: id(letter),
            name: letter.to_owned(),
            organization_id: "default".to_owned(),
            region: "here".to_owned(),
            status,
            generation: 1,
            template_set: "set".to_owned(),
            image_set: "set".to_owned(),
            without: Vec::new(),
            plugins: Default::default(),
            resources: Default::default(),
            subnet: format!("10.201.{number}.0/27"),
            ports: vec![("api".to_owned(), 54_000 + number)],
            last_error: None,
            stack_operation: None,
            created_at: 0,
            updated_at: 0,
            number: 0,
            activated_at: None,
            deleted_at: None,
        }
    }

    fn labels(letter: &str, service: Option<&str>) -> Option<Labels> {
        Some(Labels {
            installation: InstallationId::parse(&"ab".repeat(16)).expect("an id"),
            project: id(letter),
            service: service.map(|name| ServiceName::parse(name).expect("a name")),
            generation: 1,
            operation: OperationId::parse(&format!("op_{}", "a".repeat(24))).expect("an id"),
            spec_hash: String::new(),
        })
    }

    fn container(letter: &str, service: &str, published: &[u16]) -> ObservedContainer {
        ObservedContainer {
            id: format!("{letter}-{service}"),
            name: format!("supamanager-{}-{service}", id(letter)),
            labels: labels(letter, Some(service)),
            state: ContainerState::Running,
            restart_count: 0,
            health: EngineHealth::None,
            address: None,
            published: published.to_vec(),
            fresh: false,
            ended: None,
        }
    }

    /// A project as it should be: two services, a network, a volume.
    fn whole(letter: &str) -> Observed {
        let wanted = project(letter, ProjectStatus::ActiveHealthy);
        Observed {
            containers: vec![container(letter, "one", &[wanted.ports[0].1]), container(letter, "two", &[])],
            networks: vec![ObservedNetwork {
                id: format!("{letter}-network"),
                name: format!("supamanager-{}", id(letter)),
                labels: labels(letter, None),
                subnet: Some(wanted.subnet),
            }],
            volumes: vec![ObservedVolume { name: format!("supamanager-{}-kept", id(letter)), labels: labels(letter, None) }],
        }
    }

    fn compared(projects: &[Project], ours: &Observed, foreigners: Observed) -> Vec<String> {
        let mut out = Vec::new();
        for project in projects {
            fits(project, ours, Some(vec!["one".to_owned(), "two".to_owned()]), &mut out);
        }
        nobodys(projects, ours, &mut out);
        let mut all = ours.clone();
        all.containers.extend(foreigners.containers);
        all.networks.extend(foreigners.networks);
        all.volumes.extend(foreigners.volumes);
        foreign(projects, ours, &all, &mut out);
        held_twice(projects, ours, &mut out);
        out.iter().map(|difference| format!("{} {}", difference.invariant, difference.what)).collect()
    }

    #[test]
    fn a_system_as_it_should_be_has_no_difference() {
        let active = project("a", ProjectStatus::ActiveHealthy);
        assert_eq!(compared(&[active, project("b", ProjectStatus::Failed)], &whole("a"), Observed::default()), [""; 0]);
        let mut paused = whole("a");
        paused.containers.iter_mut().for_each(|c| c.state = ContainerState::Exited { code: 0, oom_killed: false });
        assert_eq!(compared(&[project("a", ProjectStatus::Paused)], &paused, Observed::default()), [""; 0]);
    }

    #[test]
    fn what_is_missing_stopped_left_or_nobodys_is_each_said() {
        let active = [project("a", ProjectStatus::ActiveHealthy)];
        let mut ours = whole("a");
        ours.containers.remove(1);
        assert!(compared(&active, &ours, Observed::default())[0].contains("no container for two"));
        let mut ours = whole("a");
        ours.containers[0].state = ContainerState::Created;
        ours.containers[0].published.clear();
        let said = compared(&active, &ours, Observed::default());
        assert!(said[0].contains("Created") && said[1].contains("not published"), "{said:?}");
        let mut ours = whole("a");
        ours.networks.clear();
        assert!(compared(&active, &ours, Observed::default())[0].contains("0 networks"));
        let said = compared(&[project("a", ProjectStatus::Failed)], &whole("a"), Observed::default());
        assert_eq!(said.len(), 4, "{said:?}");
        let said = compared(&[], &whole("a"), Observed::default());
        assert!(said.len() == 4 && said[0].contains("does not know"), "{said:?}");
        assert!(compared(&[project("a", ProjectStatus::Paused)], &whole("a"), Observed::default())[0].contains("runs"));
    }

    #[test]
    fn a_foreign_object_with_our_name_port_or_subnet_is_said() {
        let projects = [project("a", ProjectStatus::ActiveHealthy)];
        let alien = |name: &str, published: &[u16]| ObservedContainer {
            id: name.to_owned(),
            name: name.to_owned(),
            labels: None,
            ..container("z", "one", published)
        };
        let foreigners = Observed {
            containers: vec![alien(&format!("supamanager-{}-three", id("a")), &[]), alien("web", &[projects[0].ports[0].1])],
            networks: vec![ObservedNetwork {
                id: "n".to_owned(),
                name: "lan".to_owned(),
                labels: None,
                subnet: Some(projects[0].subnet.clone()),
            }],
            volumes: vec![ObservedVolume { name: format!("supamanager-{}", id("b")), labels: None }],
        };
        let said = compared(&projects, &whole("a"), foreigners);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("I3") && said[1].starts_with("I6") && said[2].contains("lan"), "{said:?}");
    }

    #[test]
    fn what_two_projects_hold_is_said() {
        let mut twin = project("b", ProjectStatus::Paused);
        twin.ports[0].1 = project("a", ProjectStatus::Paused).ports[0].1;
        let mut out = Vec::new();
        held_twice(&[project("a", ProjectStatus::Paused), twin], &Observed::default(), &mut out);
        assert!(out.len() == 1 && out[0].what.starts_with("port"), "{out:?}");
    }
}

//! The daemon's trait over the world.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use supamanager::backend::{
    Backend, BackendError, Bounds, ContainerSpec, ContainerState, Ended, EngineHealth, EngineInfo, ExecOutput, ExecRequest, Held,
    Labels, LogLine, NetworkSpec, Observed, ObservedContainer, ObservedNetwork, ObservedVolume, Progress, Result, Usage,
    VolumeSpec,
};
use supamanager::domain::{InstallationId, Limits, ProjectRef, UnixMillis};
use supamanager::stack::MountSource;
use tokio::sync::mpsc;

use super::{Call, Container, FakeEngine, QUIET, State, World};

#[async_trait]
impl Backend for FakeEngine {
    async fn info(&self) -> Result<EngineInfo> {
        self.call(Call::Info, |_, _| {
            Ok(EngineInfo {
                version: "fake".to_owned(),
                api_version: "1.45".to_owned(),
                api_version_max: "1.45".to_owned(),
                cpus: 2,
                memory_bytes: 8 << 30,
                root_dir: "/nowhere".to_owned(),
            })
        })
        .await
    }

    async fn list(&self, installation: &InstallationId) -> Result<Observed> {
        let installation = installation.clone();
        self.call(Call::List, move |world, now| {
            let ours = |labels: &Option<Labels>| labels.as_ref().is_some_and(|labels| labels.installation == installation);
            let containers = world.containers.values().filter(|c| ours(&c.labels)).map(|c| seen(c, false, now));
            Ok(observed(world, containers.collect(), ours))
        })
        .await
    }

    async fn list_project(&self, installation: &InstallationId, project: &ProjectRef) -> Result<Observed> {
        let (installation, project) = (installation.clone(), project.clone());
        self.call(Call::List, move |world, now| {
            let ours = |labels: &Option<Labels>| {
                labels.as_ref().is_some_and(|labels| labels.installation == installation && labels.project == project)
            };
            let containers = world.containers.of(&project).into_iter().filter(|c| ours(&c.labels));
            let containers = containers.map(|c| seen(c, false, now)).collect();
            Ok(observed(world, containers, ours))
        })
        .await
    }

    async fn image_digest(&self, reference: &str) -> Result<Option<String>> {
        let reference = reference.to_owned();
        self.call(Call::ImageDigest, move |world, _| {
            let by_digest = || world.images.values().find(|digest| **digest == reference);
            Ok(world.images.get(&reference).or_else(by_digest).cloned())
        })
        .await
    }

    async fn pull(&self, reference: &str, _: Duration, progress: Progress<'_>) -> Result<String> {
        progress("1 of 2 MiB".to_owned());
        let reference = reference.to_owned();
        self.call(Call::Pull, move |world, _| {
            // The registry behind the engine has everything but what is called "missing".
            if reference.contains("missing") {
                let reason = "manifest unknown".to_owned();
                return Err(BackendError::ImageUnavailable { image: reference, reason });
            }
            Ok(world.images.entry(reference.clone()).or_insert_with(|| format!("sha256:{reference}")).clone())
        })
        .await
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<String> {
        let (name, subnet, labels) = (spec.network.name.clone(), spec.network.subnet.clone(), spec.labels.clone());
        self.call(Call::EnsureNetwork, move |world, _| world.ensure_network(&name, &subnet, labels)).await
    }

    async fn remove_network(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.call(Call::RemoveNetwork, move |world, _| world.remove_network(&id)).await
    }

    async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()> {
        let (name, folder, labels) = (spec.volume.name.clone(), spec.folder.join(&spec.volume.folder), spec.labels.clone());
        self.call(Call::EnsureVolume, move |world, _| world.ensure_volume(&name, folder, labels)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.call(Call::RemoveVolume, move |world, _| world.remove_volume(&name)).await
    }

    async fn ensure_container(&self, spec: &ContainerSpec<'_>) -> Result<String> {
        let wanted = wanted(spec);
        self.call(Call::EnsureContainer, move |world, now| world.ensure_container(wanted, now)).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.look().starting.insert(id.clone());
        self.call(Call::StartContainer, move |world, now| world.start(&id, now)).await
    }

    async fn stop_container(&self, id: &str, _: u32) -> Result<()> {
        let id = id.to_owned();
        self.call(Call::StopContainer, move |world, _| world.stop(&id)).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.call(Call::RemoveContainer, move |world, now| world.remove_container(&id, now)).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<ObservedContainer>> {
        let id = id.to_owned();
        self.call(Call::Inspect, move |world, now| Ok(world.containers.get(&id).map(|container| seen(container, true, now))))
            .await
    }

    async fn logs(&self, id: &str, _: u32, _: Option<UnixMillis>) -> Result<Vec<LogLine>> {
        let id = id.to_owned();
        self.call(Call::Logs, move |world, _| {
            let Some(container) = world.containers.get(&id) else {
                return Err(BackendError::NotFound { what: format!("logs of {id}") });
            };
            // A service that tells what it should not: who logged in, and with what.
            let owner = container.labels.as_ref().map(|labels| &labels.project);
            let logins = world.passwords.iter().filter(|((project, _), _)| Some(project) == owner);
            let logins: Vec<String> = logins.map(|((_, role), password)| format!(" {role}:{password}")).collect();
            let text = format!("a line{}", logins.concat());
            Ok(vec![LogLine { timestamp: String::new(), stream: "stdout", text }])
        })
        .await
    }

    async fn follow_logs(&self, _: &str, _: UnixMillis, lines: mpsc::Sender<LogLine>) -> Result<()> {
        lines.closed().await;
        Ok(())
    }

    async fn usage(&self, _: &str) -> Result<Usage> {
        self.call(Call::Usage, |_, now| {
            Ok(Usage { cpu_ns: u64::try_from(now).unwrap_or(0) * 10_000, memory_bytes: 1 << 20, rx_bytes: 0, tx_bytes: 0 })
        })
        .await
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<ExecOutput> {
        let id = id.to_owned();
        self.call(Call::Exec, move |world, _| match world.containers.get(&id).map(|container| &container.state) {
            Some(State::Running { .. }) => {
                Ok(ExecOutput { exit_code: 0, stdout: request.argv.join(" ").into_bytes(), stderr: Vec::new() })
            }
            _ => Err(BackendError::NotFound { what: format!("exec in {id}") }),
        })
        .await
    }

    async fn empty_folder(&self, folder: &Path, _: &str, labels: &Labels) -> Result<()> {
        let folder = folder.to_owned();
        self.helper(Call::EmptyFolder, labels, move || {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            }
            Ok(())
        })
        .await
    }

    async fn copy_folder(&self, from: &Path, to: &Path, _: &str, labels: &Labels, _: Duration) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.helper(Call::CopyFolder, labels, move || {
            std::fs::remove_dir_all(&to)?;
            copy(&from, &to)
        })
        .await
    }

    async fn ensure_group(&self, project: &ProjectRef, bounds: &Bounds) -> Result<Option<String>> {
        let (project, bounds) = (project.clone(), *bounds);
        self.call(Call::EnsureGroup, move |world, _| {
            if !world.allows_groups {
                return Ok(None);
            }
            let name = format!("/supamanager-{project}");
            world.groups.insert(project, bounds);
            Ok(Some(name))
        })
        .await
    }

    async fn remove_group(&self, project: &ProjectRef) -> Result<()> {
        let project = project.clone();
        self.call(Call::RemoveGroup, move |world, _| {
            let name = format!("/supamanager-{project}");
            let inside = |c: &Container| c.parent.as_ref() == Some(&name) && matches!(c.state, State::Running { .. });
            if world.containers.values().any(inside) {
                return Err(BackendError::Busy {
                    what: format!("remove the group {name}"),
                    reason: "it is not empty".to_owned(),
                });
            }
            world.groups.remove(&project);
            Ok(())
        })
        .await
    }

    async fn groups(&self) -> Result<Vec<ProjectRef>> {
        self.call(Call::Groups, |world, _| Ok(world.groups.keys().cloned().collect())).await
    }

    async fn set_limits(&self, id: &str, limits: &Limits) -> Result<()> {
        let (id, limits) = (id.to_owned(), *limits);
        self.call(Call::SetLimits, move |world, _| match world.containers.get_mut(&id) {
            Some(container) => {
                container.limits = limits;
                Ok(())
            }
            None => Err(BackendError::NotFound { what: format!("limit container {id}") }),
        })
        .await
    }

    async fn held(&self, id: &str) -> Result<Option<Held>> {
        let id = id.to_owned();
        self.call(Call::Held, move |world, _| {
            let Some(container) = world.containers.get(&id) else { return Ok(None) };
            let own = Bounds { limits: container.limits, pids: None };
            let running = matches!(container.state, State::Running { .. });
            let project = container.labels.as_ref().map(|labels| &labels.project);
            let group = project.filter(|_| container.parent.is_some()).and_then(|project| world.groups.get(project));
            Ok(Some(Held {
                parent: container.parent.clone(),
                asked: own,
                kernel: running.then_some(own),
                group: group.filter(|_| running).copied(),
            }))
        })
        .await
    }

    async fn changed(&self, _: &InstallationId) -> Result<()> {
        let deaf = {
            let mut world = self.look();
            let chance = world.manners.rates.deaf;
            world.manners.chance(chance)
        };
        if deaf {
            tokio::time::sleep(QUIET).await;
        } else {
            let _ = tokio::time::timeout(QUIET, self.news.notified()).await;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn wanted(spec: &ContainerSpec<'_>) -> Container {
    let sources = spec.service.mounts.iter().map(|mount| &mount.source);
    let (mut volumes, mut folders) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            MountSource::Volume(key) => volumes.extend(spec.volumes.get(key).cloned()),
            MountSource::Folder(path) => folders.push(spec.folder.join(path)),
        }
    }
    Container {
        name: spec.service.container_name.clone(),
        labels: Some(spec.labels.clone()),
        digest: spec.image_digest.clone(),
        network: spec.network.to_owned(),
        fixed: spec.service.ipv4_address,
        ports: spec.service.ports.iter().map(|port| port.host_port).collect(),
        volumes,
        folders,
        limits: spec.limits,
        parent: spec.parent.clone(),
        ..Container::default()
    }
}

fn seen(container: &Container, inspected: bool, now: i64) -> ObservedContainer {
    let started = if let State::Running { since } = container.state { Some(since) } else { None };
    let running = started.is_some();
    ObservedContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        labels: container.labels.clone(),
        state: match container.state {
            State::Created => ContainerState::Created,
            State::Running { .. } => ContainerState::Running,
            State::Exited { .. } if container.restart_at.is_some() => ContainerState::Restarting,
            State::Exited { code } => ContainerState::Exited { code, oom_killed: false },
            State::Removing { .. } => ContainerState::Other("removing".to_owned()),
        },
        restart_count: if inspected { container.restarts } else { 0 },
        fresh: !inspected && (container.restart_at.is_some() || started.is_some_and(|since| now - since < 60_000)),
        ended: container.ended.filter(|_| inspected).map(|(at, code)| Ended {
            at,
            code: (!running).then_some(code),
            oom_killed: false,
        }),
        health: EngineHealth::None,
        address: container.address,
        published: if running && !container.cut_off { container.ports.clone() } else { Vec::new() },
    }
}

fn observed(world: &World, containers: Vec<ObservedContainer>, ours: impl Fn(&Option<Labels>) -> bool) -> Observed {
    Observed {
        containers,
        networks: (world.networks.values().filter(|n| ours(&n.labels)))
            .map(|n| ObservedNetwork {
                id: n.id.clone(),
                name: n.name.clone(),
                labels: n.labels.clone(),
                subnet: Some(n.subnet.clone()),
            })
            .collect(),
        volumes: (world.volumes.iter().filter(|(_, v)| ours(&v.labels)))
            .map(|(name, v)| ObservedVolume { name: name.clone(), labels: v.labels.clone() })
            .collect(),
    }
}

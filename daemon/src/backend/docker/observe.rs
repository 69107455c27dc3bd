//! Looking: lists by label and single objects, in the backend's own terms.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerInspectResponse, ContainerState as Raw, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    EndpointSettings, HealthStatusEnum, Network, PortMap,
};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};

use super::DockerBackend;
use super::errors::{Cause, exit_code, is_fresh};
use super::labels;
use crate::backend::{ContainerState, Ended, EngineHealth, Observed, ObservedContainer, ObservedNetwork, ObservedVolume, Result};
use crate::clock::parse_rfc3339;
use crate::domain::{InstallationId, ProjectRef};

impl DockerBackend {
    /// Three listings at once.
    pub(super) async fn sweep(&self, installation: &InstallationId, project: Option<&ProjectRef>) -> Result<Observed> {
        self.sweep_with(&labels::filter(installation, project, &[])).await
    }

    pub(super) async fn sweep_with(&self, filter: &HashMap<String, Vec<String>>) -> Result<Observed> {
        let (containers, networks, volumes) =
            futures_util::try_join!(self.containers_with(filter), self.networks_with(filter), self.volumes_with(filter))?;
        Ok(Observed {
            containers: containers.into_iter().map(from_summary).collect(),
            networks: networks.into_iter().map(from_network).collect(),
            volumes,
        })
    }

    pub(super) async fn containers_with(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(filter).build();
        Ok(self.read("list containers", |docker| async move { docker.list_containers(Some(options)).await }).await?)
    }

    pub(super) async fn networks_with(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<Network>> {
        let options = ListNetworksOptionsBuilder::new().filters(filter).build();
        Ok(self.read("list networks", |docker| async move { docker.list_networks(Some(options)).await }).await?)
    }

    async fn volumes_with(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<ObservedVolume>> {
        let options = ListVolumesOptionsBuilder::new().filters(filter).build();
        let found = self.read("list volumes", |docker| async move { docker.list_volumes(Some(options)).await }).await?;
        let volumes = found.volumes.unwrap_or_default().into_iter();
        Ok(volumes.map(|volume| ObservedVolume { labels: labels::read(&volume.labels), name: volume.name }).collect())
    }

    /// The engine's whole answer, `None` when there is no such container.
    pub(super) async fn raw_container(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let look = |docker: bollard::Docker| async move { docker.inspect_container(id, None::<InspectContainerOptions>).await };
        match self.read(&format!("inspect container {id}"), look).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.cause == Cause::NotFound => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn container_now(&self, id: &str) -> Result<Option<ObservedContainer>> {
        Ok(self.raw_container(id).await?.map(from_inspect))
    }
}

fn from_summary(found: ContainerSummary) -> ObservedContainer {
    let networks = found.network_settings.and_then(|settings| settings.networks);
    let status = found.status.unwrap_or_default();
    let state = match found.state {
        Some(ContainerSummaryStateEnum::CREATED) => ContainerState::Created,
        Some(ContainerSummaryStateEnum::RUNNING) => ContainerState::Running,
        Some(ContainerSummaryStateEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerSummaryStateEnum::EXITED) => {
            ContainerState::Exited { code: exit_code(&status).unwrap_or(-1), oom_killed: false }
        }
        Some(other) => ContainerState::Other(other.to_string()),
        None => ContainerState::Other(String::new()),
    };
    let mut published: Vec<u16> = found.ports.unwrap_or_default().into_iter().filter_map(|port| port.public_port).collect();
    published.sort_unstable();
    published.dedup();
    ObservedContainer {
        id: found.id.unwrap_or_default(),
        name: found.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
        labels: labels::read(&found.labels.unwrap_or_default()),
        state,
        restart_count: 0,
        fresh: is_fresh(&status),
        ended: None,
        health: EngineHealth::None,
        address: address(networks),
        published,
    }
}

fn from_inspect(found: ContainerInspectResponse) -> ObservedContainer {
    let settings = found.network_settings.unwrap_or_default();
    let state = found.state.unwrap_or_default();
    let ended = ended(&state);
    let health = match state.health.as_ref().and_then(|health| health.status) {
        Some(HealthStatusEnum::STARTING) => EngineHealth::Starting,
        Some(HealthStatusEnum::HEALTHY) => EngineHealth::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => EngineHealth::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => EngineHealth::None,
    };
    ObservedContainer {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: labels::read(&found.config.and_then(|config| config.labels).unwrap_or_default()),
        state: state_of(state),
        restart_count: found.restart_count.unwrap_or_default(),
        fresh: false,
        ended,
        health,
        address: address(settings.networks),
        published: published(settings.ports.unwrap_or_default()),
    }
}

/// The engine writes the year 1 where there was no end yet, and a 0 for the exit code of what runs again.
fn ended(state: &Raw) -> Option<Ended> {
    let at = parse_rfc3339(state.finished_at.as_deref()?).filter(|at| *at > 0)?;
    let code = state.exit_code.filter(|_| !state.running.unwrap_or(false) || state.restarting.unwrap_or(false));
    Some(Ended { at, code, oom_killed: state.oom_killed.unwrap_or(false) })
}

fn state_of(state: Raw) -> ContainerState {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created,
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::EXITED) => {
            ContainerState::Exited { code: state.exit_code.unwrap_or(-1), oom_killed: state.oom_killed.unwrap_or(false) }
        }
        Some(other) => ContainerState::Other(other.to_string()),
        None => ContainerState::Other(String::new()),
    }
}

/// A container of ours has one network.
fn address(networks: Option<HashMap<String, EndpointSettings>>) -> Option<Ipv4Addr> {
    networks?.into_values().find_map(|endpoint| endpoint.ip_address?.parse().ok())
}

fn published(ports: PortMap) -> Vec<u16> {
    let bindings = ports.into_values().flatten().flatten();
    let mut numbers: Vec<u16> = bindings.filter_map(|binding| binding.host_port?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn from_network(found: Network) -> ObservedNetwork {
    let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    ObservedNetwork {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        labels: labels::read(&found.labels.unwrap_or_default()),
        subnet: configs.into_iter().find_map(|config| config.subnet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_with_its_code_as_long_as_the_engine_knows_it() {
        let read = |json: &str| ended(&serde_json::from_str(json).unwrap());
        let at = Some(1_700_000_000_123);
        let stopped = r#"{"Status":"exited","Running":false,"ExitCode":137,"FinishedAt":"2023-11-14T22:13:20.123456789Z"}"#;
        assert_eq!(read(stopped).map(|end| (end.at, end.code)), at.map(|at| (at, Some(137))));
        // While it waits for its next start the engine calls it running.
        let waits = r#"{"Running":true,"Restarting":true,"ExitCode":1,"OOMKilled":true,"FinishedAt":"2023-11-14T22:13:20.123Z"}"#;
        assert_eq!(read(waits), at.map(|at| Ended { at, code: Some(1), oom_killed: true }));
        let again = r#"{"Running":true,"Restarting":false,"ExitCode":0,"FinishedAt":"2023-11-14T22:13:20.123Z"}"#;
        assert_eq!(read(again), at.map(|at| Ended { at, code: None, oom_killed: false }));
        assert_eq!(read(r#"{"Running":true,"FinishedAt":"0001-01-01T00:00:00Z"}"#), None);
    }
}

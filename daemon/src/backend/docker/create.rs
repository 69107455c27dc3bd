//! A fenced service -> the body of a create. Everything the fence does not ask about is decided here, for all alike.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    NetworkingConfig, PortBinding, PortMap, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::{labels, limits};
use crate::backend::ContainerSpec;
use crate::stack::{HealthCheck, Service};

/// The body. `image` is the reference when it still means the pinned digest, else the digest.
pub fn body(spec: &ContainerSpec<'_>, image: String, mounts: Vec<Mount>) -> ContainerCreateBody {
    let service = spec.service;
    let environment = spec.environment.iter().map(|(name, value)| format!("{name}={}", value.expose()));
    ContainerCreateBody {
        image: Some(image),
        hostname: service.hostname.clone(),
        user: service.user.clone(),
        entrypoint: service.entrypoint.clone(),
        cmd: service.command.clone(),
        env: Some(environment.collect()),
        exposed_ports: Some(service.ports.iter().map(|port| inside(port.container_port)).collect()),
        healthcheck: service.healthcheck.as_ref().map(healthcheck),
        labels: Some(labels::of_container(&service.labels, &spec.labels, spec.folder)),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service.stop_grace_s.map(i64::from),
        host_config: Some(host_config(spec, mounts)),
        networking_config: Some(networking(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec<'_>, mounts: Vec<Mount>) -> HostConfig {
    let service = spec.service;
    let ulimit = |limit: &crate::stack::Ulimit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    };
    HostConfig {
        network_mode: Some(spec.network.to_owned()),
        port_bindings: Some(port_bindings(service)),
        mounts: Some(mounts),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), ..RestartPolicy::default() }),
        log_config: Some(HostConfigLogConfig {
            typ: Some(service.logging.driver.clone()),
            config: Some(service.logging.options.clone().into_iter().collect()),
        }),
        ulimits: Some(service.ulimits.iter().map(ulimit).collect()),
        pids_limit: service.pids_limit,
        cgroup_parent: spec.parent.clone(),
        nano_cpus: spec.limits.cpu.map(limits::nanoseconds),
        memory: spec.limits.memory.map(limits::bytes),
        // As much with swap as without: what does not fit is killed, not swapped.
        memory_swap: spec.limits.memory.map(limits::bytes),
        init: Some(service.init),
        privileged: Some(false),
        // Images drop from root by setuid(2), which stays possible; a set-uid program inside no longer gains anything.
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    }
}

fn port_bindings(service: &Service) -> PortMap {
    let mut bindings = PortMap::new();
    for port in &service.ports {
        let binding = PortBinding { host_ip: Some(port.host_address.to_string()), host_port: Some(port.host_port.to_string()) };
        bindings.entry(inside(port.container_port)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn inside(port: u16) -> String {
    format!("{port}/tcp")
}

/// Compose adds the service's own name to its aliases; so do we, for one file means one network either way.
fn networking(spec: &ContainerSpec<'_>) -> NetworkingConfig {
    let mut aliases: Vec<String> = spec.labels.service.iter().map(ToString::to_string).collect();
    for alias in &spec.service.aliases {
        if !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    let fixed = spec
        .service
        .ipv4_address
        .map(|address| EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..EndpointIpamConfig::default() });
    let endpoint = EndpointSettings { aliases: Some(aliases), ipam_config: fixed, ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some(HashMap::from([(spec.network.to_owned(), endpoint)])) }
}

fn healthcheck(check: &HealthCheck) -> HealthConfig {
    let nanoseconds = |ms: u64| i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    HealthConfig {
        test: Some(check.test.clone()),
        interval: Some(nanoseconds(check.interval_ms)),
        timeout: Some(nanoseconds(check.timeout_ms)),
        retries: Some(i64::from(check.retries)),
        start_period: Some(nanoseconds(check.start_period_ms)),
        ..HealthConfig::default()
    }
}

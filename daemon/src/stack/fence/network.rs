//! Addresses, ports and the log stream, which the engine itself sends over the network.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use super::{Findings, Subject};
use crate::stack::{FenceRules, Stack};

/// Ports are published on the operator's address only, which is loopback unless told otherwise.
pub fn port_address(subject: &Subject<'_>, out: &mut Findings) {
    for (index, port) in subject.service.ports.iter().enumerate() {
        if port.host_address != subject.rules.publish_address {
            let message = format!("is published on {}: only {} is allowed", port.host_address, subject.rules.publish_address);
            out.add("port_address", subject.path(&format!("ports[{index}]")), message);
        }
    }
}

/// Only ports that were reserved for this service of this project.
pub fn port_not_reserved(subject: &Subject<'_>, out: &mut Findings) {
    for (index, port) in subject.service.ports.iter().enumerate() {
        let reserved =
            subject.rules.ports.iter().any(|(service, inside, host)| {
                service == subject.name && *inside == port.container_port && *host == port.host_port
            });
        if !reserved {
            let message = format!(
                "publishes {} for port {}, which is not reserved: declare a [[port]] of `{}` in set.toml and use ports.<name>",
                port.host_port, port.container_port, subject.name
            );
            out.add("port_not_reserved", subject.path(&format!("ports[{index}]")), message);
        }
    }
}

/// The subnet is the host's to give: another one would run into a neighbour's or the host's own routes.
pub fn subnet(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    let network = &stack.network;
    let fields = [
        ("subnet", Some(&network.subnet), &rules.subnet),
        ("gateway", network.gateway.as_ref(), &rules.gateway),
        ("ip_range", network.ip_range.as_ref(), &rules.ip_range),
    ];
    for (field, found, wanted) in fields {
        if found != Some(wanted) {
            let path = format!("networks.default.ipam.config[0].{field}");
            out.add("subnet", path, format!("is {:?}: it must be `{wanted}`", found.map_or("", String::as_str)));
        }
    }
}

/// A fixed address is one that set.toml reserved for this service.
pub fn fixed_address(subject: &Subject<'_>, out: &mut Findings) {
    if let Some(address) = subject.service.ipv4_address {
        let reserved = subject.rules.fixed_addresses.iter().any(|(name, fixed)| name == subject.name && *fixed == address);
        if !reserved {
            let message = format!(
                "is {address}, which is not reserved: give `{}` a fixed_address in set.toml and use network.fixed",
                subject.name
            );
            out.add("fixed_address", subject.path("networks.default.ipv4_address"), message);
        }
    }
}

/// Two services cannot have one port, address or name.
pub fn duplicate(stack: &Stack, _: &FenceRules, out: &mut Findings) {
    let (mut ports, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in &stack.services {
        for (index, port) in service.ports.iter().enumerate() {
            if !ports.insert((port.host_address, port.host_port)) {
                let path = format!("services.{name}.ports[{index}]");
                out.add("duplicate", path, format!("publishes {} a second time: leave one out", port.host_port));
            }
        }
        if let Some(address) = service.ipv4_address.filter(|address| !addresses.insert(*address)) {
            let path = format!("services.{name}.networks.default.ipv4_address");
            out.add("duplicate", path, format!("uses {address} a second time: leave one out"));
        }
    }
}

/// Which options a driver may have; the first of each group must be there.
const FLUENTD: &[&str] = &[
    "fluentd-address",
    "fluentd-async",
    "cache-max-size",
    "cache-max-file",
    "tag",
    "fluentd-buffer-limit",
    "fluentd-retry-wait",
    "fluentd-max-retries",
    "fluentd-sub-second-precision",
    "cache-compress",
];
const FILE: &[&str] = &["max-size", "max-file", "tag", "compress"];

/// Logs are written by the engine, as root, outside of every limit of the container: an unbounded driver fills the
/// host's disk (moby #40207), another address sends the project's lines elsewhere or holds the engine up.
pub fn log_driver(subject: &Subject<'_>, out: &mut Findings) {
    let logging = &subject.service.logging;
    let (allowed, needed): (&[&str], &[&str]) = match logging.driver.as_str() {
        "fluentd" => (FLUENTD, &FLUENTD[..4]),
        "local" | "json-file" => (FILE, &FILE[..2]),
        other => {
            let message = format!("is {other:?}: use fluentd, local or json-file");
            return out.add("log_driver", subject.path("logging.driver"), message);
        }
    };
    let path = |key: &str| subject.path(&format!("logging.options.{key}"));
    for key in needed.iter().filter(|key| !logging.options.contains_key(**key)) {
        out.add("log_driver", path(key), "is missing: without it logs are lost, block the container or fill the disk");
    }
    for (key, value) in &logging.options {
        if !allowed.contains(&key.as_str()) {
            out.add(
                "log_driver",
                path(key),
                format!("is not an option of `{}` that a stack may use: leave it out", logging.driver),
            );
        } else if let Some(reason) = unfit(key, value, subject) {
            out.add("log_driver", path(key), format!("is {value:?}: {reason}"));
        }
    }
}

fn unfit(key: &str, value: &str, subject: &Subject<'_>) -> Option<&'static str> {
    let small_number = |most: u32| value.parse::<u32>().is_ok_and(|number| (1..=most).contains(&number));
    let (fits, reason) = match key {
        "fluentd-address" => {
            let address = value.strip_prefix("tcp://").unwrap_or(value).parse::<SocketAddrV4>();
            let ours = |ip| subject.rules.fixed_addresses.iter().any(|(_, fixed)| *fixed == ip);
            (
                address.is_ok_and(|address| address.port() > 0 && ours(*address.ip())),
                "write a fixed address of this project and a port",
            )
        }
        "fluentd-async" => (value == "true", "only true is allowed: else a container cannot start before its collector"),
        "cache-max-size" | "max-size" => (megabytes(value).is_some_and(|size| (1..=100).contains(&size)), "write 1m to 100m"),
        "cache-max-file" | "max-file" => (small_number(10), "write 1 to 10"),
        "fluentd-buffer-limit" => (small_number(1 << 20), "write at most 1048576"),
        "fluentd-max-retries" => (small_number(u32::MAX), "write a whole number from 1"),
        // Below zero the engine's driver does not wait at all: it would dial without a pause while nobody listens.
        "fluentd-retry-wait" => (milliseconds(value).is_some_and(|wait| (100..=60_000).contains(&wait)), "write 100ms to 60s"),
        "tag" => (
            value.len() <= 128 && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')),
            "use letters, digits, `_`, `-` and `.`",
        ),
        _ => (matches!(value, "true" | "false"), "write \"true\" or \"false\""),
    };
    (!fits).then_some(reason)
}

fn milliseconds(text: &str) -> Option<u32> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => text.strip_suffix('s')?.parse::<u32>().ok()?.checked_mul(1_000),
    }
}

fn megabytes(text: &str) -> Option<u32> {
    text.strip_suffix('m')?.parse().ok()
}

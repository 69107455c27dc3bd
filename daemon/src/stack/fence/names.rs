//! Names and labels: what recognises an object later, so none may be a neighbour's or the host's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Findings, Subject};
use crate::stack::{FenceRules, Stack, label_keys as keys};

/// What every name of the project's own begins with (decision 17).
fn prefix(rules: &FenceRules) -> String {
    format!("supamanager-{}", rules.project)
}

/// The Compose project is the ref, or `docker compose -p <ref>` would show somebody else's.
pub fn project_name(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    if stack.name != rules.project.as_str() {
        out.add("project_name", "name", format!("is {:?}: it must be the project's ref, {}", stack.name, rules.project));
    }
}

/// Only services that the set declares have an order, a probe and an image.
pub fn unknown_service(subject: &Subject<'_>, out: &mut Findings) {
    if !subject.rules.services.contains(subject.name) {
        let path = format!("services.{}", subject.name);
        out.add("unknown_service", path, "is not declared in set.toml: add a [[service]] of this name or leave it out");
    }
}

/// `depends_on` can only wait for a service of this file.
pub fn dependency(stack: &Stack, _: &FenceRules, out: &mut Findings) {
    for (name, service) in &stack.services {
        for (other, _) in &service.depends_on {
            if other == name || !stack.services.contains_key(other) {
                let path = format!("services.{name}.depends_on.{other}");
                out.add("dependency", path, "is not another service of this stack: leave it out");
            }
        }
    }
}

/// Names are the host's to give: a neighbour's name would keep the neighbour from starting.
pub fn container_name(subject: &Subject<'_>, out: &mut Findings) {
    let wanted = format!("{}-{}", prefix(subject.rules), subject.name);
    if subject.service.container_name != wanted {
        let found = &subject.service.container_name;
        out.add("container_name", subject.path("container_name"), format!("is {found:?}: it must be `{wanted}`"));
    }
}

/// One DNS label or several.
pub fn hostname(subject: &Subject<'_>, out: &mut Findings) {
    if let Some(name) = subject.service.hostname.as_deref().filter(|name| !is_host_name(name)) {
        out.add("hostname", subject.path("hostname"), format!("is {name:?}: use a-z, 0-9, `-` and `.`, at most 63 characters"));
    }
}

/// A name on the project's own network; an address there would stand in for somebody else's.
pub fn alias(subject: &Subject<'_>, out: &mut Findings) {
    for (index, alias) in subject.service.aliases.iter().enumerate() {
        if alias.parse::<IpAddr>().is_ok() || !is_host_name(alias) {
            let path = subject.path(&format!("networks.default.aliases[{index}]"));
            out.add("alias", path, format!("is {alias:?}: use a-z, 0-9, `-` and `.`, at most 63 characters, and no address"));
        }
    }
}

/// A host name of labels. One whose last label is a number, `127.1` or `0x7f000001`, is an address to every resolver.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = hexadecimal || last.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 63 && text.split('.').all(label) && !number
}

/// Labels of containers. Only `io.supamanager.*` is free for a set to use: programs on a host act on labels of
/// their own (reverse proxies open routes, job runners run commands), so any other key is a request to a neighbour.
pub fn label(subject: &Subject<'_>, out: &mut Findings) {
    let known = [(keys::PROJECT, subject.rules.project.as_str()), (keys::SERVICE, subject.name.as_str())];
    labels(&subject.service.labels, &known, &subject.path("labels"), out);
}

/// The network's name is the host's to give.
pub fn network_name(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    let wanted = prefix(rules);
    if stack.network.name != wanted {
        out.add("network_name", "networks.default.name", format!("is {:?}: it must be `{wanted}`", stack.network.name));
    }
}

/// Labels of the network, as those of containers.
pub fn network_label(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    labels(&stack.network.labels, &[(keys::PROJECT, rules.project.as_str())], "networks.default.labels", out);
}

/// A volume's name is the host's to give.
pub fn volume_name(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    for (key, volume) in &stack.volumes {
        let wanted = format!("{}-{key}", prefix(rules));
        let key_fits = key.len() <= 63 && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !key_fits {
            out.add(
                "volume_name",
                format!("volumes.{key}"),
                "is not a volume's key: use a-z, 0-9 and `-`, at most 63 characters",
            );
        } else if volume.name != wanted {
            out.add("volume_name", format!("volumes.{key}.name"), format!("is {:?}: it must be `{wanted}`", volume.name));
        }
    }
}

/// Labels of volumes, as those of containers.
pub fn volume_label(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    for (key, volume) in &stack.volumes {
        let path = format!("volumes.{key}.labels");
        labels(&volume.labels, &[(keys::PROJECT, rules.project.as_str())], &path, out);
    }
}

fn labels(labels: &BTreeMap<String, String>, known: &[(&str, &str)], path: &str, out: &mut Findings) {
    const SET_BY_HOST: [&str; 5] = [keys::INSTALLATION, keys::GENERATION, keys::OPERATION, keys::SPEC_HASH, keys::ROLE];
    for (key, value) in labels {
        let path = format!("{path}.{key}");
        let fixed = known.iter().find(|(name, _)| name == key);
        let known_elsewhere = [keys::PROJECT, keys::SERVICE].contains(&key.as_str());
        let word = key.strip_prefix("io.supamanager.").unwrap_or_default();
        let is_word =
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        if let Some((_, wanted)) = fixed {
            if value != wanted {
                out.add("label", path, format!("is {value:?}: it must be `{wanted}`"));
            }
        } else if SET_BY_HOST.contains(&key.as_str()) || known_elsewhere {
            out.add("label", path, "is set by the host: leave it out");
        } else if !is_word || key.len() > 128 {
            out.add("label", path, "is not a label that a stack may set: use io.supamanager.<word of a-z, 0-9, `-` and `.`>");
        } else if value.len() > 2_048 {
            out.add("label", path, format!("has {} bytes: at most 2048 are allowed", value.len()));
        }
    }
}

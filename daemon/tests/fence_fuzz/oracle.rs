//! What must be true of a stack that has come through, said a second time: from the design, not from the fence's code.
//!
//! Every struct is taken apart without `..`, so that a new field of the model does not compile until it is judged here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Component, Path};

use supamanager::stack::{
    BindMode, HealthCheck, Logging, Mount, MountSource, Network, PublishedPort, Service, Stack, Ulimit, Volume,
};

use crate::tree::Tree;
use crate::{PROJECT, pools};

/// Line breaks of YAML 1.1, which Docker Compose reads, and letters of YAML 1.2, which we read: behind one of them may
/// stand a line that only Compose sees.
pub const BREAKS_OF_COMPOSE: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// What is wrong with an accepted stack.
pub struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
}

pub fn faults(stack: &Stack) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let Stack { name, services, network: net, volumes } = stack;
    faults.unless(name == PROJECT, || format!("the stack is called {name:?}"));
    faults.unless(!services.is_empty(), || "there is no service".into());
    let mut published = Vec::new();
    let mut addresses = Vec::new();
    for (name, inner) in services {
        faults.unless(matches!(name.as_str(), "db" | "vector"), || format!("the service {name}"));
        service(name.as_str(), inner, stack, &mut faults);
        published.extend(inner.ports.iter().map(|port| port.host_port));
        addresses.extend(inner.ipv4_address);
    }
    faults.unless(published.len() <= 1, || format!("published twice: {published:?}"));
    faults.unless(addresses.len() <= 1, || format!("one address twice: {addresses:?}"));
    network(net, &mut faults);
    for (key, inner) in volumes {
        volume(key, inner, &mut faults);
    }
    faults.0
}

fn service(name: &str, service: &Service, stack: &Stack, faults: &mut Faults) {
    let Service { image, container_name, hostname, entrypoint, command, environment, ports, mounts, .. } = service;
    // The rest: two patterns, for one line has no room for all. `rest` has what is missing here.
    faults.unless(image_is_allowed(name, image), || format!("{name} runs {image:?}"));
    faults.unless(*container_name == format!("supamanager-{PROJECT}-{name}"), || format!("{name} is called {container_name:?}"));
    faults.unless(hostname.as_deref().is_none_or(is_name), || format!("{name} has the host name {hostname:?}"));
    for words in [entrypoint, command].into_iter().flatten() {
        let fit = words.first().is_some_and(|word| !word.is_empty()) && words.iter().all(|word| is_printable(word));
        faults.unless(fit, || format!("{name} runs {words:?}"));
    }
    for (key, value) in environment {
        faults.unless(is_variable(key) && refers_only_to_the_known(value), || format!("{name} has {key:?}: {value:?}"));
    }
    for port in ports {
        let PublishedPort { host_address, host_port, container_port } = port;
        let reserved = (name, *host_port, *container_port) == ("db", 55_000, 5_432) && *host_address == Ipv4Addr::LOCALHOST;
        faults.unless(reserved, || format!("{name} publishes {port:?}"));
    }
    for (index, mount) in mounts.iter().enumerate() {
        let once = mounts[..index].iter().all(|other| other.target != mount.target);
        faults.unless(once && mount_is_inside(mount, stack), || format!("{name} mounts {mount:?}"));
    }
    rest(name, service, stack, faults);
}

fn rest(name: &str, service: &Service, stack: &Stack, faults: &mut Faults) {
    let Service {
        image: _,
        container_name: _,
        hostname: _,
        entrypoint: _,
        command: _,
        environment: _,
        ports: _,
        mounts: _,
        aliases,
        ipv4_address,
        depends_on,
        healthcheck,
        labels,
        logging,
        ulimits,
        user,
        stop_signal,
        stop_grace_s,
        pids_limit,
        init: _,
    } = service;
    faults.unless(aliases.iter().all(|alias| is_name(alias)), || format!("{name} answers to {aliases:?}"));
    let reserved = ipv4_address.is_none_or(|address| (name, address) == ("vector", Ipv4Addr::new(10, 201, 0, 30)));
    faults.unless(reserved, || format!("{name} has the address {ipv4_address:?}"));
    let waits = depends_on.iter().all(|(other, condition)| {
        other.as_str() != name
            && stack.services.contains_key(other)
            && ["service_started", "service_healthy"].contains(&condition.as_str())
    });
    faults.unless(waits, || format!("{name} waits for {depends_on:?}"));
    faults.unless(healthcheck.as_ref().is_none_or(check_is_moderate), || format!("{name} is checked by {healthcheck:?}"));
    labels_are_ours(labels, Some(name), faults);
    faults.unless(log_is_bounded(logging), || format!("{name} logs to {logging:?}"));
    for limit in ulimits {
        let Ulimit { name: of, soft, hard } = limit;
        faults.unless(of == "nofile" && 1 <= *soft && soft <= hard && *hard <= 1_048_576, || format!("{name} has {limit:?}"));
    }
    let user_fits = |user: &String| user.split(':').count() <= 2 && user.split(':').all(|part| is_of(part, "_-."));
    faults.unless(user.as_ref().is_none_or(user_fits), || format!("{name} runs as {user:?}"));
    let signal =
        |text: &String| is_of(text, "+-") && (text.starts_with("SIG") || text.parse().is_ok_and(|n: u32| n > 0 && n < 65));
    faults.unless(stop_signal.as_ref().is_none_or(signal), || format!("{name} is stopped by {stop_signal:?}"));
    faults.unless(stop_grace_s.is_none_or(|grace| grace <= 300), || format!("{name} may take {stop_grace_s:?} s to stop"));
    faults
        .unless(pids_limit.is_some_and(|limit| (1..=4_096).contains(&limit)), || format!("{name} has {pids_limit:?} processes"));
}

fn network(network: &Network, faults: &mut Faults) {
    let Network { name, subnet, gateway, ip_range, labels } = network;
    faults.unless(*name == format!("supamanager-{PROJECT}"), || format!("the network is called {name:?}"));
    let reserved = (subnet.as_str(), gateway.as_deref(), ip_range.as_deref())
        == ("10.201.0.0/27", Some("10.201.0.1"), Some("10.201.0.0/28"));
    faults.unless(reserved, || format!("the network is {network:?}"));
    labels_are_ours(labels, None, faults);
}

fn volume(key: &str, volume: &Volume, faults: &mut Faults) {
    let Volume { name, folder, labels } = volume;
    faults.unless(*name == format!("supamanager-{PROJECT}-{key}"), || format!("the volume {key:?} is called {name:?}"));
    faults.unless(is_of(key, "-") && key.to_ascii_lowercase() == key, || format!("the volume {key:?}"));
    faults.unless(is_data_folder(folder), || format!("the volume {key:?} is bound to {folder:?}"));
    labels_are_ours(labels, None, faults);
}

/// Letters, digits and these.
fn is_of(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter))
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|letter| !letter.is_control() || letter == '\n' || letter == '\t')
}

/// `db` runs its image of the set, `vector` its own; both may run what lies under the prefix.
fn image_is_allowed(service: &str, image: &str) -> bool {
    let of_the_set = match service {
        "db" => "supabase/postgres:15.1.0.147",
        _ => "timberio/vector:0.28.1-alpine",
    };
    let short = ["index.docker.io/", "docker.io/"].iter().find_map(|registry| image.strip_prefix(registry)).unwrap_or(image);
    let of_the_team = image.strip_prefix("registry.example.org/team/").is_some_and(|rest| {
        is_of(rest, "/.:@_-") && !rest.starts_with(['/', '.', ':', '@']) && !rest.contains("..") && !rest.contains("//")
    });
    short == of_the_set || of_the_team
}

fn is_variable(key: &str) -> bool {
    is_of(key, "_.-") && key.len() <= 128 && key.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
}

fn refers_only_to_the_known(value: &str) -> bool {
    // Compose reads from the left, and pairs first.
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('$') {
        let Some(next) = after.strip_prefix('$').or_else(|| after.strip_prefix("{DB_PASSWORD}")) else { return false };
        rest = next;
    }
    is_printable(value)
}

/// Whether it is `volumes/<word>`, where `..`, links to elsewhere and capital letters cannot be said.
fn is_data_folder(path: &str) -> bool {
    let parts: Vec<_> = Path::new(path).components().collect();
    let word = path.strip_prefix("volumes/").unwrap_or_default();
    parts.len() == 2 && is_of(word, "_-") && word.to_ascii_lowercase() == word && word.len() <= 64
}

fn mount_is_inside(mount: &Mount, stack: &Stack) -> bool {
    let Mount { source, target, mode } = mount;
    let source_fits = match source {
        MountSource::Folder(path) => {
            is_data_folder(path) || (*mode == BindMode::ReadOnly && ["init.sql", "vector.yml"].contains(&path.as_str()))
        }
        MountSource::Volume(key) => stack.volumes.contains_key(key),
    };
    let parts: Vec<_> = Path::new(target).components().skip(1).collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let again: String = parts.iter().map(|part| format!("/{}", part.as_os_str().display())).collect();
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|tree| target == tree || target.starts_with(&format!("{tree}/")));
    source_fits && plain && again == *target && !parts.is_empty() && !kernel && target.len() <= 256 && is_printable(target)
}

/// A name for the project's own network, which no resolver takes for an address: those are told by their last label.
fn is_name(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let label = |label: &&str| is_of(label, "-") && !label.starts_with('-') && !label.ends_with('-');
    let is_address = labels.last().is_some_and(|last| {
        let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        hexadecimal || last.bytes().all(|digit| digit.is_ascii_digit())
    });
    text.len() <= 63 && text.to_ascii_lowercase() == text && labels.iter().all(label) && !is_address
}

fn check_is_moderate(check: &HealthCheck) -> bool {
    let HealthCheck { test, interval_ms, timeout_ms, retries, start_period_ms } = check;
    let form = match test.first().map(String::as_str) {
        Some("NONE") => test.len() == 1,
        Some("CMD") => test.len() > 1,
        Some("CMD-SHELL") => test.len() == 2,
        _ => false,
    };
    let hour = 3_600_000;
    form && (1_000..=hour).contains(interval_ms)
        && (100..=600_000).contains(timeout_ms)
        && (1..=100).contains(retries)
        && *start_period_ms <= hour
}

fn labels_are_ours(labels: &BTreeMap<String, String>, service: Option<&str>, faults: &mut Faults) {
    for (key, value) in labels {
        let fits = match key.strip_prefix("io.supamanager.") {
            Some("project") => value == PROJECT,
            Some("service") => service == Some(value.as_str()),
            Some("installation" | "generation" | "operation" | "spec-hash" | "role") | None => false,
            Some(word) => is_of(word, "-.") && word.to_ascii_lowercase() == word && value.len() <= 2_048,
        };
        faults.unless(fits && is_printable(value), || format!("the label {key:?}: {value:?}"));
    }
}

fn log_is_bounded(logging: &Logging) -> bool {
    let Logging { driver, options } = logging;
    let has = |key: &str| options.contains_key(key);
    let complete = match driver.as_str() {
        "fluentd" => has("fluentd-address") && has("fluentd-async") && has("cache-max-size") && has("cache-max-file"),
        "local" | "json-file" => has("max-size") && has("max-file"),
        _ => false,
    };
    complete && options.iter().all(|(key, value)| log_option_fits(key, value))
}

fn log_option_fits(key: &str, value: &str) -> bool {
    let number = |text: &str, most: u64| text.parse().is_ok_and(|number: u64| (1..=most).contains(&number));
    match key {
        "fluentd-address" => {
            let port = value.strip_prefix("tcp://").unwrap_or(value).strip_prefix("10.201.0.30:");
            port.is_some_and(|port| number(port, 65_535))
        }
        "fluentd-async" => value == "true",
        "cache-max-size" | "max-size" => value.strip_suffix('m').is_some_and(|size| number(size, 100)),
        "cache-max-file" | "max-file" => number(value, 10),
        "fluentd-buffer-limit" => number(value, 1_048_576),
        "fluentd-max-retries" => number(value, u64::from(u32::MAX)),
        // A wait below zero is none: the engine would try again without a pause, as long as nobody listens.
        "fluentd-retry-wait" => {
            let wait = value.strip_prefix('+').unwrap_or(value);
            is_of(wait, ".") && wait.starts_with(|first: char| first.is_ascii_digit())
        }
        "fluentd-sub-second-precision" | "cache-compress" | "compress" => matches!(value, "true" | "false"),
        "tag" => value.is_empty() || is_of(value, "_-."),
        _ => false,
    }
}

/// What no reader may pass over in an accepted tree: keys that ask for more, a key twice, and a dollar sign that Compose
/// would fill in. What is a name of somebody's choice is no key.
pub fn passed_over(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    look_into(tree, false, &pools::words(pools::FORBIDDEN), &mut found);
    found
}

fn look_into(tree: &Tree, in_variables: bool, forbidden: &[String], found: &mut Vec<String>) {
    match tree {
        Tree::Plain(text) | Tree::Text(text) => {
            let filled_in = !in_variables && text.replace("$$", "").contains('$');
            found.extend(filled_in.then(|| format!("Compose fills in {text:?}")));
        }
        Tree::List(items) => items.iter().for_each(|item| look_into(item, in_variables, forbidden, found)),
        Tree::Map(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                let twice = entries[..index].iter().any(|(other, _)| other == key);
                found.extend(twice.then(|| format!("the key {key:?} is there twice")));
                found.extend((!in_variables && forbidden.contains(key)).then(|| format!("the key {key:?} is passed over")));
                look_into(value, in_variables || key == "environment", forbidden, found);
            }
        }
    }
}

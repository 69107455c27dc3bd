//! `supamanager doctor`: what would keep a project from coming up on this machine, and what to do about it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use crate::backend::Backend;
use crate::backend::docker::DockerBackend;
use crate::config::Config;
use crate::domain::Secret;
use crate::plugin_host::{HostConfig, PluginHost};
use crate::secrets::MasterKey;
use crate::subnets::{Pool, host_routes};
use crate::templates::Templates;

/// Ports tried per range: enough to see whether something else lives there.
const SAMPLE: usize = 50;

enum Finding {
    Good(String),
    Advice(String),
    Bad(String),
}

use Finding::{Advice, Bad, Good};

/// Prints one line per finding; fails when one of them is bad.
///
/// # Errors
/// None of its own: what it finds is printed.
pub async fn run(config: &Config, secret: Option<Secret<String>>) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    findings.extend(engine(config).await);
    findings.push(plugins(config).await);
    findings.push(templates(config));
    findings.push(key(config, secret));
    findings.extend(ports(config));
    findings.push(subnets(config));
    findings.extend(system());
    let mut bad = 0;
    for finding in &findings {
        let (mark, text) = match finding {
            Good(text) => ("ok    ", text),
            Advice(text) => ("advice", text),
            Bad(text) => {
                bad += 1;
                ("BAD   ", text)
            }
        };
        println!("{mark}  {text}");
    }
    println!("{} checks, {bad} bad", findings.len());
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn engine(config: &Config) -> Vec<Finding> {
    let host = Some(config.docker_host.as_str()).filter(|host| !host.is_empty());
    let backend = match DockerBackend::connect(host) {
        Ok(backend) => backend,
        Err(error) => return vec![Bad(format!("engine: {error}"))],
    };
    let info = match backend.info().await {
        Ok(info) => info,
        Err(error) => return vec![Bad(format!("engine: {error}; start it or set DOCKER_HOST"))],
    };
    let mut findings = vec![Good(format!(
        "engine {} speaks API {} (at most {}), {} cores, {} MiB",
        info.version,
        info.api_version,
        info.api_version_max,
        info.cpus,
        info.memory_bytes / (1024 * 1024)
    ))];
    if let Ok(Ok(images)) = Templates::load(&config.templates_dir).map(|templates| templates.images(&config.image_set)) {
        let mut missing = Vec::new();
        for (service, reference) in &images.images {
            if !matches!(backend.image_digest(reference).await, Ok(Some(_))) {
                missing.push(format!("{service} ({reference})"));
            }
        }
        findings.push(match missing.is_empty() {
            true => Good(format!("image set {}: all {} images are on the engine", images.name, images.images.len())),
            false => Advice(format!("image set {}: the first create pulls {}", images.name, missing.join(", "))),
        });
    }
    findings
}

async fn plugins(config: &Config) -> Finding {
    match PluginHost::load(HostConfig::new(&config.plugins_dir, &config.data_dir)).await {
        Ok(host) if host.has_render() => Good(format!("plugins: {} from {}", host.pins().len(), config.plugins_dir.display())),
        Ok(_) => Bad(format!(
            "plugins: {} holds no render plugin; `make plugins` builds the shipped ones",
            config.plugins_dir.display()
        )),
        Err(error) => Bad(format!("plugins: {error}")),
    }
}

fn templates(config: &Config) -> Finding {
    let loaded = match Templates::load(&config.templates_dir) {
        Ok(loaded) => loaded,
        Err(error) => return Bad(format!("templates: {error}")),
    };
    match (loaded.set(&config.template_set), loaded.images(&config.image_set)) {
        (Ok(set), Ok(images)) => {
            let missing: Vec<&str> = (set.spec.services.iter())
                .filter(|service| !images.images.contains_key(&service.image))
                .map(|service| service.name.as_str())
                .collect();
            match missing.is_empty() {
                true => Good(format!(
                    "template set {} with image set {}: {} services",
                    set.spec.name,
                    images.name,
                    set.spec.services.len()
                )),
                false => Bad(format!("image set {} has no image for {}", images.name, missing.join(", "))),
            }
        }
        (Err(known), _) => Bad(format!("template_set `{}` is not there: {}", config.template_set, known.join(", "))),
        (_, Err(known)) => Bad(format!("image_set `{}` is not there: {}", config.image_set, known.join(", "))),
    }
}

fn key(config: &Config, secret: Option<Secret<String>>) -> Finding {
    let probe = crate::domain::InstallationId::parse(&"0".repeat(32));
    match (secret, probe) {
        (Some(secret), Ok(id)) => match MasterKey::derive(&secret, &id) {
            Ok(_) => Good("key: ENCRYPTION_SECRET is set and long enough".to_owned()),
            Err(error) => Bad(format!("key: {error}")),
        },
        _ => match private(&config.data_dir.join("encryption.key")) {
            Some(true) => Good(format!("key: {}/encryption.key, readable by its owner only", config.data_dir.display())),
            Some(false) => Bad(format!("key: others may read {}/encryption.key: chmod 600 it", config.data_dir.display())),
            None => Advice("key: ENCRYPTION_SECRET is not set; the first start makes a key file in the data folder".to_owned()),
        },
    }
}

fn private(path: &Path) -> Option<bool> {
    use std::os::unix::fs::PermissionsExt;
    Some(path.metadata().ok()?.permissions().mode() & 0o077 == 0)
}

fn ports(config: &Config) -> Vec<Finding> {
    let range = |name: &str| config.port_range(name).ok().map(|range| (name.to_owned(), range));
    let ranges: Vec<(String, RangeInclusive<u16>)> = ["api", "db"].iter().filter_map(|name| range(name)).collect();
    let mut findings: Vec<Finding> = (ranges.iter())
        .map(|(name, range)| {
            let sample: Vec<u16> = range.clone().take(SAMPLE).collect();
            let free = sample.iter().filter(|port| crate::ports::can_bind(config.publish_address, **port)).count();
            let text = format!("ports.{name} {}-{}: {free} of the first {} are free", range.start(), range.end(), sample.len());
            if free == 0 { Bad(text) } else { Good(text) }
        })
        .collect();
    let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = ephemeral.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    if let (Some(first), Some(last)) = (bounds.next(), bounds.next()) {
        let reserved = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        let ours = ranges.iter().map(|(_, range)| range.clone()).filter(|range| *range.start() <= last && *range.end() >= first);
        if let Some(line) = to_reserve(reserved.trim(), ours) {
            findings.push(Advice(format!(
                "client connections may take ports of {first}-{last}: reserve ours with `sysctl net.ipv4.ip_local_reserved_ports={line}`"
            )));
        }
    }
    findings
}

/// What the setting should hold, with what it holds already; `None` when ours are in it. The kernel joins ranges that
/// touch, so texts cannot be compared.
fn to_reserve(reserved: &str, ours: impl Iterator<Item = RangeInclusive<u16>>) -> Option<String> {
    let read = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    };
    let there: Vec<RangeInclusive<u16>> = reserved.split(',').filter_map(read).collect();
    let is_there =
        |range: &RangeInclusive<u16>| there.iter().any(|known| known.contains(range.start()) && known.contains(range.end()));
    let missing: Vec<String> =
        ours.filter(|range| !is_there(range)).map(|range| format!("{}-{}", range.start(), range.end())).collect();
    let known = Some(reserved.to_owned()).filter(|text| !text.is_empty());
    (!missing.is_empty()).then(|| known.into_iter().chain(missing).collect::<Vec<_>>().join(","))
}

fn subnets(config: &Config) -> Finding {
    let Some(pool) = Pool::parse(&config.subnets.pool) else { return Bad("subnets.pool is no network".to_owned()) };
    match pool.choose(&[], &host_routes()) {
        Some(first) => {
            Good(format!("subnets.pool {} holds {} projects, the first on {first}", config.subnets.pool, pool.capacity()))
        }
        None => Bad(format!("subnets.pool {} overlaps with the host's routes altogether", config.subnets.pool)),
    }
}

/// What a stack needs of the kernel (stack-facts 3.5: realtime listens on an IPv6 socket) and who else is here.
fn system() -> Vec<Finding> {
    let mut findings = Vec::new();
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap_or_default();
    findings.push(match disabled.trim() {
        "0" => Good("IPv6 sockets are available, which realtime needs".to_owned()),
        _ => {
            Bad("IPv6 is switched off in the kernel and realtime listens on an IPv6 socket: set net.ipv6.conf.all.disable_ipv6=0"
                .to_owned())
        }
    });
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let people: Vec<&str> = (passwd.lines())
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid: u32 = fields.get(2)?.parse().ok()?;
            let shell = fields.get(6)?;
            ((1000..60_000).contains(&uid) && !shell.ends_with("nologin") && !shell.ends_with("false")).then_some(fields[0])
        })
        .collect();
    if !people.is_empty() {
        findings.push(Advice(format!("local accounts reach unpublished container ports and are trusted: {}", people.join(", "))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::to_reserve;

    #[test]
    fn what_is_reserved_stays_reserved() {
        let ours = || [54000..=54999, 55000..=55999].into_iter();
        assert_eq!(to_reserve("", ours()).as_deref(), Some("54000-54999,55000-55999"));
        assert_eq!(to_reserve("8080,54000-55500", ours()).as_deref(), Some("8080,54000-55500,55000-55999"));
        assert_eq!(to_reserve("8080,54000-55999", ours()), None, "the kernel joins what touches");
    }
}

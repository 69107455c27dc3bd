//! The engine: whether it answers, what it speaks, which images it has, how many files it may open.

use std::path::Path;

use super::{Finding, advice, bad, good};
use crate::backend::docker::{DockerBackend, EngineHost};
use crate::backend::{Backend, EngineInfo};
use crate::config::Config;
use crate::domain::ImageSet;
use crate::templates::Templates;

/// The oldest API version that the tests have run against (Docker 20.10).
const TESTED_SINCE: (u32, u32) = (1, 41);

/// What the rest of the report needs of it.
pub struct Engine {
    /// What every backend says.
    pub info: EngineInfo,
    /// What only this one says.
    pub host: EngineHost,
    /// On this machine.
    pub local: bool,
}

/// Asks it; `None` when it does not answer.
pub async fn look(
    docker: &DockerBackend,
    config: &Config,
    templates: Option<&Templates>,
    findings: &mut Vec<Finding>,
) -> Option<Engine> {
    let (info, host) = match tokio::try_join!(docker.info(), docker.host()) {
        Ok(both) => both,
        Err(error) => {
            findings.push(bad(format!("engine: {error}; start it or set DOCKER_HOST")));
            return None;
        }
    };
    let mib = info.memory_bytes / (1024 * 1024);
    let text = format!(
        "engine {} on {} speaks API {} of {} to {}, {} cores, {mib} MiB",
        info.version, host.operating_system, info.api_version, host.api_version_min, info.api_version_max, info.cpus
    );
    findings.push(match number(&info.api_version_max) {
        Some(newest) if newest < TESTED_SINCE => {
            advice(format!("{text}; nothing older than API {}.{} has been tested", TESTED_SINCE.0, TESTED_SINCE.1))
        }
        _ => good(text),
    });
    let engine = Engine { info, host, local: docker.is_local() };
    if let Some(templates) = templates
        && let Ok(images) = templates.images(&config.image_set)
    {
        let set = templates.set(&config.template_set).ok();
        // An image set may have images for services that the chosen template set goes without.
        let used = |key: &str| set.as_ref().is_none_or(|set| set.spec.services.iter().any(|service| service.image == key));
        findings.push(images_there(docker, &images, used).await);
        findings.extend(open_files(&images, engine.local));
    }
    Some(engine)
}

async fn images_there(docker: &DockerBackend, images: &ImageSet, used: impl Fn(&str) -> bool) -> Finding {
    let (mut there, mut missing) = (0, Vec::new());
    for (service, reference) in images.images.iter().filter(|(key, _)| used(key)) {
        if !matches!(docker.image_digest(reference).await, Ok(Some(_))) {
            missing.push(format!("{service} ({reference})"));
        } else {
            there += 1;
        }
    }
    match missing.is_empty() {
        true => good(format!("image set {}: all {there} images are on the engine", images.name)),
        false => advice(format!("image set {}: the first create pulls {}", images.name, missing.join(", "))),
    }
}

/// A container whose limit is above the engine's own hard limit does not start (decision 15).
fn open_files(images: &ImageSet, local: bool) -> Option<Finding> {
    let (service, wanted) = images.nofile.iter().max_by_key(|(_, limit)| **limit)?;
    let Some(hard) = local.then(hard_limit).flatten() else {
        let text = "cannot be seen from here, so a container with more than that would be the first to say";
        return Some(advice(format!("open files: {service} wants {wanted}; the engine's limit {text}")));
    };
    let text = format!("open files: {service} wants {wanted}, the engine's hard limit is {hard}");
    Some(if *wanted <= hard { good(text) } else { bad(format!("{text}: raise LimitNOFILE of the engine's service")) })
}

/// The smallest hard limit among the processes that an engine is made of, as the kernel shows it.
fn hard_limit() -> Option<u64> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let limits = processes.filter_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let engine = ["dockerd", "containerd", "podman"].contains(&name.trim());
        engine.then(|| limit_of(&entry.path())).flatten()
    });
    limits.min()
}

fn limit_of(process: &Path) -> Option<u64> {
    parse_limit(&std::fs::read_to_string(process.join("limits")).ok()?)
}

fn parse_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_of_limits_is_read() {
        let text =
            |hard: &str| format!("Limit   Soft Limit  Hard Limit  Units\nMax open files            1024     {hard}     files\n");
        assert_eq!(parse_limit(&text("20000")), Some(20_000));
        assert_eq!(parse_limit(&text("unlimited")), Some(u64::MAX));
        assert_eq!(parse_limit("Max processes 1 1 processes"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(number("1.9") < number("1.41") && number("1.52") > Some(TESTED_SINCE));
        assert_eq!(number("x"), None);
    }
}

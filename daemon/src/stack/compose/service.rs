//! One entry of `services`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::fields::{At, Fields};
use super::{ComposeError, name, references};
use crate::domain::ServiceName;
use crate::stack::{BindMode, HealthCheck, Logging, Mount, MountSource, PublishedPort, Service, Ulimit};

pub(super) fn read(at: At) -> Result<Service, ComposeError> {
    let mut fields = at.fields()?;
    // Each service restarts unless a person or a pause stopped it (stack-facts 3): it is not a choice.
    fields.need("restart")?.exactly("unless-stopped")?;
    let (aliases, ipv4_address) = network(&mut fields)?;
    let service = Service {
        image: fields.need("image")?.text()?,
        container_name: fields.need("container_name")?.text()?,
        hostname: text(&mut fields, "hostname")?,
        entrypoint: fields.maybe("entrypoint").map(At::texts).transpose()?,
        command: fields.maybe("command").map(At::texts).transpose()?,
        environment: fields.maybe("environment").map(environment).transpose()?.unwrap_or_default(),
        ports: list(&mut fields, "ports", port)?,
        mounts: list(&mut fields, "volumes", mount)?,
        aliases,
        ipv4_address,
        depends_on: fields.maybe("depends_on").map(depends_on).transpose()?.unwrap_or_default(),
        healthcheck: fields.maybe("healthcheck").map(healthcheck).transpose()?,
        labels: fields.maybe("labels").map(At::text_map).transpose()?.unwrap_or_default(),
        logging: logging(fields.need("logging")?)?,
        ulimits: fields.maybe("ulimits").map(ulimits).transpose()?.unwrap_or_default(),
        user: text(&mut fields, "user")?,
        stop_signal: text(&mut fields, "stop_signal")?,
        stop_grace_s: fields.maybe("stop_grace_period").map(stop_grace).transpose()?,
        pids_limit: fields.maybe("pids_limit").map(|at| at.number()).transpose()?,
        init: fields.maybe("init").map(|at| at.boolean()).transpose()?.unwrap_or(false),
    };
    fields.finish()?;
    Ok(service)
}

fn text(fields: &mut Fields, key: &str) -> Result<Option<String>, ComposeError> {
    fields.maybe(key).map(|at| at.text()).transpose()
}

fn list<T>(fields: &mut Fields, key: &str, read: fn(At) -> Result<T, ComposeError>) -> Result<Vec<T>, ComposeError> {
    match fields.maybe(key) {
        None => Ok(Vec::new()),
        Some(at) => at.items()?.into_iter().map(read).collect(),
    }
}

fn network(fields: &mut Fields) -> Result<(Vec<String>, Option<Ipv4Addr>), ComposeError> {
    let Some(at) = fields.maybe("networks") else { return Ok((Vec::new(), None)) };
    let mut networks = at.fields()?;
    let default = networks.need("default")?;
    networks.finish()?;
    if default.is_nothing() {
        return Ok((Vec::new(), None));
    }
    let mut fields = default.fields()?;
    let aliases = fields.maybe("aliases").map(At::texts).transpose()?.unwrap_or_default();
    let address = match fields.maybe("ipv4_address") {
        None => None,
        Some(at) => Some(at.text()?.parse().map_err(|_| at.error("is not an IPv4 address"))?),
    };
    fields.finish()?;
    Ok((aliases, address))
}

fn environment(at: At) -> Result<BTreeMap<String, String>, ComposeError> {
    let mut out = BTreeMap::new();
    for (key, at) in at.entries()? {
        if key.contains('=') {
            return Err(at.error("has a `=` in its name: write `NAME: value`"));
        }
        let value = at.environment_value()?;
        references(&value).map_err(|error| at.error(error.to_string()))?;
        out.insert(key, value);
    }
    Ok(out)
}

/// `127.0.0.1:54000:8000`: the address is not optional, since Compose's default is every address.
fn port(at: At) -> Result<PublishedPort, ComposeError> {
    let text = at.text()?;
    let parts = text.rsplit_once(':').and_then(|(rest, inside)| Some((rest.rsplit_once(':')?, inside)));
    let read = parts.and_then(|((address, host), inside)| {
        let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        Some(PublishedPort {
            host_address: address.parse::<IpAddr>().ok()?,
            host_port: number(host)?,
            container_port: number(inside)?,
        })
    });
    read.ok_or_else(|| at.error(format!("is {text:?}: write address:host-port:container-port, for example 127.0.0.1:54000:8000")))
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|port| *port > 0) } else { None }
}

/// `./volumes/db:/path`, `name:/path`, each with an optional `:ro`.
fn mount(at: At) -> Result<Mount, ComposeError> {
    let text = at.text()?;
    let mut parts = text.split(':');
    let read = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(target), mode, None) if !source.is_empty() && !target.is_empty() => match mode {
            None | Some("rw") => Some((source, target, BindMode::ReadWrite)),
            Some("ro") => Some((source, target, BindMode::ReadOnly)),
            Some(_) => None,
        },
        _ => None,
    };
    let Some((source, target, mode)) = read else {
        return Err(at.error(format!("is {text:?}: write source:target or source:target:ro")));
    };
    // Compose's own rule: what begins like a path is a path, all else is the key of a named volume.
    let source = if source.starts_with(['.', '/', '~']) {
        MountSource::Folder(source.strip_prefix("./").unwrap_or(source).to_owned())
    } else {
        MountSource::Volume(source.to_owned())
    };
    Ok(Mount { source, target: target.to_owned(), mode })
}

fn depends_on(at: At) -> Result<Vec<(ServiceName, String)>, ComposeError> {
    let mut out = Vec::new();
    for (key, at) in at.entries()? {
        let service = name(&key, &at)?;
        let mut fields = at.fields()?;
        let condition = fields.need("condition")?;
        let word = condition.text()?;
        if !matches!(word.as_str(), "service_started" | "service_healthy") {
            return Err(condition.error(format!("is {word:?}: use service_started or service_healthy")));
        }
        fields.finish()?;
        out.push((service, word));
    }
    Ok(out)
}

fn healthcheck(at: At) -> Result<HealthCheck, ComposeError> {
    let mut fields = at.fields()?;
    let test = fields.need("test")?.texts()?;
    // What is left out is Docker's own default.
    let mut duration = |key, default| fields.maybe(key).map_or(Ok(default), |at| at.duration_ms());
    let (interval_ms, timeout_ms, start_period_ms) =
        (duration("interval", 30_000)?, duration("timeout", 30_000)?, duration("start_period", 0)?);
    let retries = match fields.maybe("retries") {
        None => 3,
        Some(at) => u32::try_from(at.number()?).map_err(|_| at.error("must be 0 or more"))?,
    };
    fields.finish()?;
    Ok(HealthCheck { test, interval_ms, timeout_ms, retries, start_period_ms })
}

fn logging(at: At) -> Result<Logging, ComposeError> {
    let mut fields = at.fields()?;
    let driver = fields.need("driver")?.text()?;
    let options = fields.maybe("options").map(At::text_map).transpose()?.unwrap_or_default();
    fields.finish()?;
    Ok(Logging { driver, options })
}

fn ulimits(at: At) -> Result<Vec<Ulimit>, ComposeError> {
    let mut all = at.fields()?;
    let mut out = Vec::new();
    if let Some(at) = all.maybe("nofile") {
        let mut fields = at.fields()?;
        out.push(Ulimit {
            name: "nofile".to_owned(),
            soft: fields.need("soft")?.number()?,
            hard: fields.need("hard")?.number()?,
        });
        fields.finish()?;
    }
    all.finish()?;
    Ok(out)
}

/// The engine counts whole seconds: half a second of grace becomes one.
fn stop_grace(at: At) -> Result<u32, ComposeError> {
    u32::try_from(at.duration_ms()?.div_ceil(1_000)).map_err(|_| at.error("is too long"))
}

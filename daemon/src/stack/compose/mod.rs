//! `docker-compose.yml` -> [`Stack`], strictly: a key nobody knows is an error that names it.
//!
//! Docker Compose understands far more than a stack needs, and each of its keys is a way to ask the engine for
//! something. So this reader knows the keys below and no others; what their values may be is the fence's part.

mod fields;
mod reference;
mod service;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;

use self::fields::At;
use super::{Network, Stack, Volume};
use crate::domain::ServiceName;

pub use reference::{ReferenceError, references, resolve};

/// Most services of one stack: a /27 has 29 addresses for them, so this is only a stop for nonsense.
const MAX_SERVICES: usize = 64;

/// Why a rendered file is not a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ComposeError {
    /// Where, for example `services.db.privileged`; empty for the file as a whole.
    pub path: String,
    /// The line, 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, with the way out; continues the path.
    pub message: String,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("docker-compose.yml")?;
        if self.line > 0 {
            write!(f, " line {}", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, ": `{}`", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Reads the file.
///
/// # Errors
/// [`ComposeError`], which names the place and the way out.
pub fn parse(text: &str) -> Result<Stack, ComposeError> {
    let mut top = At::root(yaml::read(text)?).fields()?;
    let stack = Stack {
        name: top.need("name")?.text()?,
        services: services(top.need("services")?)?,
        network: network(top.need("networks")?)?,
        volumes: match top.maybe("volumes") {
            None => BTreeMap::new(),
            Some(at) => at.entries()?.into_iter().map(|(key, at)| Ok((key, volume(at)?))).collect::<Result<_, ComposeError>>()?,
        },
    };
    top.finish()?;
    Ok(stack)
}

fn services(at: At) -> Result<BTreeMap<ServiceName, super::Service>, ComposeError> {
    let entries = at.clone().entries()?;
    if entries.is_empty() || entries.len() > MAX_SERVICES {
        return Err(at.error(format!("has {} entries: 1 to {MAX_SERVICES} are allowed", entries.len())));
    }
    entries.into_iter().map(|(key, at)| Ok((name(&key, &at)?, service::read(at)?))).collect()
}

fn name(key: &str, at: &At) -> Result<ServiceName, ComposeError> {
    ServiceName::parse(key).map_err(|reason| at.error(reason))
}

fn network(at: At) -> Result<Network, ComposeError> {
    let mut networks = at.fields()?;
    let mut fields = networks.need("default")?.fields()?;
    networks.finish()?;
    if let Some(driver) = fields.maybe("driver") {
        driver.exactly("bridge")?;
    }
    let name = fields.need("name")?.text()?;
    let labels = fields.maybe("labels").map(At::text_map).transpose()?.unwrap_or_default();
    let mut ipam = fields.need("ipam")?.fields()?;
    fields.finish()?;
    if let Some(driver) = ipam.maybe("driver") {
        driver.exactly("default")?;
    }
    let config = ipam.need("config")?;
    ipam.finish()?;
    let mut configs = config.clone().items()?.into_iter();
    let (Some(only), None) = (configs.next(), configs.next()) else {
        return Err(config.error("must have exactly one item: a project has one subnet"));
    };
    let mut fields = only.fields()?;
    let network = Network {
        name,
        subnet: fields.need("subnet")?.text()?,
        gateway: fields.maybe("gateway").map(|at| at.text()).transpose()?,
        ip_range: fields.maybe("ip_range").map(|at| at.text()).transpose()?,
        labels,
    };
    fields.finish()?;
    Ok(network)
}

fn volume(at: At) -> Result<Volume, ComposeError> {
    let mut fields = at.fields()?;
    fields.need("driver")?.exactly("local")?;
    let mut options = fields.need("driver_opts")?.fields()?;
    options.need("type")?.exactly("none")?;
    options.need("o")?.exactly("bind")?;
    let volume = Volume {
        name: fields.need("name")?.text()?,
        folder: options.need("device")?.text()?,
        labels: fields.maybe("labels").map(At::text_map).transpose()?.unwrap_or_default(),
    };
    options.finish()?;
    fields.finish()?;
    Ok(volume)
}

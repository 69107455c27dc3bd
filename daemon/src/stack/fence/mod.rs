//! What a rendered stack may ask of the engine: an allow-list (decision 33).
//!
//! A render plugin owns the inside of its project; the fence protects the host and the neighbours from it. Whatever
//! reaches the engine is either checked by a rule below or set by the host without asking (privileges, capabilities,
//! namespaces, devices, restart policy, network mode: the reader in [`super::compose`] knows no key for them).
//! One rule is one function and one word; `daemon/tests/fence.rs` has a test for each.

mod content;
mod limits;
mod mounts;
mod names;
mod network;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::PathBuf;

use super::{Service, Stack};
use crate::domain::{ProjectRef, ServiceName};

/// What one project's stack may ask for.
#[derive(Debug, Clone)]
pub struct FenceRules {
    /// Whose stack it is.
    pub project: ProjectRef,
    /// The services of the template set.
    pub services: Vec<ServiceName>,
    /// The project's folder, absolute.
    pub folder: PathBuf,
    /// The rendered files, relative to the folder.
    pub files: Vec<String>,
    /// The reserved subnet, gateway and range of dynamic addresses.
    pub subnet: String,
    /// First address of the subnet that belongs to the engine.
    pub gateway: String,
    /// Where dynamic addresses come from.
    pub ip_range: String,
    /// The fixed addresses that the template set reserved.
    pub fixed_addresses: Vec<(ServiceName, Ipv4Addr)>,
    /// The address ports may be published on.
    pub publish_address: IpAddr,
    /// The reserved ports: service, port inside, port on the host.
    pub ports: Vec<(ServiceName, u16, u16)>,
    /// The image of each service in the chosen image set.
    pub images: Vec<(ServiceName, String)>,
    /// Repositories allowed beside the set's, for example `registry.example.org/team/`.
    pub image_prefixes: Vec<String>,
    /// Secrets that `environment` may refer to.
    pub secrets: Vec<String>,
}

/// One thing a stack may not ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A stable word, for example `bind_outside_folder`.
    pub rule: &'static str,
    /// Where, for example `services.db.volumes[0]`.
    pub path: String,
    /// A sentence with the way out.
    pub message: String,
}

/// A stack that has passed the fence. It can be made nowhere else, and only it reaches a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct FencedStack(Stack);

impl Deref for FencedStack {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.0
    }
}

/// Most violations told: they are joined into one message and stored, and a value can refer to 8 000 unknown names.
const TOLD_MAX: usize = 100;

/// Where violations are gathered: a person mends all of them at once.
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, rule: &'static str, path: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < TOLD_MAX {
            self.0.push(Violation { rule, path: path.into(), message: message.into() });
        }
    }
}

/// Whose service is looked at, for the rules that need it.
struct Subject<'a> {
    name: &'a ServiceName,
    service: &'a Service,
    rules: &'a FenceRules,
}

impl Subject<'_> {
    fn path(&self, rest: &str) -> String {
        format!("services.{}.{rest}", self.name)
    }
}

/// Every rule about one service.
const SERVICE_RULES: &[fn(&Subject<'_>, &mut Findings)] = &[
    names::unknown_service,
    names::container_name,
    names::hostname,
    names::alias,
    names::label,
    content::image_not_allowed,
    content::variable_name,
    content::undeclared_secret,
    content::user,
    content::stop_signal,
    content::healthcheck,
    network::port_address,
    network::port_not_reserved,
    network::fixed_address,
    network::log_driver,
    mounts::bind_outside_folder,
    mounts::writable_file,
    mounts::mount_target,
    limits::pids_limit,
    limits::open_files,
    limits::stop_grace,
    limits::arguments,
];

/// Every rule about the stack as a whole.
const STACK_RULES: &[fn(&Stack, &FenceRules, &mut Findings)] = &[
    names::project_name,
    names::dependency,
    names::network_name,
    names::network_label,
    names::volume_name,
    names::volume_label,
    network::subnet,
    network::duplicate,
    mounts::unknown_volume,
    mounts::volume_device,
];

/// Checks every rule.
///
/// # Errors
/// All violations, in the order of the stack's services and then the stack as a whole.
pub fn check(mut stack: Stack, rules: &FenceRules) -> Result<FencedStack, Vec<Violation>> {
    let mut findings = Findings(Vec::new());
    for (name, service) in &stack.services {
        let subject = Subject { name, service, rules };
        for rule in SERVICE_RULES {
            rule(&subject, &mut findings);
        }
    }
    for rule in STACK_RULES {
        rule(&stack, rules, &mut findings);
    }
    if !findings.0.is_empty() {
        return Err(findings.0);
    }
    for volume in stack.volumes.values_mut() {
        if let Some(folder) = mounts::device_in_folder(&volume.folder, rules) {
            volume.folder = folder;
        }
    }
    Ok(FencedStack(stack))
}

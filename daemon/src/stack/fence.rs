//! What a rendered stack may ask of the engine: an allow-list (decision 33).

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::PathBuf;

use super::Stack;
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

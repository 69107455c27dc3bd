//! A template set and an image set, as declared in `templates/` (decision 10): which services a stack has,
//! in which order they start, which ports, secrets and probes they need. The daemon knows the *kinds*
//! below and not one service by name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ServiceName;

/// `set.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSet {
    /// The name of the set, the same as its folder's.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// The PostgreSQL major version whose data folder the stack makes.
    #[serde(default)]
    pub postgres_major: Option<u32>,
    /// The service whose image (with a shell) empties folders that containers own, for a daemon that is not root.
    #[serde(default)]
    pub helper: Option<ServiceName>,
    /// What the renderer produces.
    #[serde(rename = "file")]
    pub files: Vec<FileSpec>,
    /// The published ports.
    #[serde(rename = "port", default)]
    pub ports: Vec<PortSpec>,
    /// The generated secrets.
    #[serde(rename = "secret", default)]
    pub secrets: Vec<SecretSpec>,
    /// The services.
    #[serde(rename = "service")]
    pub services: Vec<ServiceSpec>,
    /// Statements the post-create hook runs.
    #[serde(rename = "sql", default)]
    pub sql: Vec<SqlSpec>,
}

/// One rendered file.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Its template, relative to the set's folder.
    pub template: String,
    /// Where it goes, relative to the project's folder.
    pub path: String,
    /// Its mode in octal, for example `0644`.
    pub mode: String,
}

/// One published port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// Its name in templates: `ports.<name>`.
    pub name: String,
    /// The service that listens.
    pub service: ServiceName,
    /// The port inside the container.
    pub container: u16,
    /// The configured range it is taken from, for example `api`.
    pub range: String,
}

/// How a secret comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// Random bytes from the operating system.
    Random,
    /// A HS256 token signed with another secret.
    Jwt,
    /// What the user gave, or random; set over a login after health, never written to a file.
    OwnerPassword,
}

/// The alphabet of a random secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `[A-Za-z0-9_-]`, no padding: four characters for three bytes.
    Base64url,
    /// `[0-9a-f]`: two characters a byte.
    Hex,
}

/// One secret of a project.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// Its name; templates refer to it as `${NAME}`.
    pub name: String,
    /// How it comes about.
    pub kind: SecretKind,
    /// Random bytes in it (random and owner-password).
    #[serde(default)]
    pub bytes: usize,
    /// How they are written.
    #[serde(default = "base64url")]
    pub encoding: Encoding,
    /// The database role whose password this is.
    #[serde(default)]
    pub role: Option<String>,
    /// The secret that signs (jwt).
    #[serde(default)]
    pub signed_with: Option<String>,
    /// Extra claims beside `iat` and `exp` (jwt).
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// Days until `exp` (jwt).
    #[serde(default)]
    pub ttl_days: u32,
    /// The name under `api_keys` in REST answers (jwt).
    #[serde(default)]
    pub api_key: Option<String>,
    /// The role the host logs in as to set it (owner-password).
    #[serde(default)]
    pub admin_role: Option<String>,
    /// The service it is set in (owner-password).
    #[serde(default)]
    pub service: Option<ServiceName>,
}

fn base64url() -> Encoding {
    Encoding::Base64url
}

/// How far a dependency must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Its container runs.
    Started,
    /// Its probe succeeds.
    Healthy,
}

/// One arrow of the start order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The service waited for.
    pub service: ServiceName,
    /// How far it must be.
    pub until: Until,
}

/// One service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// Its key in the image set.
    pub image: String,
    /// What must come before it.
    #[serde(default)]
    pub after: Vec<Dependency>,
    /// Seconds it gets to stop.
    #[serde(default = "ten_seconds")]
    pub stop_grace_s: u32,
    /// Host number of a fixed address inside the project's /27.
    #[serde(default)]
    pub fixed_address: Option<u8>,
    /// The probe, handed to the probe hook as it stands.
    pub probe: toml_like::Table,
}

fn ten_seconds() -> u32 {
    10
}

/// One statement of the post-create hook.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqlSpec {
    /// The service that is the database.
    pub service: ServiceName,
    /// The role it runs as; never a superuser.
    pub role: String,
    /// The statement.
    pub statement: String,
}

/// A table of plain values that the daemon passes on without looking inside.
pub mod toml_like {
    /// JSON is the wire form for hooks; TOML's tables, strings, numbers and booleans map onto it.
    pub type Table = serde_json::Map<String, serde_json::Value>;
}

/// An image set: service image key -> reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSet {
    /// The name of the set, the same as its file's.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Image key -> reference, for example `db` -> `supabase/postgres:15.1.0.147`.
    pub images: BTreeMap<String, String>,
    /// Image key -> open-file limit (decision 15).
    #[serde(default)]
    pub nofile: BTreeMap<String, u64>,
}

/// What is wrong with a set; the sentence names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template set `{set}`: {problem}")]
pub struct TemplateSetError {
    /// The set.
    pub set: String,
    /// The sentence.
    pub problem: String,
}

impl TemplateSet {
    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceSpec> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The password of this database role, if the set declares one.
    pub fn role_secret(&self, role: &str) -> Option<&SecretSpec> {
        self.secrets.iter().find(|secret| secret.role.as_deref() == Some(role))
    }

    /// Services grouped so that every group depends on earlier groups only: the start order.
    ///
    /// # Errors
    /// [`TemplateSetError`] when a dependency is unknown or the order has a circle.
    pub fn waves(&self) -> Result<Vec<Vec<ServiceName>>, TemplateSetError> {
        let mut placed = BTreeSet::new();
        let mut waves = Vec::new();
        while placed.len() < self.services.len() {
            let wave: Vec<ServiceName> = (self.services.iter())
                .filter(|service| !placed.contains(&service.name))
                .filter(|service| service.after.iter().all(|dependency| placed.contains(&dependency.service)))
                .map(|service| service.name.clone())
                .collect();
            if wave.is_empty() {
                let stuck = self.services.iter().filter(|service| !placed.contains(&service.name));
                let names: Vec<&str> = stuck.map(|service| service.name.as_str()).collect();
                return Err(self.error(format!("`after` of {} is a circle or names an unknown service", names.join(", "))));
            }
            placed.extend(wave.iter().cloned());
            waves.push(wave);
        }
        Ok(waves)
    }

    /// Whether the parts refer to each other correctly.
    ///
    /// # Errors
    /// [`TemplateSetError`] naming the first thing that does not fit.
    pub fn validate(&self) -> Result<(), TemplateSetError> {
        self.waves()?;
        let unique = |what: &str, names: Vec<&str>| {
            let mut seen = BTreeSet::new();
            match names.iter().find(|name| !seen.insert(**name)) {
                Some(name) => Err(self.error(format!("{what} `{name}` is declared twice"))),
                None => Ok(()),
            }
        };
        unique("service", self.services.iter().map(|s| s.name.as_str()).collect())?;
        unique("secret", self.secrets.iter().map(|s| s.name.as_str()).collect())?;
        unique("port", self.ports.iter().map(|p| p.name.as_str()).collect())?;
        unique("file", self.files.iter().map(|f| f.path.as_str()).collect())?;
        unique("role", self.secrets.iter().filter_map(|s| s.role.as_deref()).collect())?;
        for port in &self.ports {
            if self.service(&port.service).is_none() {
                return Err(self.error(format!("port `{}` names the unknown service `{}`", port.name, port.service)));
            }
        }
        for file in &self.files {
            if u32::from_str_radix(&file.mode, 8).is_err() {
                return Err(self.error(format!("file `{}` has the mode `{}`: write it in octal", file.path, file.mode)));
            }
        }
        self.secrets.iter().try_for_each(|secret| self.validate_secret(secret))
    }

    fn validate_secret(&self, secret: &SecretSpec) -> Result<(), TemplateSetError> {
        let known = |name: &str| self.secrets.iter().any(|other| other.name == name && other.kind == SecretKind::Random);
        let problem = match secret.kind {
            SecretKind::Jwt if !secret.signed_with.as_deref().is_some_and(known) => "signed_with must name a random secret",
            SecretKind::Jwt if secret.ttl_days == 0 => "ttl_days is missing",
            SecretKind::Random | SecretKind::OwnerPassword if !(8..=256).contains(&secret.bytes) => {
                "bytes must lie between 8 and 256"
            }
            SecretKind::OwnerPassword if secret.admin_role.is_none() || secret.service.is_none() || secret.role.is_none() => {
                "role, admin_role and service are needed"
            }
            _ => return Ok(()),
        };
        Err(self.error(format!("secret `{}`: {problem}", secret.name)))
    }

    fn error(&self, problem: String) -> TemplateSetError {
        TemplateSetError { set: self.name.clone(), problem }
    }
}

//! A template set and an image set, as declared in `templates/` (decision 10): which services a stack has,
//! in which order they start, which ports, secrets and probes they need. The daemon knows the *kinds*
//! below and not one service by name.

mod checks;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Bytes, Cpu, Limits, Resources, ServiceName, Share, split};

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
    /// What one project is reckoned with where none has been measured yet.
    #[serde(default)]
    pub planning: Option<Planning>,
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
    /// Addresses that answers name beside the project's own.
    #[serde(rename = "endpoint", default)]
    pub endpoints: Vec<EndpointSpec>,
    /// What is done when a project's storage is full.
    #[serde(default)]
    pub budget: Option<BudgetSpec>,
    /// Tables that only grow.
    #[serde(rename = "purge", default)]
    pub purges: Vec<PurgeSpec>,
}

/// What one project needs of a host, roughly: for `doctor`, which says how many more fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planning {
    /// Memory of an idle stack, MiB.
    pub memory_mib: u64,
    /// Disk of a new stack without its images, MiB.
    pub disk_mib: u64,
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
    /// The service it is for: without that there is no such file.
    #[serde(default, skip_serializing)]
    pub service: Option<ServiceName>,
}

/// One more address of a project, for people: in REST answers under its name, its login among the credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Its name in answers, for example `studio_url`.
    pub name: String,
    /// The published port.
    pub port: String,
    /// The path, beginning with a slash.
    pub path: String,
    /// Who to log in as, when it asks.
    #[serde(default)]
    pub user: Option<String>,
    /// The secret that is the password.
    #[serde(default)]
    pub password: Option<String>,
}

/// `set.toml` of a set that is another one with services left out or added. What it adds uses the templates of the set it
/// is made from, which ask which services there are. A service of a known name takes that one's place.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendingSet {
    /// The name of the set, the same as its folder's.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// The set it is made from.
    pub extends: String,
    /// The services it goes without.
    #[serde(default)]
    pub without: Vec<ServiceName>,
    /// More published ports.
    #[serde(rename = "port", default)]
    pub ports: Vec<PortSpec>,
    /// More secrets.
    #[serde(rename = "secret", default)]
    pub secrets: Vec<SecretSpec>,
    /// More services, or others in the place of those of the same name.
    #[serde(rename = "service", default)]
    pub services: Vec<ServiceSpec>,
    /// More addresses.
    #[serde(rename = "endpoint", default)]
    pub endpoints: Vec<EndpointSpec>,
    /// What one project of this set is reckoned with; without it, as in the set it is made from.
    #[serde(default)]
    pub planning: Option<Planning>,
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
    /// Its part of what the project may use.
    #[serde(default)]
    pub share: Share,
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

/// What is done when a project's storage is full, and when there is room again. Each list is run in order, and again
/// whenever the daemon does not know that it was: it has to be harmless then.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// The service that is the database.
    pub service: ServiceName,
    /// The role that may do it; a superuser as a rule.
    pub role: String,
    /// One query for one whole number: the bytes that the database's own files take. Asked by a daemon that may not read
    /// them.
    #[serde(default)]
    pub measure: Option<String>,
    /// Nothing more is written.
    pub freeze: Vec<String>,
    /// Writing goes on.
    pub release: Vec<String>,
}

/// A table that only grows, and the statement that makes it smaller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeSpec {
    /// Its name, unique in the set.
    pub name: String,
    /// The service that fills it: without that there is nothing to do.
    #[serde(default)]
    pub of: Option<ServiceName>,
    /// The service that is the database.
    pub service: ServiceName,
    /// The role that may do it.
    pub role: String,
    /// Seconds from one run to the next.
    pub every_s: u64,
    /// The statement; `:age_days` and `:max_bytes` in it are replaced by the configured numbers.
    pub statement: String,
}

impl PurgeSpec {
    /// The statement with its numbers.
    pub fn filled(&self, age_days: u32, max_bytes: u64) -> String {
        self.statement.replace(":age_days", &age_days.to_string()).replace(":max_bytes", &max_bytes.to_string())
    }
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
    /// The PostgreSQL major version of its database image, where it is known: an update that changes it is refused.
    #[serde(default)]
    pub postgres_major: Option<u32>,
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

/// Less was asked for than the services of a set need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {given}: the services of the template set `{set}` need {least} together at least")]
pub struct TooLittle {
    /// The field.
    pub field: &'static str,
    /// What was asked for.
    pub given: String,
    /// The least.
    pub least: String,
    /// The set.
    pub set: String,
}

impl TemplateSet {
    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceSpec> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The same set without these services: their ports and files go with them, and nobody waits for them.
    ///
    /// # Errors
    /// [`TemplateSetError`] when one is unknown, or something that stays is lost with it.
    pub fn without(&self, services: &[ServiceName]) -> Result<Self, TemplateSetError> {
        if let Some(unknown) = services.iter().find(|name| self.service(name).is_none()) {
            return Err(self.error(format!("it has no service `{unknown}` to go without")));
        }
        let mut set = self.clone();
        let stays = |name: &ServiceName| !services.contains(name);
        set.services.retain(|service| stays(&service.name));
        for service in &mut set.services {
            service.after.retain(|dependency| stays(&dependency.service));
        }
        set.ports.retain(|port| stays(&port.service));
        set.endpoints.retain(|endpoint| set.ports.iter().any(|port| port.name == endpoint.port));
        set.files.retain(|file| file.service.as_ref().is_none_or(stays));
        let held = set.secrets.iter().filter_map(|secret| secret.service.as_ref());
        set.purges.retain(|purge| purge.of.as_ref().is_none_or(stays));
        let held = held.chain(set.sql.iter().map(|sql| &sql.service)).chain(&set.helper);
        let held = held.chain(set.budget.iter().map(|budget| &budget.service));
        let held = held.chain(set.purges.iter().map(|purge| &purge.service));
        if let Some(lost) = held.into_iter().find(|name| !stays(name)) {
            return Err(self.error(format!("it cannot go without `{lost}`: a secret, a statement or the helper needs it")));
        }
        set.validate()?;
        Ok(set)
    }

    /// The set that another one makes of this one.
    ///
    /// # Errors
    /// [`TemplateSetError`] when something does not fit together any more.
    pub fn extended(&self, by: ExtendingSet) -> Result<Self, TemplateSetError> {
        let mut set = self.without(&by.without)?;
        for service in by.services {
            match set.services.iter_mut().find(|known| known.name == service.name) {
                Some(known) => *known = service,
                None => set.services.push(service),
            }
        }
        set.ports.extend(by.ports);
        set.secrets.extend(by.secrets);
        set.endpoints.extend(by.endpoints);
        set.planning = by.planning.or(set.planning);
        (set.name, set.description) = (by.name, by.description);
        set.validate()?;
        Ok(set)
    }

    /// What each service gets of a project's sum, where nothing can hold them together.
    ///
    /// # Errors
    /// [`TooLittle`] when the sum is less than all of them need at least.
    pub fn split(&self, resources: &Resources) -> Result<BTreeMap<ServiceName, Limits>, TooLittle> {
        let shares = |least: fn(&Share) -> u64| -> Vec<(u32, u64)> {
            self.services.iter().map(|service| (service.share.weight, least(&service.share))).collect()
        };
        let (cpu, memory) = (shares(|share| share.cpu_min.as_millis()), shares(|share| share.memory_min.get()));
        let least = |parts: &[(u32, u64)]| parts.iter().map(|(_, least)| least).sum();
        let too_little = |field, given: String, least: String| TooLittle { field, given, least, set: self.name.clone() };
        let cpu = resources.cpu.map(|given| {
            let short = || too_little("resources.cpu", given.to_string(), Cpu::millis(least(&cpu)).to_string());
            split(given.as_millis(), &cpu).ok_or_else(short)
        });
        let memory = resources.memory.map(|given| {
            let short = || too_little("resources.memory", given.to_string(), Bytes::new(least(&memory)).to_string());
            split(given.get(), &memory).ok_or_else(short)
        });
        let (cpu, memory) = (cpu.transpose()?, memory.transpose()?);
        let limits = |at: usize| Limits {
            cpu: cpu.as_ref().map(|parts| Cpu::millis(parts[at])),
            memory: memory.as_ref().map(|parts| Bytes::new(parts[at])),
        };
        Ok(self.services.iter().enumerate().map(|(at, service)| (service.name.clone(), limits(at))).collect())
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

    fn error(&self, problem: String) -> TemplateSetError {
        TemplateSetError { set: self.name.clone(), problem }
    }
}

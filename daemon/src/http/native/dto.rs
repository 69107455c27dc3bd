//! The shapes on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::domain::{
    EndpointSpec, LastError, NONE, Operation, PluginChoices, Project, ProjectStatus, QuantityError, Resources, SecretKind,
    TemplateSet,
};
use crate::lifecycle::Parts;
use crate::secrets::ProjectSecrets;
use crate::store::{Observation, UsageSample};

/// Bytes in a GiB.
const GIB: f64 = 1_073_741_824.0;

/// `POST /platform/projects`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBody {
    /// 1 to 256 characters, any Unicode but control characters.
    pub name: String,
    /// The region; may be left out while there is one.
    pub region: Option<String>,
    /// The organisation; may be left out while there is one.
    pub organization_id: Option<String>,
    /// The database password of the role `postgres`, any characters; made when left out.
    pub db_pass: Option<String>,
    /// The template set.
    pub template_set: Option<String>,
    /// The image set.
    pub image_set: Option<String>,
    /// Service of the template set -> on or off; all are on.
    #[serde(default)]
    pub services: BTreeMap<String, bool>,
    /// Plugin -> `false`, `true`, or the options it runs with; one that is left out does as its manifest says.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    pub plugins: PluginChoices,
    /// What it may use; what is left out is as configured.
    pub resources: Option<ResourcesBody>,
}

/// What a project may use. `none` is no limit.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesBody {
    /// Cores over all services: `1.0`, `500m`.
    pub cpu: Option<String>,
    /// Memory over all services: `2GB` (a power of 1000), `2GiB` (a power of 1024), `512MB`.
    pub memory: Option<String>,
    /// What the project's folder may hold: `10GB`.
    pub storage: Option<String>,
}

/// The answer to a create.
#[derive(Serialize, ToSchema)]
pub struct CreatedBody {
    /// The ref: twenty letters a-z.
    pub id: String,
    /// As given, trimmed.
    pub name: String,
    /// CREATING; where the project stands now when the Idempotency-Key was used before.
    pub status: &'static str,
    /// The URL that works as printed, once the project is active.
    pub endpoint: String,
    /// The connection string with the password masked.
    pub database_url: String,
    /// The API keys by name: `anon`, `service_role`.
    pub api_keys: BTreeMap<String, String>,
    /// More addresses, if the template set has any: `studio_url`.
    #[serde(flatten)]
    pub endpoints: BTreeMap<String, String>,
    /// The operation to watch.
    pub operation_id: Option<String>,
}

/// One project.
#[derive(Serialize, ToSchema)]
pub struct ProjectBody {
    /// The ref.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub organization_id: String,
    /// Its region.
    pub region: String,
    /// Where it stands.
    pub status: &'static str,
    /// The URL that works as printed.
    pub endpoint: String,
    /// The connection string with the password masked.
    pub database_url: String,
    /// More addresses, if the template set has any: `studio_url`.
    #[serde(flatten)]
    pub endpoints: BTreeMap<String, String>,
    /// Service -> healthy, starting, unhealthy, unknown, or stopped while the project is paused.
    pub services: BTreeMap<String, String>,
    /// Service -> the last look at it.
    pub health_checks: BTreeMap<String, HealthCheckBody>,
    /// What it may use; `none` is no limit.
    pub resources: ResourcesBody,
    /// What it uses; null until it was sampled.
    pub resource_usage: Option<UsageBody>,
    /// Service -> container id, as of `observed_at`; null while the engine was never listed.
    pub containers: Option<BTreeMap<String, String>>,
    /// When the engine was last listed in full, RFC 3339; null before the first time.
    pub observed_at: Option<String>,
    /// The template set.
    pub template_set: String,
    /// The image set.
    pub image_set: String,
    /// Plugin -> `false`, `true`, or the options it runs with; one that is not named does as its manifest says.
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    pub plugins: PluginChoices,
    /// The last failure.
    pub error: Option<ProjectErrorBody>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// One look at a service.
#[derive(Serialize, ToSchema)]
pub struct HealthCheckBody {
    /// Whether it is healthy.
    pub healthy: bool,
    /// What was asked.
    pub endpoint: String,
    /// When; null while nobody has looked.
    pub last_check: Option<String>,
    /// How long the answer took.
    pub latency_ms: i64,
    /// Why it is not healthy.
    pub reason: String,
    /// The same as `reason` where it is known to be unhealthy, else null.
    pub error: Option<String>,
    /// Since when it has been in this state.
    pub since: Option<String>,
}

/// What a project uses.
#[derive(Serialize, ToSchema)]
pub struct UsageBody {
    /// Cores.
    pub cpu: f64,
    /// GiB.
    pub memory: f64,
    /// GiB.
    pub storage: f64,
    /// When it was sampled.
    pub observed_at: String,
}

/// The last failure.
#[derive(Serialize, ToSchema)]
pub struct ProjectErrorBody {
    /// The step.
    pub step: String,
    /// A stable word.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The last lines of the service behind it, redacted.
    pub log_tail: Vec<String>,
}

/// A page of projects.
#[derive(Serialize, ToSchema)]
pub struct ListBody {
    /// Ordered by ref.
    pub projects: Vec<SummaryBody>,
    /// Give it as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// One line of the list.
#[derive(Serialize, ToSchema)]
pub struct SummaryBody {
    /// The ref.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub organization_id: String,
    /// Its region.
    pub region: String,
    /// Where it stands.
    pub status: &'static str,
    /// The URL that works as printed.
    pub endpoint: String,
    /// RFC 3339.
    pub created_at: String,
}

/// Everything needed to connect, in clear.
#[derive(Serialize, ToSchema)]
pub struct CredentialsBody {
    /// The connection string with the password; null when the template set has no database.
    pub database_url: Option<String>,
    /// The password of the owner's role, `postgres` in the default set.
    pub db_password: Option<String>,
    /// What tokens are signed with.
    pub jwt_secret: Option<String>,
    /// The API keys by name.
    pub api_keys: BTreeMap<String, String>,
    /// The logins of the template set's further addresses, by their name.
    pub logins: BTreeMap<String, LoginBody>,
}

/// A login with a name and a password.
#[derive(Serialize, ToSchema)]
pub struct LoginBody {
    /// Where.
    pub url: String,
    /// Who.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// `DELETE /platform/projects/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteBody {
    /// The project's id or name.
    pub confirm: Option<String>,
}

/// `POST /platform/projects/{id}/restart`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartBody {
    /// The services to restart; all when it is empty or left out.
    #[serde(default)]
    pub services: Vec<String>,
}

/// `POST /platform/projects/{id}/apply`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyBody {
    /// The plugin, which has the hook `post-create` and runs for the project.
    pub plugin: String,
}

/// An accepted operation.
#[derive(Serialize, ToSchema)]
pub struct AcceptedBody {
    /// The project.
    pub id: String,
    /// Where it stands now.
    pub status: &'static str,
    /// The operation to watch.
    pub operation_id: String,
}

/// One operation.
#[derive(Serialize, ToSchema)]
pub struct OperationBody {
    /// The id.
    pub id: String,
    /// Whose.
    pub project_id: String,
    /// create, pause, resume, restart, repair or delete.
    pub kind: &'static str,
    /// accepted, running, unwinding, cleaning, succeeded or failed.
    pub state: &'static str,
    /// Services it is about; empty means all.
    pub services: Vec<String>,
    /// Who asked: the id of a token, or `reconciler`.
    pub requested_by: String,
    /// Why somebody cancelled it.
    pub cancelled: Option<String>,
    /// Plugin -> digest it uses.
    pub plugins: BTreeMap<String, String>,
    /// The steps in the order they were begun.
    pub steps: Vec<StepBody>,
    /// Why it failed.
    pub error: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// When it must have ended.
    pub deadline_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

/// One step.
#[derive(Serialize, ToSchema)]
pub struct StepBody {
    /// Its name.
    pub name: String,
    /// started, succeeded, failed or undone.
    pub state: &'static str,
    /// What it says about itself.
    pub detail: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

impl From<&Operation> for OperationBody {
    fn from(operation: &Operation) -> Self {
        let steps = operation.steps.iter().map(|step| StepBody {
            name: step.name.clone(),
            state: step.state.as_str(),
            detail: step.detail.clone(),
            started_at: rfc3339(step.started_at),
            ended_at: step.ended_at.map(rfc3339),
        });
        Self {
            id: operation.id.to_string(),
            project_id: operation.project.to_string(),
            kind: operation.kind.as_str(),
            state: operation.state.as_str(),
            services: operation.services.clone(),
            requested_by: operation.requested_by.clone(),
            cancelled: operation.cancelled.clone(),
            plugins: operation.plugins.iter().cloned().collect(),
            steps: steps.collect(),
            error: operation.error.clone(),
            created_at: rfc3339(operation.created_at),
            deadline_at: rfc3339(operation.deadline_at),
            ended_at: operation.ended_at.map(rfc3339),
        }
    }
}

impl From<&LastError> for ProjectErrorBody {
    fn from(error: &LastError) -> Self {
        let LastError { step, code, message, log_tail } = error.clone();
        Self { step, code, message, log_tail }
    }
}

/// To a thousandth of a GiB.
pub fn gib(bytes: i64) -> f64 {
    (bytes as f64 / GIB * 1000.0).round() / 1000.0
}

impl From<UsageSample> for UsageBody {
    fn from(sample: UsageSample) -> Self {
        Self {
            cpu: sample.cpu_millis as f64 / 1000.0,
            memory: gib(sample.memory_bytes),
            storage: gib(sample.storage_bytes),
            observed_at: rfc3339(sample.observed_at),
        }
    }
}

impl From<&Resources> for ResourcesBody {
    fn from(resources: &Resources) -> Self {
        let word = |amount: Option<String>| Some(amount.unwrap_or_else(|| NONE.to_owned()));
        Self {
            cpu: word(resources.cpu.map(|cpu| cpu.to_string())),
            memory: word(resources.memory.map(|memory| memory.to_string())),
            storage: word(resources.storage.map(|storage| storage.to_string())),
        }
    }
}

impl ResourcesBody {
    /// These laid over `before`.
    ///
    /// # Errors
    /// The field and what it should be.
    pub fn over(&self, before: Resources) -> Result<Resources, QuantityError> {
        before.overlaid(self.cpu.as_deref(), self.memory.as_deref(), self.storage.as_deref())
    }
}

impl HealthCheckBody {
    /// Of a service that was looked at, or not yet.
    pub fn of(seen: Option<&Observation>, status: ProjectStatus) -> Self {
        let Some(seen) = seen else {
            let reason = match status {
                ProjectStatus::Failed => "removed after the failure: see `error`",
                ProjectStatus::Paused => "the project is paused",
                _ => "nobody has looked yet",
            };
            let reason = reason.to_owned();
            return Self {
                healthy: false,
                endpoint: String::new(),
                last_check: None,
                latency_ms: 0,
                reason,
                error: None,
                since: None,
            };
        };
        let unhealthy = seen.state == crate::domain::ServiceState::Unhealthy;
        Self {
            healthy: seen.state == crate::domain::ServiceState::Healthy,
            endpoint: seen.endpoint.clone(),
            last_check: Some(rfc3339(seen.observed_at)),
            latency_ms: seen.latency_ms,
            reason: seen.reason.clone(),
            error: unhealthy.then(|| seen.reason.clone()),
            since: Some(rfc3339(seen.since)),
        }
    }
}

impl SummaryBody {
    /// One line.
    pub fn of(parts: &Parts, project: &Project) -> Self {
        Self {
            id: project.id.to_string(),
            name: project.name.clone(),
            organization_id: project.organization_id.clone(),
            region: project.region.clone(),
            status: project.status.as_str(),
            endpoint: parts.endpoint(project),
            created_at: rfc3339(project.created_at),
        }
    }
}

/// `postgres://role:password@host:port/postgres`, the password percent-encoded, or masked when there is none.
pub fn database_url(parts: &Parts, role: &str, port: u16, password: Option<&str>) -> String {
    let password = password.map_or("***".to_owned(), percent_encode);
    format!("postgres://{role}:{password}@{}:{port}/postgres", parts.published_host())
}

/// The unreserved characters of RFC 3986 stay, every other byte is written `%XX`.
fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The API keys that a set declares, and the secret that signs them.
pub fn api_keys(set: &TemplateSet, secrets: &ProjectSecrets) -> (BTreeMap<String, String>, Option<String>) {
    let tokens = || set.secrets.iter().filter(|spec| spec.kind == SecretKind::Jwt);
    let keys = tokens().filter_map(|spec| Some((spec.api_key.clone()?, secrets.get(&spec.name)?.expose().clone()))).collect();
    let signer = tokens().find_map(|spec| secrets.get(spec.signed_with.as_deref()?)).map(|secret| secret.expose().clone());
    (keys, signer)
}

/// The logins of the set's further addresses.
pub fn logins(parts: &Parts, set: &TemplateSet, project: &Project, secrets: &ProjectSecrets) -> BTreeMap<String, LoginBody> {
    let urls = parts.endpoints(project);
    let login = |spec: &EndpointSpec| {
        let password = spec.password.as_ref().and_then(|name| secrets.get(name)).map(|secret| secret.expose().clone());
        Some((spec.name.clone(), LoginBody { url: urls.get(&spec.name)?.clone(), user: spec.user.clone(), password }))
    };
    set.endpoints.iter().filter_map(login).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_survive_a_connection_string() {
        assert_eq!(percent_encode("a@b:/#%é'"), "a%40b%3A%2F%23%25%C3%A9%27");
    }
}

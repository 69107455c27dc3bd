//! The plugins: what runs, what each may use, what it has cost, and what went wrong last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::domain::Caller;
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::plugin_host::{Change, HookInfo, PluginInfo, RollbackError};
use crate::telemetry::{CallError, HookUsage};

/// All plugins.
#[derive(Serialize, ToSchema)]
pub struct PluginsBody {
    /// Ordered by name.
    pub plugins: Vec<PluginBody>,
}

/// One plugin.
#[derive(Serialize, ToSchema)]
pub struct PluginBody {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// One sentence.
    pub summary: String,
    /// The contract it was built against.
    pub contract: String,
    /// Bytes of the component.
    pub size_bytes: usize,
    /// What it may ask of the host.
    pub imports: Vec<&'static str>,
    /// `shipped`, `signed by KEY` or `unsigned`.
    pub provenance: String,
    /// In what it reaches beyond its own call: as granted, or as it is shipped.
    pub granted: Vec<String>,
    /// Whether it runs only for projects that chose it.
    pub opt_in: bool,
    /// The JSON Schema of its options; null when it takes none.
    #[schema(value_type = Option<Object>)]
    pub settings: Option<serde_json::Value>,
    /// Its hooks.
    pub hooks: Vec<HookBody>,
}

/// One hook of a plugin.
#[derive(Serialize, ToSchema)]
pub struct HookBody {
    /// `render`, `probe`, `post-create`, `admit`, `before-delete`, `after-resume` or `notify`.
    pub hook: &'static str,
    /// Plugins of one hook run in this order, then by name.
    pub order: i32,
    /// `fail` or `ignore`.
    pub on_failure: &'static str,
    /// What a call may use.
    pub limits: LimitsBody,
    /// What its calls have used since the daemon's start, over all versions of the plugin.
    pub usage: HookUsageBody,
}

/// What one call may use.
#[derive(Serialize, ToSchema)]
pub struct LimitsBody {
    /// From the first instruction to the answer, host calls included.
    pub wall_ms: u64,
    /// Processor time.
    pub cpu_ms: u64,
    /// Memory.
    pub memory_bytes: usize,
    /// What it answers with.
    pub result_bytes: usize,
    /// What it writes to the log.
    pub log_bytes: usize,
    /// Calls into the host.
    pub host_calls: u32,
}

/// What calls have used.
#[derive(Serialize, ToSchema)]
pub struct HookUsageBody {
    /// Calls by outcome: `ok`, or the code of the error.
    pub calls: BTreeMap<&'static str, u64>,
    /// Time of all calls, waits included.
    pub seconds: f64,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The most memory that a call had.
    pub memory_peak_bytes: usize,
    /// Calls into the host by interface.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// Those of them that were denied.
    pub denied: BTreeMap<&'static str, u64>,
    /// What went wrong last; null when nothing did.
    pub last_error: Option<CallErrorBody>,
}

/// A call that went wrong.
#[derive(Serialize, ToSchema)]
pub struct CallErrorBody {
    /// When, RFC 3339.
    pub at: String,
    /// The project; null when it was no project's call, or one of another organisation.
    pub project: Option<String>,
    /// The error's code.
    pub code: &'static str,
    /// Its words, less the project's secrets; null for a project of another organisation.
    pub message: Option<String>,
}

/// What runs, with what each plugin has cost since the daemon's start.
#[utoipa::path(get, path = "/platform/plugins", responses((status = 200, body = PluginsBody)))]
pub async fn list(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<PluginsBody>> {
    let mut plugins = Vec::new();
    for plugin in api.lifecycle.parts().plugins.list() {
        plugins.push(body(&api, &caller, plugin).await?);
    }
    Ok(Json(PluginsBody { plugins }))
}

/// One plugin.
#[utoipa::path(get, path = "/platform/plugins/{name}", responses((status = 200, body = PluginBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> ApiResult<Json<PluginBody>> {
    let found = api.lifecycle.parts().plugins.list().into_iter().find(|plugin| plugin.name == name);
    let missing = || ApiError::not_found("plugin", &name);
    Ok(Json(body(&api, &caller, found.ok_or_else(missing)?).await?))
}

/// Which version to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// `sha256:` and 64 hex digits of a kept version; left out: the one before.
    pub to: Option<String>,
}

/// What became of the plugins.
#[derive(Serialize, ToSchema)]
pub struct ChangesBody {
    /// Each plugin that ran or is in the folder.
    pub changes: Vec<ChangeBody>,
}

/// What became of one plugin.
#[derive(Serialize, ToSchema)]
pub struct ChangeBody {
    /// Its name.
    pub plugin: String,
    /// `unchanged`, `loaded`, `replaced`, `removed`, or `refused`: what ran goes on.
    pub outcome: &'static str,
    /// What ran before, by digest.
    pub from: Option<String>,
    /// What runs now.
    pub to: Option<String>,
    /// Why it was refused, or has no leave any more.
    pub error: Option<String>,
}

impl From<Change> for ChangeBody {
    fn from(change: Change) -> Self {
        let Change { plugin, fate, from, to, error } = change;
        Self { plugin, outcome: fate.as_str(), from, to, error }
    }
}

/// Takes over what the folder of plugins has now. Calls in flight end on the code they began with.
#[utoipa::path(post, path = "/platform/plugins/reload", responses((status = 200, body = ChangesBody), (status = 403, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn reload(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<ChangesBody>> {
    reloaded(&api, &caller).await
}

/// What the folder has now is taken over.
pub(super) async fn reloaded(api: &Api, caller: &Caller) -> ApiResult<Json<ChangesBody>> {
    let parts = api.lifecycle.parts();
    let changes = parts.plugins.reload().await;
    let changes = changes.map_err(|error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "plugins_dir", error.to_string()))?;
    let changes: Vec<ChangeBody> = changes.into_iter().map(ChangeBody::from).collect();
    let changed = changes.iter().filter(|change| change.outcome != "unchanged");
    let detail: BTreeMap<&str, &str> = changed.map(|change| (change.plugin.as_str(), change.outcome)).collect();
    api.audit(caller, "plugins.reload", None, &json!(detail)).await?;
    Ok(Json(ChangesBody { changes }))
}

/// Goes back to the version before, or to any that is kept. It stays until the folder gets another version.
#[utoipa::path(post, path = "/platform/plugins/{name}/rollback", request_body = RollbackBody,
    responses((status = 200, body = ChangeBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn rollback(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    JsonBody { value: body, .. }: JsonBody<RollbackBody>,
) -> ApiResult<Json<ChangeBody>> {
    let parts = api.lifecycle.parts();
    let change = parts.plugins.rollback(&name, body.to.as_deref()).await.map_err(|error| {
        let (status, code) = match &error {
            RollbackError::Unknown(_) => (StatusCode::NOT_FOUND, "not_found"),
            RollbackError::NotKept { .. } => (StatusCode::CONFLICT, "version_not_kept"),
            RollbackError::Load(_) => (StatusCode::CONFLICT, "plugin_broken"),
            RollbackError::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
        };
        ApiError::new(status, code, error.to_string())
    })?;
    let detail = json!({"plugin": name, "from": change.from, "to": change.to});
    api.audit(&caller, "plugin.rollback", None, &detail).await?;
    Ok(Json(change.into()))
}

async fn body(api: &Api, caller: &Caller, plugin: PluginInfo) -> ApiResult<PluginBody> {
    let mut hooks = Vec::new();
    for HookInfo { hook, order, on_failure, limits, usage } in plugin.hooks {
        let limits = LimitsBody {
            wall_ms: millis(limits.wall),
            cpu_ms: millis(limits.cpu),
            memory_bytes: limits.memory_bytes,
            result_bytes: limits.result_bytes,
            log_bytes: limits.log_bytes,
            host_calls: limits.host_calls,
        };
        let (hook, on_failure) = (hook.as_str(), on_failure.as_str());
        hooks.push(HookBody { hook, order, on_failure, limits, usage: used(api, caller, usage).await? });
    }
    Ok(PluginBody {
        name: plugin.name,
        version: plugin.version,
        digest: plugin.digest,
        summary: plugin.summary,
        contract: plugin.contract,
        provenance: plugin.provenance,
        granted: plugin.reaches.lines(),
        opt_in: plugin.opt_in,
        settings: plugin.settings,
        size_bytes: plugin.size,
        imports: plugin.imports.iter().map(|interface| interface.as_str()).collect(),
        hooks,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn used(api: &Api, caller: &Caller, usage: HookUsage) -> ApiResult<HookUsageBody> {
    let last_error = match usage.last_error {
        Some(error) => Some(last_error(api, caller, error).await?),
        None => None,
    };
    Ok(HookUsageBody {
        calls: usage.calls,
        seconds: usage.took.as_secs_f64(),
        cpu_seconds: usage.cpu.as_secs_f64(),
        memory_peak_bytes: usage.memory_peak_bytes,
        host_calls: usage.host_calls,
        denied: usage.denied,
        last_error,
    })
}

/// A plugin's words may hold something of the project it was called for: they are for its organisation, less its secrets.
async fn last_error(api: &Api, caller: &Caller, error: CallError) -> ApiResult<CallErrorBody> {
    let (at, code) = (rfc3339(error.at), error.code);
    let Some(id) = error.project else {
        return Ok(CallErrorBody { at, project: None, code, message: Some(error.message) });
    };
    let project = api.lifecycle.parts().store.project(&id).await?;
    if project.is_none_or(|project| caller.role_on(&project.organization_id, &project.id).is_none()) {
        return Ok(CallErrorBody { at, project: None, code, message: None });
    }
    let message = api.lifecycle.secrets(&id).await?.redact(&error.message);
    Ok(CallErrorBody { at, project: Some(id.into()), code, message: Some(message) })
}

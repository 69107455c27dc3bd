//! The plugins: what is loaded, what each may use, what it has cost, and what went wrong last.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::plugin_host::{HookInfo, PluginInfo};
use crate::store::Token;
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
    /// Its hooks.
    pub hooks: Vec<HookBody>,
}

/// One hook of a plugin.
#[derive(Serialize, ToSchema)]
pub struct HookBody {
    /// `render`, `probe` or `post-create`.
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

/// What is loaded, with what each plugin has cost since the daemon's start.
#[utoipa::path(get, path = "/platform/plugins", responses((status = 200, body = PluginsBody)))]
pub async fn list(State(api): State<Api>, Extension(token): Extension<Token>) -> ApiResult<Json<PluginsBody>> {
    let mut plugins = Vec::new();
    for plugin in api.lifecycle.parts().plugins.list() {
        plugins.push(body(&api, &token, plugin).await?);
    }
    Ok(Json(PluginsBody { plugins }))
}

/// One plugin.
#[utoipa::path(get, path = "/platform/plugins/{name}", responses((status = 200, body = PluginBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(token): Extension<Token>,
    Path(name): Path<String>,
) -> ApiResult<Json<PluginBody>> {
    let found = api.lifecycle.parts().plugins.list().into_iter().find(|plugin| plugin.name == name);
    let missing = || ApiError::not_found("plugin", &name.chars().take(64).collect::<String>());
    Ok(Json(body(&api, &token, found.ok_or_else(missing)?).await?))
}

async fn body(api: &Api, token: &Token, plugin: PluginInfo) -> ApiResult<PluginBody> {
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
        hooks.push(HookBody { hook, order, on_failure, limits, usage: used(api, token, usage).await? });
    }
    Ok(PluginBody {
        name: plugin.name,
        version: plugin.version,
        digest: plugin.digest,
        summary: plugin.summary,
        contract: plugin.contract,
        size_bytes: plugin.size,
        imports: plugin.imports.iter().map(|interface| interface.as_str()).collect(),
        hooks,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn used(api: &Api, token: &Token, usage: HookUsage) -> ApiResult<HookUsageBody> {
    let last_error = match usage.last_error {
        Some(error) => Some(last_error(api, token, error).await?),
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
async fn last_error(api: &Api, token: &Token, error: CallError) -> ApiResult<CallErrorBody> {
    let (at, code) = (rfc3339(error.at), error.code);
    let Some(id) = error.project else {
        return Ok(CallErrorBody { at, project: None, code, message: Some(error.message) });
    };
    let project = api.lifecycle.parts().store.project(&id).await?;
    if project.is_none_or(|project| project.organization_id != token.organization_id) {
        return Ok(CallErrorBody { at, project: None, code, message: None });
    }
    let message = api.lifecycle.secrets(&id).await?.redact(&error.message);
    Ok(CallErrorBody { at, project: Some(id.into()), code, message: Some(message) })
}

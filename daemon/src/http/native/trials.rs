//! A newer version of a probe plugin on trial: beside the running one, then deciding for some projects, then in its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::plugins::{ChangesBody, reloaded};
use crate::domain::{Caller, ProjectRef, Role};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::project;
use crate::plugin_host::{Difference, Promoted, ShadowError, ShadowTrial};

/// A trial.
#[derive(Serialize, ToSchema)]
pub struct TrialBody {
    /// The plugin.
    pub plugin: String,
    /// What runs, by digest.
    pub running: String,
    /// What is tried, by digest.
    pub candidate: String,
    /// Its version.
    pub version: String,
    /// Seconds for which verdicts are still compared where it does not decide.
    pub left_s: u64,
    /// Questions that both answered.
    pub compared: u64,
    /// Those on which they agree.
    pub same: u64,
    /// Questions that were not compared, because too many were under way.
    pub left_out: u64,
    /// Verdicts of the version on trial that counted.
    pub decided: u64,
    /// Its failures by code.
    pub failures: BTreeMap<&'static str, u64>,
    /// Where the two differ.
    pub differences: Vec<DifferenceBody>,
    /// Projects for which it decides.
    pub projects: Vec<String>,
    /// Of a hundred others, for how many it decides.
    pub percent: u8,
    /// Why it decides for nobody any more; null while nothing was taken back.
    pub taken_back: Option<String>,
}

/// Where two versions differ.
#[derive(Serialize, ToSchema)]
pub struct DifferenceBody {
    /// Of which service.
    pub service: String,
    /// What the running version says: a state, `none` when it is not its probe, `error` when it failed.
    pub running: String,
    /// What the one on trial says.
    pub candidate: String,
    /// How often.
    pub count: u64,
    /// The last project; null for one of another organisation.
    pub project: Option<String>,
    /// The reason that the version on trial gave there, less the project's secrets.
    pub reason: Option<String>,
}

/// How long a trial lasts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LastsBody {
    /// Seconds, 1 to 86400.
    pub for_s: u64,
}

/// For whom the version on trial decides, in place of those before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteBody {
    /// These projects.
    #[serde(default)]
    pub projects: Vec<String>,
    /// And so many of a hundred others, always the same.
    #[serde(default)]
    pub percent: u8,
    /// It may find worse what the running version finds healthy; otherwise three such verdicts in a row take it back.
    #[serde(default)]
    pub may_worsen: bool,
}

/// How the trial of a plugin is going.
#[utoipa::path(get, path = "/platform/plugins/{name}/trial", responses((status = 200, body = TrialBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> ApiResult<Json<TrialBody>> {
    let trial = api.lifecycle.parts().plugins.trial(&name).map_err(refused)?;
    Ok(Json(body(&api, &caller, trial).await?))
}

/// Begins to ask the version among the candidates beside the running one.
#[utoipa::path(post, path = "/platform/plugins/{name}/trial", request_body = LastsBody,
    responses((status = 200, body = TrialBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn begin(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    JsonBody { value, .. }: JsonBody<LastsBody>,
) -> ApiResult<Json<TrialBody>> {
    if !(1..=86_400).contains(&value.for_s) {
        let message = format!("`for_s` is {}: 1 to 86400 are expected", value.for_s);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "out_of_range", message));
    }
    let parts = api.lifecycle.parts();
    let trial = parts.plugins.shadow(&name, Duration::from_secs(value.for_s)).await.map_err(refused)?;
    let detail = json!({"plugin": name, "candidate": trial.candidate, "for_s": value.for_s});
    api.audit(&caller, "plugin.shadow", None, &detail).await?;
    Ok(Json(body(&api, &caller, trial).await?))
}

/// Ends the trial: the running version decides. The answer is what was seen.
#[utoipa::path(delete, path = "/platform/plugins/{name}/trial", responses((status = 200, body = TrialBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn end(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> ApiResult<Json<TrialBody>> {
    let parts = api.lifecycle.parts();
    let trial = parts.plugins.end_trial(&name).map_err(refused)?;
    api.audit(&caller, "plugin.trial_ends", None, &json!({"plugin": name})).await?;
    Ok(Json(body(&api, &caller, trial).await?))
}

/// Lets the version on trial decide for some projects, or for nobody.
#[utoipa::path(post, path = "/platform/plugins/{name}/promote", request_body = PromoteBody,
    responses((status = 200, body = TrialBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn promote(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    JsonBody { value, .. }: JsonBody<PromoteBody>,
) -> ApiResult<Json<TrialBody>> {
    if value.percent > 100 {
        let message = format!("`percent` is {}: 0 to 100 are expected", value.percent);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "out_of_range", message));
    }
    let parts = api.lifecycle.parts();
    let mut projects = std::collections::BTreeSet::new();
    for id in &value.projects {
        projects.insert(project(&api, &caller, id, Role::ReadOnly).await?.id);
    }
    let promoted = Promoted { projects, percent: value.percent, may_worsen: value.may_worsen };
    let trial = parts.plugins.promote(&name, promoted).map_err(refused)?;
    let detail = json!({"plugin": name, "candidate": trial.candidate, "projects": value.projects, "percent": value.percent});
    api.audit(&caller, "plugin.promote", None, &detail).await?;
    Ok(Json(body(&api, &caller, trial).await?))
}

/// Puts the version on trial in the running one's place, for all; `rollback` goes back.
#[utoipa::path(put, path = "/platform/plugins/{name}/trial",
    responses((status = 200, body = ChangesBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn install(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> ApiResult<Json<ChangesBody>> {
    let parts = api.lifecycle.parts();
    parts.plugins.install_candidate(&name).await.map_err(refused)?;
    api.audit(&caller, "plugin.install", None, &json!({"plugin": name})).await?;
    reloaded(&api, &caller).await
}

fn refused(error: ShadowError) -> ApiError {
    let (status, code) = match &error {
        ShadowError::Unknown(_) | ShadowError::NoTrial(_) => (StatusCode::NOT_FOUND, "not_found"),
        ShadowError::NoVerdicts(_) => (StatusCode::CONFLICT, "no_verdicts"),
        ShadowError::Same(_) => (StatusCode::CONFLICT, "same_version"),
        ShadowError::Load(_) => (StatusCode::CONFLICT, "plugin_broken"),
        ShadowError::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
    };
    ApiError::new(status, code, error.to_string())
}

async fn body(api: &Api, caller: &Caller, trial: ShadowTrial) -> ApiResult<TrialBody> {
    let ShadowTrial { plugin, running, candidate, version, left, seen } = trial;
    let mut differences = Vec::new();
    for Difference { service, running, candidate, count, project, reason } in seen.differences {
        let reason = shown(api, caller, &project, &reason).await?;
        let project = reason.as_ref().map(|_| project.into());
        differences.push(DifferenceBody { service: service.to_string(), running, candidate, count, project, reason });
    }
    Ok(TrialBody {
        plugin,
        running,
        candidate,
        version,
        left_s: left.as_secs(),
        compared: seen.compared,
        same: seen.same,
        left_out: seen.left_out,
        decided: seen.decided,
        failures: seen.failures,
        differences,
        projects: seen.promoted.projects.into_iter().map(String::from).collect(),
        percent: seen.promoted.percent,
        taken_back: seen.taken_back,
    })
}

/// A plugin's words on a project are for its organisation, less the project's secrets.
async fn shown(api: &Api, caller: &Caller, id: &ProjectRef, words: &str) -> ApiResult<Option<String>> {
    let project = api.lifecycle.parts().store.project(id).await?;
    if project.is_none_or(|project| caller.role_on(&project.organization_id, &project.id).is_none()) {
        return Ok(None);
    }
    Ok(Some(api.lifecycle.secrets(id).await?.redact(words)))
}

//! What plugins that are not shipped ask for, and the operator's leave.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::plugins::{ChangesBody, reloaded};
use crate::domain::Caller;
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::plugin_host::{GrantError, GrantInfo};

/// What all of them ask for.
#[derive(Serialize, ToSchema)]
pub struct GrantsBody {
    /// The plugins of the folder, then the versions that are to be tried, each by name.
    pub grants: Vec<GrantBody>,
}

/// What one plugin asks for.
#[derive(Serialize, ToSchema)]
pub struct GrantBody {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What a grant is for, `sha256:` and 64 hex digits.
    pub digest: String,
    /// Of everything that it asks for, 16 hex digits: a grant names it too.
    pub asks_digest: String,
    /// Whether it is a version to be tried, and not the folder's.
    pub candidate: bool,
    /// A line each; empty: nothing has to be granted.
    pub asks: Vec<String>,
    /// `shipped`, `signed by KEY` or `unsigned`; null when it may not run.
    pub provenance: Option<String>,
    /// Why it may not run; null when it may.
    pub problem: Option<String>,
}

impl From<GrantInfo> for GrantBody {
    fn from(grant: GrantInfo) -> Self {
        let GrantInfo { plugin, version, digest, asks_digest, candidate, asks, provenance, problem } = grant;
        Self { plugin, version, digest, asks_digest, candidate, asks, provenance, problem }
    }
}

/// Which version somebody has looked at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenBody {
    /// `sha256:` and 64 hex digits: another version asks again.
    pub digest: String,
    /// What it asked for then, as GET /platform/plugins/grants has it: one that asks for more asks again.
    pub asks_digest: String,
}

/// What the plugins ask for, and which of them may run.
#[utoipa::path(get, path = "/platform/plugins/grants", responses((status = 200, body = GrantsBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn list(State(api): State<Api>) -> ApiResult<Json<GrantsBody>> {
    let grants = api.lifecycle.parts().plugins.grants();
    let grants = grants.map_err(|error| ApiError::new(StatusCode::CONFLICT, "plugin_broken", error.to_string()))?;
    Ok(Json(GrantsBody { grants: grants.into_iter().map(GrantBody::from).collect() }))
}

/// Grants everything that this version asks for, and takes it in.
#[utoipa::path(put, path = "/platform/plugins/{name}/grant", request_body = GivenBody,
    responses((status = 200, body = ChangesBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn grant(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
    JsonBody { value: body, .. }: JsonBody<GivenBody>,
) -> ApiResult<Json<ChangesBody>> {
    let parts = api.lifecycle.parts();
    parts.plugins.grant(&name, &body.digest, &body.asks_digest).map_err(refused)?;
    let detail = json!({"plugin": name, "digest": body.digest});
    api.audit(&caller, "plugin.grant", None, &detail).await?;
    reloaded(&api, &caller).await
}

/// Takes back what all versions of a plugin were granted, and stops it.
#[utoipa::path(delete, path = "/platform/plugins/{name}/grant",
    responses((status = 200, body = ChangesBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(name): Path<String>,
) -> ApiResult<Json<ChangesBody>> {
    let parts = api.lifecycle.parts();
    parts.plugins.revoke(&name).map_err(refused)?;
    api.audit(&caller, "plugin.revoke", None, &json!({"plugin": name})).await?;
    reloaded(&api, &caller).await
}

fn refused(error: GrantError) -> ApiError {
    let (status, code) = match &error {
        GrantError::Unknown(_) | GrantError::Nothing(_) => (StatusCode::NOT_FOUND, "not_found"),
        GrantError::OtherDigest { .. } => (StatusCode::CONFLICT, "other_digest"),
        GrantError::OtherAsks(_) => (StatusCode::CONFLICT, "other_asks"),
        GrantError::Load(_) => (StatusCode::CONFLICT, "plugin_broken"),
        GrantError::Write(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
    };
    ApiError::new(status, code, error.to_string())
}

//! `/v1/projects/{ref}/api-keys`: the classic pair. Publishable and secret keys need a gateway that exchanges them, which
//! the stack's is not.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{Caller, Project};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult};
use crate::http::gate::There;
use crate::http::native::dto::api_keys;

/// Whether the keys themselves are wanted.
#[derive(Deserialize)]
pub struct RevealQuery {
    #[serde(default)]
    reveal: bool,
}

/// Whether the classic pair is to work.
#[derive(Deserialize)]
pub struct EnabledQuery {
    enabled: bool,
}

/// A key. Its id is its name, as upstream has it for the classic pair.
#[derive(Serialize)]
pub struct KeyBody {
    id: String,
    name: String,
    r#type: &'static str,
    api_key: Option<String>,
    prefix: Option<String>,
    description: String,
    hash: Option<String>,
    secret_jwt_template: Option<Value>,
    inserted_at: String,
    updated_at: String,
}

async fn keys(api: &Api, project: &Project, reveal: bool) -> ApiResult<Vec<KeyBody>> {
    let missing = || ApiError::not_found("project", project.id.as_str());
    let set = api.lifecycle.parts().set_of(project).map_err(|_| missing())?;
    let secrets = api.lifecycle.secrets(&project.id).await?;
    let at = crate::clock::rfc3339(project.created_at);
    let body = |(name, key): (String, String)| KeyBody {
        description: format!("Legacy {name} API key"),
        id: name.clone(),
        name,
        r#type: "legacy",
        prefix: Some(key.chars().take(5).collect()),
        api_key: reveal.then_some(key),
        hash: None,
        secret_jwt_template: None,
        inserted_at: at.clone(),
        updated_at: at.clone(),
    };
    Ok(api_keys(&set.spec, &secrets).0.into_iter().map(body).collect())
}

/// Both keys, in clear with `reveal=true`, which is written down.
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
    Query(RevealQuery { reveal }): Query<RevealQuery>,
) -> ApiResult<Json<Vec<KeyBody>>> {
    if reveal {
        api.audit(&caller, "project.api_keys", Some(&project), &json!({})).await?;
    }
    Ok(Json(keys(&api, &project, reveal).await?))
}

/// One of them.
pub async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, key)): Path<(String, String)>,
    There(project): There,
    Query(RevealQuery { reveal }): Query<RevealQuery>,
) -> ApiResult<Json<KeyBody>> {
    let missing = || ApiError::not_found("key", &key);
    let found = keys(&api, &project, reveal).await?.into_iter().find(|one| one.id == key).ok_or_else(missing)?;
    if reveal {
        api.audit(&caller, "project.api_keys", Some(&project), &json!({"key": key})).await?;
    }
    Ok(Json(found))
}

/// What would make, change or take one.
pub async fn unchangeable(There(_): There) -> ApiError {
    let message = "publishable and secret API keys are not served by supamanager: the stack's gateway knows the classic pair \
                   (`anon`, `service_role`) alone";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_served", message)
}

/// The classic pair works.
pub async fn legacy(There(_): There) -> Json<Value> {
    Json(json!({"enabled": true}))
}

/// It can be left on.
pub async fn set_legacy(there: There, Query(EnabledQuery { enabled }): Query<EnabledQuery>) -> ApiResult<Json<Value>> {
    if enabled { Ok(legacy(there).await) } else { Err(unchangeable(there).await) }
}

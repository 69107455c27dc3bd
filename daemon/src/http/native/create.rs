//! `POST /platform/projects`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use super::dto::{CreateBody, CreatedBody, api_keys, database_url};
use crate::domain::{Caller, ProjectName, Role, Secret};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::{in_organization, project};
use crate::lifecycle::CreateRequest;

/// Longest Idempotency-Key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest database password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Accepts a project: the answer comes at once, `/events` shows its progress.
#[utoipa::path(post, path = "/platform/projects", request_body = CreateBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body get the same project")),
    responses((status = 201, body = CreatedBody), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody),
        (status = 503, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
    JsonBody { value: body, bytes }: JsonBody<CreateBody>,
) -> ApiResult<Response> {
    let parts = api.lifecycle.parts().clone();
    let name = ProjectName::parse(&body.name).map_err(|error| ApiError::shape("name", error.to_string()))?;
    let db_pass = body.db_pass.map(checked_password).transpose()?;
    let key = idempotency_key(&headers)?;
    let defaults = parts.config.resources.of_a_project().map_err(|error| ApiError::shape(error.field, error.to_string()))?;
    let request = CreateRequest {
        name,
        organization_id: organization(&caller, body.organization_id)?,
        region: region(&api, body.region).await?,
        template_set: body.template_set,
        image_set: body.image_set,
        services: body.services,
        plugins: body.plugins,
        db_pass,
        resources: match &body.resources {
            Some(given) => given.over(defaults).map_err(|error| ApiError::shape(error.field, error.to_string()))?,
            None => defaults,
        },
        caller: caller.id.clone(),
        idempotency: key.map(|key| (key, String::from_utf8_lossy(&bytes).into_owned())),
    };
    let created = api.lifecycle.create(request).await?;
    let missing = || ApiError::not_found("project", created.project.as_str());
    // A repeated key may name a project that the caller has lost since: what follows has its keys.
    let project = project(&api, &caller, created.project.as_str(), Role::Administrator).await?;
    let detail = json!({"name": project.name, "repeated": created.operation.is_none()});
    api.audit(&caller, "project.create", Some(&project), &detail).await?;
    let set = parts.set_of(&project).map_err(|_| missing())?;
    let secrets = api.lifecycle.secrets(&project.id).await?;
    let (role, _, port) = api.lifecycle.owner_database(&project).unwrap_or_default();
    let operation = match created.operation {
        Some(operation) => Some(operation),
        None => parts.store.operations_of(&project.id, 1).await?.into_iter().next().map(|operation| operation.id),
    };
    let location = HeaderValue::from_str(&format!("/platform/projects/{}", project.id)).map_err(|_| missing())?;
    let answer = CreatedBody {
        status: project.status.as_str(),
        endpoint: parts.endpoint(&project),
        database_url: database_url(&parts, &role, port, None),
        api_keys: api_keys(&set.spec, &secrets).0,
        endpoints: parts.endpoints(&project),
        operation_id: operation.map(|id| id.to_string()),
        id: project.id.to_string(),
        name: project.name,
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// Any characters but NUL, which PostgreSQL cannot take.
pub fn checked_password(password: String) -> ApiResult<Secret<String>> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains('\0') {
        return Err(ApiError::shape("db_pass", format!("db_pass must have 1 to {PASSWORD_BYTES_MAX} bytes and no NUL")));
    }
    Ok(Secret::new(password))
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::shape(
            "Idempotency-Key",
            format!("Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters"),
        )),
    }
}

/// The one that is named, or the caller's; what is not yours is not there.
pub fn organization(caller: &Caller, given: Option<String>) -> ApiResult<String> {
    let given = given.unwrap_or_else(|| caller.home.clone());
    if caller.role_in(&given).is_some() {
        in_organization(caller, &given, Role::Administrator)?;
        return Ok(given);
    }
    let yours: Vec<&str> = caller.roles().filter(|(_, role)| *role >= Role::Administrator).map(|(id, _)| id).collect();
    let message = format!(
        "there is no organisation `{}`: you may create in {}",
        given.chars().take(64).collect::<String>(),
        if yours.is_empty() { "none".to_owned() } else { yours.join(", ") }
    );
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_value", message).field("organization_id"))
}

async fn region(api: &Api, given: Option<String>) -> ApiResult<String> {
    let (regions, _) = api.lifecycle.parts().store.places().await?;
    match (given, regions.as_slice()) {
        (Some(region), _) => Ok(region),
        (None, [only]) => Ok(only.clone()),
        (None, several) => {
            Err(ApiError::shape("region", format!("there are several regions: name one of {}", several.join(", "))))
        }
    }
}

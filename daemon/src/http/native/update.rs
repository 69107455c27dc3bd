//! `PATCH /platform/projects/{id}`: with `?plan=true` it says what would happen, with the plan's hash in `If-Match` it
//! does it.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::dto_update::{PlanBody, UpdateBody, UpdatedBody};
use crate::domain::{Caller, ProjectName};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Live;
use crate::lifecycle::UpdateRequest;

/// Whether only to look.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// Answer with the plan and change nothing.
    #[serde(default)]
    plan: bool,
}

/// Changes a project: its name, template set, image set, or which services are on. What changes containers wants the hash of
/// its plan in `If-Match`.
#[utoipa::path(patch, path = "/platform/projects/{id}", request_body = UpdateBody,
    params(PlanQuery, ("If-Match" = Option<String>, Header, description = "The hash of the plan to carry out")),
    responses((status = 200, body = PlanBody, description = "The plan, or what was only written down"),
        (status = 202, body = UpdatedBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 412, body = ErrorBody), (status = 422, body = ErrorBody),
        (status = 428, body = ErrorBody), (status = 503, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub async fn update(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
    query: Result<Query<PlanQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    JsonBody { value: body, .. }: JsonBody<UpdateBody>,
) -> ApiResult<Response> {
    let Query(PlanQuery { plan }) = query.map_err(|error| ApiError::shape("plan", error.body_text()))?;
    let name = body.name.map(|name| ProjectName::parse(&name)).transpose();
    let request = UpdateRequest {
        name: name.map_err(|error| ApiError::shape("name", error.to_string()))?,
        template_set: body.template_set,
        image_set: body.image_set,
        services: body.services,
        plugins: body.plugins,
        resources: match &body.resources {
            Some(given) => Some(given.over(project.resources).map_err(|error| ApiError::shape(error.field, error.to_string()))?),
            None => None,
        },
    };
    if plan {
        let plan = api.lifecycle.plan_update(&project, &request).await?;
        let tag = format!("\"{}\"", plan.hash);
        return Ok(([(header::ETAG, tag)], Json(PlanBody::of(&plan))).into_response());
    }
    let hash = if_match(&headers)?;
    let operation = api.lifecycle.update(&project, &request, hash, &caller.id).await?;
    let parts = api.lifecycle.parts();
    let detail = json!({"name": request.name.as_ref().map(ProjectName::as_str), "template_set": request.template_set,
        "image_set": request.image_set, "services": request.services, "plugins": request.plugins, "resources": body.resources});
    api.audit(&caller, "project.update", Some(&project), &detail).await?;
    let now = parts.store.project(&project.id).await?.unwrap_or(project);
    let status = if operation.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let answer = UpdatedBody {
        id: now.id.to_string(),
        name: now.name,
        status: now.status.as_str(),
        operation_id: operation.map(|id| id.to_string()),
    };
    Ok((status, Json(answer)).into_response())
}

/// The hash, with or without the quotes of an entity tag.
fn if_match(headers: &HeaderMap) -> ApiResult<Option<&str>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let wrong = || ApiError::shape("If-Match", "If-Match is the hash of a plan: PATCH with ?plan=true gives one");
    let text = value.to_str().map_err(|_| wrong())?.trim().trim_matches('"');
    if text.is_empty() || text == "*" { Err(wrong()) } else { Ok(Some(text)) }
}

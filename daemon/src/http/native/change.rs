//! The verbs that change a project: accepted at once, carried out by an operation.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::dto::{AcceptedBody, ApplyBody, DeleteBody, RestartBody};
use crate::domain::{Caller, OperationId, Project};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Live;

type Answer = ApiResult<(StatusCode, Json<AcceptedBody>)>;

/// Removes everything of a project. The body confirms it with the project's id or name.
#[utoipa::path(delete, path = "/platform/projects/{id}", request_body = DeleteBody,
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 428, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
    JsonBody { value: body, .. }: JsonBody<DeleteBody>,
) -> Answer {
    if !body.confirm.is_some_and(|word| word == project.id.as_str() || word == project.name) {
        let message = format!("a delete cannot be taken back: send {{\"confirm\": \"{}\"}}", project.id);
        return Err(ApiError::new(StatusCode::PRECONDITION_REQUIRED, "confirm", message).field("confirm"));
    }
    let operation = api.lifecycle.delete(&project, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.delete", json!({"name": project.name})).await
}

/// Tries a failed create again with the same ref, keys and ports.
#[utoipa::path(post, path = "/platform/projects/{id}/retry",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn retry(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>, Live(project): Live) -> Answer {
    let operation = api.lifecycle.retry(&project, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.retry", json!({})).await
}

/// Stops every container of an active project; its data stays.
#[utoipa::path(post, path = "/platform/projects/{id}/pause",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn pause(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>, Live(project): Live) -> Answer {
    let operation = api.lifecycle.pause(&project, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.pause", json!({})).await
}

/// Starts a paused project and waits until it is healthy.
#[utoipa::path(post, path = "/platform/projects/{id}/resume",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn resume(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>, Live(project): Live) -> Answer {
    let operation = api.lifecycle.resume(&project, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.resume", json!({})).await
}

/// Stops and starts all services of an active project, or those that the body names.
#[utoipa::path(post, path = "/platform/projects/{id}/restart", request_body = RestartBody,
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn restart(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
    JsonBody { value: RestartBody { services }, .. }: JsonBody<RestartBody>,
) -> Answer {
    let operation = api.lifecycle.restart(&project, &services, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.restart", json!({"services": services})).await
}

/// Has a post-create plugin do its work on an active project that was there before it, or before this version of it.
#[utoipa::path(post, path = "/platform/projects/{id}/apply", request_body = ApplyBody,
    responses((status = 202, body = AcceptedBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn apply(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
    JsonBody { value: ApplyBody { plugin }, .. }: JsonBody<ApplyBody>,
) -> Answer {
    let operation = api.lifecycle.apply(&project, &plugin, &caller.id).await?;
    accepted(&api, &caller, &project, operation, "project.apply", json!({"plugin": plugin})).await
}

/// Turns the operation that is under way round: a create is undone, a pause starts again what it stopped, a resume
/// stops what it started.
#[utoipa::path(post, path = "/platform/projects/{id}/cancel",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn cancel(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>, Live(project): Live) -> Answer {
    let operation = api.lifecycle.cancel(&project, &caller.spoken()).await?;
    accepted(&api, &caller, &project, operation, "project.cancel", json!({})).await
}

/// Ends an operation that does not come back by itself, or a delete that hangs. What it leaves is put right later.
#[utoipa::path(post, path = "/platform/projects/{id}/force",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn force(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>, Live(project): Live) -> Answer {
    let operation = api.lifecycle.force(&project, &caller.spoken()).await?;
    accepted(&api, &caller, &project, operation, "project.force", json!({})).await
}

/// Written down, then answered with where the project stands now.
async fn accepted(api: &Api, caller: &Caller, project: &Project, operation: OperationId, action: &str, detail: Value) -> Answer {
    let parts = api.lifecycle.parts();
    api.audit(caller, action, Some(project), &detail).await?;
    let now = parts.store.project(&project.id).await?.map_or(project.status, |project| project.status);
    let answer = AcceptedBody { id: project.id.to_string(), status: now.as_str(), operation_id: operation.to_string() };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

//! Delete and retry: accepted at once, carried out by an operation.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;

use super::dto::{AcceptedBody, DeleteBody};
use super::live_project;
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::people;
use crate::store::Token;

/// Removes everything of a project. The body confirms it with the project's id or name.
#[utoipa::path(delete, path = "/platform/projects/{id}", request_body = DeleteBody,
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 428, body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    Extension(token): Extension<Token>,
    Path(id): Path<String>,
    JsonBody { value: body, .. }: JsonBody<DeleteBody>,
) -> ApiResult<(StatusCode, Json<AcceptedBody>)> {
    let project = live_project(&api, &token, &id).await?;
    if !body.confirm.is_some_and(|word| word == project.id.as_str() || word == project.name) {
        let message = format!("a delete cannot be taken back: send {{\"confirm\": \"{}\"}}", project.id);
        return Err(ApiError::new(StatusCode::PRECONDITION_REQUIRED, "confirm", message).field("confirm"));
    }
    let operation = api.lifecycle.delete(&project).await?;
    let parts = api.lifecycle.parts();
    people::audit(&parts.store, &parts.clock, &token, "project.delete", Some(&project.id), &json!({"name": project.name}))
        .await?;
    let answer = AcceptedBody { id: project.id.to_string(), status: "DELETING", operation_id: operation.to_string() };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Tries a failed create again with the same ref, keys and ports.
#[utoipa::path(post, path = "/platform/projects/{id}/retry",
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn retry(
    State(api): State<Api>,
    Extension(token): Extension<Token>,
    Path(id): Path<String>,
) -> ApiResult<(StatusCode, Json<AcceptedBody>)> {
    let project = live_project(&api, &token, &id).await?;
    let operation = api.lifecycle.retry(&project).await?;
    let parts = api.lifecycle.parts();
    people::audit(&parts.store, &parts.clock, &token, "project.retry", Some(&project.id), &json!({})).await?;
    let answer = AcceptedBody { id: project.id.to_string(), status: "CREATING", operation_id: operation.to_string() };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

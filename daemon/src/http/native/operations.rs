//! Operations and their steps.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::dto::OperationBody;
use super::project;
use crate::domain::OperationId;
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::store::Token;

/// Operations shown per project.
const SHOWN: u32 = 50;

/// The newest operations of a project, newest first.
#[utoipa::path(get, path = "/platform/projects/{id}/operations", responses((status = 200, description = "operations"), (status = 404, body = ErrorBody)))]
pub async fn list(State(api): State<Api>, Extension(token): Extension<Token>, Path(id): Path<String>) -> ApiResult<Json<Value>> {
    let project = project(&api, &token, &id).await?;
    let operations = api.lifecycle.parts().store.operations_of(&project.id, SHOWN).await?;
    let operations: Vec<OperationBody> = operations.iter().map(OperationBody::from).collect();
    Ok(Json(json!({"operations": operations})))
}

/// One operation.
#[utoipa::path(get, path = "/platform/operations/{id}", responses((status = 200, body = OperationBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(token): Extension<Token>,
    Path(id): Path<String>,
) -> ApiResult<Json<OperationBody>> {
    let missing = || ApiError::not_found("operation", &id.chars().take(64).collect::<String>());
    let parsed = OperationId::parse(&id).map_err(|_| missing())?;
    let operation = api.lifecycle.parts().store.operation(&parsed).await?.ok_or_else(missing)?;
    project(&api, &token, operation.project.as_str()).await.map_err(|_| missing())?;
    Ok(Json(OperationBody::from(&operation)))
}

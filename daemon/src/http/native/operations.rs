//! Operations and their steps.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::dto::OperationBody;
use crate::domain::{Caller, OperationId, Role};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::{Found, project};

/// Operations shown per project.
const SHOWN: u32 = 50;

/// The newest operations of a project, newest first.
#[utoipa::path(get, path = "/platform/projects/{id}/operations", responses((status = 200, description = "operations"), (status = 404, body = ErrorBody)))]
pub async fn list(State(api): State<Api>, Found(project): Found) -> ApiResult<Json<Value>> {
    let operations = api.lifecycle.parts().store.operations_of(&project.id, SHOWN).await?;
    let operations: Vec<OperationBody> = operations.iter().map(OperationBody::from).collect();
    Ok(Json(json!({"operations": operations})))
}

/// One operation.
#[utoipa::path(get, path = "/platform/operations/{operation}", responses((status = 200, body = OperationBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> ApiResult<Json<OperationBody>> {
    let missing = || ApiError::not_found("operation", &id);
    let parsed = OperationId::parse(&id).map_err(|_| missing())?;
    let operation = api.lifecycle.parts().store.operation(&parsed).await?.ok_or_else(missing)?;
    // The project is not named by what may not be seen of it.
    project(&api, &caller, operation.project.as_str(), Role::ReadOnly).await.map_err(|error| error.or_missing(missing))?;
    Ok(Json(OperationBody::from(&operation)))
}

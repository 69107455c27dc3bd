//! The last lines of one service.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::live_project;
use crate::domain::ServiceName;
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::store::Token;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// The service.
    service: String,
    /// How many lines; 100 when left out.
    tail: Option<u32>,
}

/// The last lines of a service as text, secrets taken out.
#[utoipa::path(get, path = "/platform/projects/{id}/logs", params(LogsQuery),
    responses((status = 200, description = "text/plain, a line per line"), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn logs(
    State(api): State<Api>,
    Extension(token): Extension<Token>,
    Path(id): Path<String>,
    query: Result<Query<LogsQuery>, axum::extract::rejection::QueryRejection>,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|error| ApiError::shape("service", error.body_text()))?;
    let project = live_project(&api, &token, &id).await?;
    let service = ServiceName::parse(&query.service).map_err(|error| ApiError::shape("service", error))?;
    let most = api.lifecycle.parts().config.limits.log_lines;
    let tail = query.tail.unwrap_or(100.min(most));
    if !(1..=most).contains(&tail) {
        return Err(ApiError::shape("tail", format!("tail must lie between 1 and {most} (limits.log_lines)")));
    }
    let lines = api.lifecycle.logs(&project.id, &service, tail).await?;
    let text: String = lines.iter().map(|line| format!("{} {}\n", line.timestamp, line.text)).collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

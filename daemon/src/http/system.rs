//! Health, readiness, metrics and the specification.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ApiResult};
use crate::clock::rfc3339;

/// Whether changes are taken.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `degraded`.
    pub status: &'static str,
    /// The engine answers and has been listed since the start.
    pub engine: bool,
    /// When it was last listed.
    pub engine_listed_at: Option<String>,
    /// The store answers.
    pub store: bool,
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The process lives")), security(()))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether changes are taken.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Readiness), (status = 503, body = Readiness)), security(()))]
pub async fn readyz(State(api): State<Api>) -> Response {
    let parts = api.lifecycle.parts();
    let engine = parts.sight.listed() && parts.backend.info().await.is_ok();
    let store = parts.store.places().await.is_ok();
    let ready = engine && store;
    let body = Readiness {
        status: if ready { "ready" } else { "degraded" },
        engine,
        engine_listed_at: parts.sight.last().map(rfc3339),
        store,
    };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body)).into_response()
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text")))]
pub async fn metrics(State(api): State<Api>) -> ApiResult<Response> {
    let parts = api.lifecycle.parts();
    let text = parts.metrics.text(&parts.store.count_by_status().await?);
    let text = text.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error))?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This specification.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1")), security(()))]
pub async fn openapi() -> Response {
    Json(super::openapi::document()).into_response()
}

/// Answers hold keys and passwords: no cache keeps them, no browser guesses their type.
pub async fn plain_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

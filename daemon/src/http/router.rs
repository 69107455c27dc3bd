//! Which path leads where.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::{Api, auth, native, system};

/// Everything that is served.
pub fn router(api: Api) -> Router {
    let body_limit = api.lifecycle.parts().config.limits.body_bytes;
    let native = Router::new()
        .route("/platform/projects", post(native::create::create).get(native::read::list))
        .route("/platform/projects/{id}", get(native::read::get).patch(native::update::update).delete(native::change::delete))
        .route("/platform/projects/{id}/pause", post(native::change::pause))
        .route("/platform/projects/{id}/resume", post(native::change::resume))
        .route("/platform/projects/{id}/restart", post(native::change::restart))
        .route("/platform/projects/{id}/cancel", post(native::change::cancel))
        .route("/platform/projects/{id}/retry", post(native::change::retry))
        .route("/platform/projects/{id}/apply", post(native::change::apply))
        .route("/platform/projects/{id}/force", post(native::change::force))
        .route("/platform/projects/{id}/credentials", get(native::read::credentials))
        .route("/platform/projects/{id}/health", get(native::read::health))
        .route("/platform/projects/{id}/resources", get(native::resources::get))
        .route("/platform/projects/{id}/usage", get(native::usage::usage))
        .route("/platform/projects/{id}/logs", get(native::logs::logs))
        .route("/platform/projects/{id}/exec", post(native::exec::exec))
        .route("/platform/projects/{id}/events", get(native::events::events))
        .route("/platform/projects/{id}/operations", get(native::operations::list))
        .route("/platform/lost-projects", get(native::lost::list))
        .route("/platform/lost-projects/{id}", delete(native::lost::purge))
        .route("/platform/lost-projects/{id}/adopt", post(native::lost::adopt))
        .route("/platform/operations/{id}", get(native::operations::get))
        .route("/platform/notifications", get(native::notifications::list))
        .route("/platform/plugins", get(native::plugins::list))
        .route("/platform/plugins/{name}", get(native::plugins::get))
        .route("/platform/plugins/reload", post(native::plugins::reload))
        .route("/platform/plugins/grants", get(native::grants::list))
        .route("/platform/plugins/{name}/grant", put(native::grants::grant).delete(native::grants::revoke))
        .route(
            "/platform/plugins/{name}/trial",
            get(native::trials::get).post(native::trials::begin).put(native::trials::install).delete(native::trials::end),
        )
        .route("/platform/plugins/{name}/promote", post(native::trials::promote))
        .route("/platform/plugins/{name}/rollback", post(native::plugins::rollback))
        .route("/platform/regions", get(native::read::regions))
        .layer(from_fn_with_state(api.clone(), auth::require_token));
    Router::new()
        .merge(native)
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/openapi.json", get(system::openapi))
        .route("/metrics", get(system::metrics).layer(from_fn_with_state(api.clone(), auth::require_token)))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(system::plain_headers))
        .layer(from_fn_with_state(api.clone(), auth::bounded))
        .layer(from_fn(bounded_headers))
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
        .with_state(api)
}

/// Names and values of all headers of a request. hyper takes a hundred of them and 400 KiB before it refuses without a
/// word; nothing of ours needs more than a token and a key.
const HEADER_BYTES: usize = 16 * 1024;

async fn bounded_headers(request: Request, next: Next) -> Response {
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes + request.uri().to_string().len() <= HEADER_BYTES {
        return next.run(request).await;
    }
    let message = format!("address and headers hold more than {HEADER_BYTES} bytes: send less");
    ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message).into_response()
}

async fn nothing_here() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_route", "nothing is served here: see /openapi.json")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path has other methods: see /openapi.json")
}

fn panicked() -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", "the daemon failed inside; this is a defect").into_response()
}

//! Which path leads where, and what it takes to be let in.

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tower_http::catch_panic::CatchPanicLayer;

use super::error::ApiError;
use super::need::Need::{Known, Nothing, Operator, Organization, Project, Told};
use super::need::{Route, routes};
use super::{Api, gate, management, native, setup, system};
use crate::domain::Role::{Administrator, Developer, Owner, ReadOnly};

routes! {
    /// The native dialect and what is not of any: the authorization matrix of the tests has a line for each.
    NATIVE, native:
    "/healthz" { get Nothing => system::healthz }
    "/readyz" { get Nothing => system::readyz }
    "/openapi.json" { get Nothing => system::openapi }
    "/setup" { get Nothing => setup::page, post Nothing => setup::finish }
    "/metrics" { get Operator(ReadOnly) => system::metrics }
    "/platform/projects" { get Known => native::read::list, post Told(Administrator) => native::create::create }
    "/platform/projects/{id}" {
        get Project(ReadOnly) => native::read::get,
        patch Project(Administrator) => native::update::update,
        delete Project(Administrator) => native::change::delete,
    }
    "/platform/projects/{id}/pause" { post Project(Administrator) => native::change::pause }
    "/platform/projects/{id}/resume" { post Project(Administrator) => native::change::resume }
    "/platform/projects/{id}/restart" { post Project(Developer) => native::change::restart }
    "/platform/projects/{id}/cancel" { post Project(Administrator) => native::change::cancel }
    "/platform/projects/{id}/retry" { post Project(Administrator) => native::change::retry }
    "/platform/projects/{id}/apply" { post Project(Administrator) => native::change::apply }
    "/platform/projects/{id}/force" { post Project(Administrator) => native::change::force }
    "/platform/projects/{id}/credentials" { get Project(Owner) => native::read::credentials }
    "/platform/projects/{id}/health" { get Project(ReadOnly) => native::read::health }
    "/platform/projects/{id}/resources" { get Project(ReadOnly) => native::resources::get }
    "/platform/projects/{id}/usage" { get Project(ReadOnly) => native::usage::usage }
    "/platform/projects/{id}/logs" { get Project(ReadOnly) => native::logs::logs }
    "/platform/projects/{id}/exec" { post Project(Owner) => native::exec::exec }
    "/platform/projects/{id}/events" { get Project(ReadOnly) => native::events::events }
    "/platform/projects/{id}/operations" { get Project(ReadOnly) => native::operations::list }
    "/platform/operations/{operation}" { get Told(ReadOnly) => native::operations::get }
    "/platform/lost-projects" { get Operator(Administrator) => native::lost::list }
    "/platform/lost-projects/{id}" { delete Operator(Administrator) => native::lost::purge }
    "/platform/lost-projects/{id}/adopt" { post Operator(Administrator) => native::lost::adopt }
    "/platform/notifications" { get Known => native::notifications::list }
    "/platform/sessions" { post Nothing => native::sessions::begin, delete Known => native::sessions::end }
    "/platform/sessions/refresh" { post Nothing => native::sessions::refresh }
    "/platform/me" { get Known => native::sessions::me }
    "/platform/tokens" { get Known => native::tokens::list, post Known => native::tokens::create }
    "/platform/tokens/{token}" { delete Known => native::tokens::revoke }
    "/platform/organizations" { get Known => native::organizations::list, post Known => native::organizations::create }
    "/platform/organizations/{slug}" {
        get Organization(ReadOnly) => native::organizations::get,
        patch Organization(Owner) => native::organizations::rename,
        delete Organization(Owner) => native::organizations::delete,
    }
    "/platform/organizations/{slug}/members" { get Organization(ReadOnly) => native::members::list }
    "/platform/organizations/{slug}/members/{user}" {
        put Organization(Administrator) => native::members::give,
        delete Organization(Administrator) => native::members::remove,
    }
    "/platform/organizations/{slug}/invitations" {
        get Organization(Administrator) => native::members::invitations,
        post Organization(Administrator) => native::members::invite,
    }
    "/platform/organizations/{slug}/invitations/{invitation}" { delete Organization(Administrator) => native::members::withdraw }
    "/platform/invitations/accept" { post Nothing => native::members::accept }
    "/platform/projects/{id}/members/{user}" {
        put Project(Administrator) => native::members::give_on_project,
        delete Project(Administrator) => native::members::remove_from_project,
    }
    "/platform/audit" { get Told(Owner) => native::audit::list }
    "/platform/regions" { get Known => native::read::regions }
    "/platform/plugins" { get Known => native::plugins::list }
    "/platform/plugins/reload" { post Operator(Owner) => native::plugins::reload }
    "/platform/plugins/grants" { get Operator(Owner) => native::grants::list }
    "/platform/plugins/{name}" { get Known => native::plugins::get }
    "/platform/plugins/{name}/grant" { put Operator(Owner) => native::grants::grant, delete Operator(Owner) => native::grants::revoke }
    "/platform/plugins/{name}/trial" {
        get Operator(Owner) => native::trials::get,
        post Operator(Owner) => native::trials::begin,
        put Operator(Owner) => native::trials::install,
        delete Operator(Owner) => native::trials::end,
    }
    "/platform/plugins/{name}/promote" { post Operator(Owner) => native::trials::promote }
    "/platform/plugins/{name}/rollback" { post Operator(Owner) => native::plugins::rollback }
}

routes! {
    /// Supabase's Management API, as far as it is served.
    MANAGEMENT, management:
    "/v1/profile" { get Known => management::organizations::profile }
    "/v1/organizations" { get Known => management::organizations::list, post Known => management::organizations::create }
    "/v1/organizations/{slug}" { get Organization(ReadOnly) => management::organizations::get }
    "/v1/organizations/{slug}/members" { get Organization(ReadOnly) => management::organizations::members }
    "/v1/projects" { get Known => management::projects::list, post Told(Administrator) => management::projects::create }
    "/v1/projects/{id}" {
        get Project(ReadOnly) => management::projects::get,
        patch Project(Administrator) => management::projects::rename,
        delete Project(Administrator) => management::projects::delete,
    }
    "/v1/projects/{id}/health" { get Project(ReadOnly) => management::health::health }
    "/v1/projects/{id}/pause" { post Project(Administrator) => management::projects::pause }
    "/v1/projects/{id}/restore" { get Project(ReadOnly) => management::projects::restorable, post Project(Administrator) => management::projects::restore }
    "/v1/projects/{id}/restore/cancel" { post Project(Administrator) => management::projects::cancel_restore }
    "/v1/projects/{id}/api-keys" { get Project(Developer) => management::keys::list, post Project(Administrator) => management::keys::unchangeable }
    "/v1/projects/{id}/api-keys/legacy" { get Project(ReadOnly) => management::keys::legacy, put Project(Administrator) => management::keys::set_legacy }
    "/v1/projects/{id}/api-keys/{key}" {
        get Project(Developer) => management::keys::get,
        patch Project(Administrator) => management::keys::unchangeable,
        delete Project(Administrator) => management::keys::unchangeable,
    }
}

/// Everything that is served.
pub fn router(api: Api) -> Router {
    let body_limit = api.lifecycle.parts().config.limits.body_bytes;
    native()
        .merge(management())
        .layer(from_fn_with_state(api.clone(), gate::admit))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(system::plain_headers))
        .layer(from_fn_with_state(api.clone(), bounded))
        .layer(from_fn(bounded_headers))
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
        .with_state(api)
}

/// Counts requests and refuses those beyond the limit.
async fn bounded(State(api): State<Api>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = match api.requests.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", "too many requests at once: try again").into_response(),
    };
    api.lifecycle.parts().metrics.request(&method, &route, response.status().as_u16());
    response
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

async fn nothing_here(uri: Uri) -> Response {
    management::not_served(&uri).unwrap_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "no_route", "nothing is served here: see /openapi.json").into_response()
    })
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path has other methods: see /openapi.json")
}

fn panicked() -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", "the daemon failed inside; this is a defect").into_response()
}

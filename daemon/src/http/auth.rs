//! Bearer tokens, and the bound on requests at once.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::error::ApiError;
use crate::people;

/// Lets a request through when its token is known; handlers find the token as an extension.
pub async fn require_token(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        let message = "send `Authorization: Bearer <token>`; `supamanager token create` makes one";
        return ApiError::new(StatusCode::UNAUTHORIZED, "no_token", message).into_response();
    };
    match people::authenticate(&api.lifecycle.parts().store, token.trim()).await {
        Ok(Some(token)) => {
            request.extensions_mut().insert(token);
            next.run(request).await
        }
        Ok(None) => ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unknown_token",
            "this token is not known here: it was revoked, or made for another data folder",
        )
        .into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// Counts requests and refuses those beyond the limit.
pub async fn bounded(State(api): State<Api>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = match api.requests.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", "too many requests at once: try again").into_response(),
    };
    api.lifecycle.parts().metrics.request(&method, &route, response.status().as_u16());
    response
}

//! Signing in and out, and what somebody is told of themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::rfc3339;
use crate::domain::{Caller, Proof, Secret, User};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::people::Grant;

/// `POST /platform/sessions`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    /// Of the user, in any case.
    pub email: String,
    /// The password.
    pub password: String,
}

/// `POST /platform/sessions/refresh`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// Of the newest answer: each is good once.
    pub refresh_token: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub struct SessionBody {
    /// A JWT for `Authorization: Bearer`.
    pub access_token: String,
    /// `bearer`.
    pub token_type: &'static str,
    /// Seconds it is good for.
    pub expires_in: u64,
    /// Until when, in seconds since the epoch.
    pub expires_at: i64,
    /// Good once.
    pub refresh_token: String,
    /// Whose.
    pub user: UserBody,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserBody {
    /// A UUID.
    pub id: String,
    /// In lower case.
    pub email: String,
    /// May be empty.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
    /// Shut out.
    pub disabled: bool,
}

/// Which sessions end.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SignOutQuery {
    /// Every session of the user, not this one alone.
    #[serde(default)]
    everywhere: bool,
}

/// Who calls, and what they may.
#[derive(Serialize, ToSchema)]
pub struct MeBody {
    /// Of the token or the user.
    pub id: String,
    /// The token's name or the user's address.
    pub name: String,
    /// `token` or `session`.
    pub proof: &'static str,
    /// The user, if it is one's.
    pub user: Option<UserBody>,
    /// Where a project goes that names no organisation.
    pub organization_id: String,
    /// Organisation and role.
    pub organizations: Vec<RoleBody>,
}

/// A role in an organisation.
#[derive(Serialize, ToSchema)]
pub struct RoleBody {
    /// Its slug.
    pub organization_id: String,
    /// `read-only`, `developer`, `administrator` or `owner`.
    pub role: &'static str,
}

impl From<&User> for UserBody {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            email: user.email.clone(),
            name: user.name.clone(),
            created_at: rfc3339(user.created_at),
            disabled: user.disabled_at.is_some(),
        }
    }
}

impl From<Grant> for SessionBody {
    fn from(grant: Grant) -> Self {
        Self {
            access_token: grant.access_token.expose().clone(),
            token_type: "bearer",
            expires_in: grant.expires_in,
            expires_at: grant.expires_at,
            refresh_token: grant.refresh_token.expose().clone(),
            user: (&grant.user).into(),
        }
    }
}

/// Begins a session. Tries are counted by address of the user and of the network (`people.tries_per_minute`).
#[utoipa::path(post, path = "/platform/sessions", request_body = SignInBody, security(()),
    responses((status = 201, body = SessionBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub async fn begin(
    State(api): State<Api>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    JsonBody { value: body, .. }: JsonBody<SignInBody>,
) -> ApiResult<(StatusCode, Json<SessionBody>)> {
    let network = peer.map(|Extension(ConnectInfo(peer))| peer.ip());
    let grant = api.people.sign_in(&body.email, Secret::new(body.password), network).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

/// Goes on with a session. A refresh token that comes a second time ends it.
#[utoipa::path(post, path = "/platform/sessions/refresh", request_body = RefreshBody, security(()),
    responses((status = 200, body = SessionBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub async fn refresh(
    State(api): State<Api>,
    JsonBody { value: body, .. }: JsonBody<RefreshBody>,
) -> ApiResult<Json<SessionBody>> {
    Ok(Json(api.people.refresh(&body.refresh_token).await?.into()))
}

/// Ends the session of this access token.
#[utoipa::path(delete, path = "/platform/sessions", params(SignOutQuery),
    responses((status = 204, description = "It has ended"), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn end(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
    query: Result<Query<SignOutQuery>, QueryRejection>,
) -> ApiResult<StatusCode> {
    let Query(SignOutQuery { everywhere }) = query.map_err(|error| ApiError::shape("everywhere", error.body_text()))?;
    if caller.proof == Proof::Token {
        let message = "this is an access token and no session: DELETE /platform/tokens/{token} revokes one";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_session", message));
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    api.people.sign_out(bearer.trim_start_matches("Bearer ").trim(), everywhere).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who calls, and what they may.
#[utoipa::path(get, path = "/platform/me", responses((status = 200, body = MeBody)))]
pub async fn me(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<MeBody>> {
    let user = match &caller.user_id {
        Some(id) => api.lifecycle.parts().store.user(id).await?,
        None => None,
    };
    let role = |(id, role): (&str, crate::domain::Role)| RoleBody { organization_id: id.to_owned(), role: role.as_str() };
    Ok(Json(MeBody {
        id: caller.id.clone(),
        name: caller.name.clone(),
        proof: if caller.proof == Proof::Token { "token" } else { "session" },
        user: user.as_ref().map(UserBody::from),
        organization_id: caller.home.clone(),
        organizations: caller.roles().map(role).collect(),
    }))
}

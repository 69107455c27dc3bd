//! A user's access tokens: what the command line, Terraform and scripts show.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::members::{role_of, some_projects};
use crate::clock::rfc3339;
use crate::domain::{Caller, ProjectRef, Proof, Scope};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::in_organization;
use crate::people::{NewToken, create_token};
use crate::store::Token;

/// `POST /platform/tokens`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTokenBody {
    /// What it is for.
    pub name: String,
    /// At most this role; left out: as much as its user.
    pub role: Option<String>,
    /// Only in this organisation.
    pub organization_id: Option<String>,
    /// Only on these projects.
    #[schema(value_type = Option<Vec<String>>)]
    pub projects: Option<BTreeSet<ProjectRef>>,
    /// Seconds it is good for; left out: until it is revoked.
    pub expires_in: Option<u64>,
}

/// A new token, shown once.
#[derive(Serialize, ToSchema)]
pub struct MadeTokenBody {
    /// The token itself.
    pub access_token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub token: TokenBody,
}

/// A token.
#[derive(Serialize, ToSchema)]
pub struct TokenBody {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its beginning and end.
    pub hint: String,
    /// At most this role.
    pub role: Option<&'static str>,
    /// Only in this organisation.
    pub organization_id: Option<String>,
    /// Only on these projects.
    pub projects: Vec<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; null: until it is revoked.
    pub expires_at: Option<String>,
    /// RFC 3339, to the minute; null: never.
    pub last_used_at: Option<String>,
}

/// A user's tokens.
#[derive(Serialize, ToSchema)]
pub struct TokensBody {
    /// The newest first.
    pub tokens: Vec<TokenBody>,
}

impl From<&Token> for TokenBody {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            hint: token.hint.clone(),
            role: token.scope.role.map(crate::domain::Role::as_str),
            organization_id: token.scope.organization_id.clone(),
            projects: token.scope.projects.iter().map(ToString::to_string).collect(),
            created_at: rfc3339(token.created_at),
            expires_at: token.expires_at.map(rfc3339),
            last_used_at: token.last_used_at.map(rfc3339),
        }
    }
}

/// The caller's own tokens, revoked ones left out.
#[utoipa::path(get, path = "/platform/tokens", responses((status = 200, body = TokensBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn list(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<TokensBody>> {
    whole(&caller)?;
    let tokens = api.lifecycle.parts().store.tokens_of_user(user(&caller)?).await?;
    Ok(Json(TokensBody { tokens: tokens.iter().map(TokenBody::from).collect() }))
}

/// Makes a token for the caller, who shows a session: a token does not make others.
#[utoipa::path(post, path = "/platform/tokens", request_body = NewTokenBody,
    responses((status = 201, body = MadeTokenBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody { value: body, .. }: JsonBody<NewTokenBody>,
) -> ApiResult<(StatusCode, Json<MadeTokenBody>)> {
    let user = user(&caller)?;
    if caller.proof == Proof::Token {
        let message = "a token that was found could make itself others: sign in (POST /platform/sessions) to make one";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "session_needed", message));
    }
    if let Some(organization) = &body.organization_id {
        in_organization(&caller, organization, crate::domain::Role::ReadOnly)?;
    }
    let role = body.role.as_deref().map(role_of).transpose()?;
    let home = body.organization_id.clone().unwrap_or_else(|| caller.home.clone());
    if home.is_empty() {
        let message = "you are in no organisation: make one first (POST /platform/organizations)";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_organization", message));
    }
    let parts = api.lifecycle.parts();
    let scope = Scope { role, organization_id: body.organization_id, projects: some_projects(body.projects)? };
    let new = NewToken { name: &body.name, user_id: Some(user), organization_id: &home, scope, life_s: body.expires_in };
    let made = create_token(&parts.store, &parts.clock, new).await?;
    api.audit(&caller, "token.create", None, &json!({"token": made.token.id, "name": made.token.name})).await?;
    let answer = MadeTokenBody { access_token: made.secret.expose().clone(), token: (&made.token).into() };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes a token of the caller.
#[utoipa::path(delete, path = "/platform/tokens/{token}",
    responses((status = 204, description = "It is good for nothing"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(token): Path<String>,
) -> ApiResult<StatusCode> {
    let user = user(&caller)?;
    // Any token may end itself.
    if token != caller.id {
        whole(&caller)?;
    }
    let parts = api.lifecycle.parts();
    if !parts.store.revoke_token(&token, Some(user), parts.clock.now()).await? {
        return Err(ApiError::not_found("token", &token));
    }
    api.audit(&caller, "token.revoke", None, &json!({"token": token})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Not a token that was made to do less than its user.
fn whole(caller: &Caller) -> ApiResult<()> {
    if caller.scope == Scope::default() {
        return Ok(());
    }
    let message = "this token has a scope: its user's other tokens are not within it";
    Err(ApiError::new(StatusCode::FORBIDDEN, "scope", message))
}

fn user(caller: &Caller) -> ApiResult<&str> {
    let message = "this token belongs to no user: `supamanager token` makes, lists and revokes such tokens";
    caller.user_id.as_deref().ok_or_else(|| ApiError::new(StatusCode::CONFLICT, "no_user", message))
}

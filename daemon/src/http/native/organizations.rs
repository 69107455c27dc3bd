//! Organisations.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::clock::rfc3339;
use crate::domain::{Caller, Organization};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::FIRST_ORGANIZATION;
use crate::people::{Done, PeopleError};

/// `POST /platform/organizations`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganizationBody {
    /// For people.
    pub name: String,
    /// For addresses; left out: made of the name.
    pub slug: Option<String>,
}

/// `PATCH /platform/organizations/{slug}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameBody {
    /// For people.
    pub name: String,
}

/// An organisation.
#[derive(Serialize, ToSchema)]
pub struct OrganizationBody {
    /// Its slug.
    pub id: String,
    /// For people.
    pub name: String,
    /// The caller's role in it.
    pub role: &'static str,
    /// RFC 3339.
    pub created_at: String,
}

/// Organisations.
#[derive(Serialize, ToSchema)]
pub struct OrganizationsBody {
    /// In the order they came.
    pub organizations: Vec<OrganizationBody>,
}

fn body(caller: &Caller, organization: &Organization) -> Option<OrganizationBody> {
    Some(OrganizationBody {
        id: organization.id.clone(),
        name: organization.name.clone(),
        role: caller.role_in(&organization.id)?.as_str(),
        created_at: rfc3339(organization.created_at),
    })
}

/// The organisations that the caller has a role in.
#[utoipa::path(get, path = "/platform/organizations", responses((status = 200, body = OrganizationsBody)))]
pub async fn list(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<OrganizationsBody>> {
    let organizations = api.lifecycle.parts().store.organizations().await?;
    Ok(Json(OrganizationsBody { organizations: organizations.iter().filter_map(|one| body(&caller, one)).collect() }))
}

/// Makes an organisation, which the caller's user owns.
#[utoipa::path(post, path = "/platform/organizations", request_body = NewOrganizationBody,
    responses((status = 201, body = OrganizationBody), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody { value, .. }: JsonBody<NewOrganizationBody>,
) -> ApiResult<(StatusCode, Json<OrganizationBody>)> {
    may_create(&caller)?;
    let made = api.people.create_organization(&caller, &value.name, value.slug.as_deref()).await?;
    let role = crate::domain::Role::Owner.as_str();
    let answer = OrganizationBody { id: made.id, name: made.name, role, created_at: rfc3339(made.created_at) };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// One organisation.
#[utoipa::path(get, path = "/platform/organizations/{slug}", responses((status = 200, body = OrganizationBody), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(slug): Path<String>,
) -> ApiResult<Json<OrganizationBody>> {
    Ok(Json(one(&api, &caller, &slug).await?))
}

/// Gives an organisation another name; its slug stays.
#[utoipa::path(patch, path = "/platform/organizations/{slug}", request_body = RenameBody,
    responses((status = 200, body = OrganizationBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn rename(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(slug): Path<String>,
    JsonBody { value, .. }: JsonBody<RenameBody>,
) -> ApiResult<Json<OrganizationBody>> {
    api.people.rename_organization(&caller, &slug, &value.name).await?;
    Ok(Json(one(&api, &caller, &slug).await?))
}

/// Deletes an organisation without projects: its people lose it at once, its slug stays taken.
#[utoipa::path(delete, path = "/platform/organizations/{slug}",
    responses((status = 204, description = "It is gone"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(slug): Path<String>,
) -> ApiResult<StatusCode> {
    if slug == FIRST_ORGANIZATION {
        let message = format!("`{FIRST_ORGANIZATION}` runs the installation: it stays");
        return Err(ApiError::new(StatusCode::CONFLICT, "refused", message));
    }
    let parts = api.lifecycle.parts();
    parts.store.delete_organization(&slug, parts.clock.now()).await.map_err(PeopleError::from)?;
    let done = Done { action: "organization.delete", organization: Some(&slug), project: None, detail: &json!({}) };
    api.people.audit(&caller, done).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user, with everything they are.
pub fn may_create(caller: &Caller) -> ApiResult<()> {
    if caller.user_id.is_some() && caller.scope == crate::domain::Scope::default() {
        return Ok(());
    }
    let message = "an organisation belongs to the user who makes it: use a session, or a token of a user without a scope";
    Err(ApiError::new(StatusCode::CONFLICT, "no_user", message))
}

async fn one(api: &Api, caller: &Caller, slug: &str) -> ApiResult<OrganizationBody> {
    let organizations = api.lifecycle.parts().store.organizations().await?;
    let found = organizations.iter().find(|organization| organization.id == slug).and_then(|one| body(caller, one));
    found.ok_or_else(|| ApiError::not_found("organisation", slug))
}

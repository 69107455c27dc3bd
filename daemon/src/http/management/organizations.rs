//! `/v1/organizations` and `/v1/profile`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::words;
use crate::domain::{Caller, Organization};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult};

/// `POST /v1/organizations`. What else upstream takes has no meaning here.
#[derive(Deserialize)]
pub struct CreateBody {
    name: String,
}

/// An organisation. Its id is its slug.
#[derive(Serialize)]
pub struct OrganizationBody {
    id: String,
    slug: String,
    name: String,
}

/// One organisation.
#[derive(Serialize)]
pub struct WholeBody {
    id: String,
    slug: String,
    name: String,
    plan: &'static str,
    opt_in_tags: [&'static str; 0],
    allowed_release_channels: [&'static str; 1],
}

/// Somebody of an organisation.
#[derive(Serialize)]
pub struct MemberBody {
    user_id: String,
    user_name: String,
    email: String,
    role_name: &'static str,
    mfa_enabled: bool,
}

/// Who calls.
#[derive(Serialize)]
pub struct ProfileBody {
    gotrue_id: String,
    primary_email: String,
    username: String,
}

impl From<Organization> for OrganizationBody {
    fn from(Organization { id, name, .. }: Organization) -> Self {
        Self { slug: id.clone(), id, name }
    }
}

/// The organisations that the caller has a role in.
pub async fn list(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<Vec<OrganizationBody>>> {
    let organizations = api.lifecycle.parts().store.organizations().await?;
    let seen = organizations.into_iter().filter(|organization| caller.role_in(&organization.id).is_some());
    Ok(Json(seen.map(OrganizationBody::from).collect()))
}

/// Makes an organisation; its slug is made of the name.
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody { value, .. }: JsonBody<CreateBody>,
) -> ApiResult<(StatusCode, Json<OrganizationBody>)> {
    crate::http::native::organizations::may_create(&caller)?;
    let made = api.people.create_organization(&caller, &value.name, None).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One organisation.
pub async fn get(State(api): State<Api>, Path(slug): Path<String>) -> ApiResult<Json<WholeBody>> {
    let organizations = api.lifecycle.parts().store.organizations().await?;
    let found = organizations.into_iter().find(|organization| organization.id == slug);
    let Organization { id, name, .. } = found.ok_or_else(|| ApiError::not_found("organisation", &slug))?;
    let allowed_release_channels = ["ga"];
    Ok(Json(WholeBody { slug: id.clone(), id, name, plan: "enterprise", opt_in_tags: [], allowed_release_channels }))
}

/// Its people.
pub async fn members(State(api): State<Api>, Path(slug): Path<String>) -> ApiResult<Json<Vec<MemberBody>>> {
    let members = api.lifecycle.parts().store.members(&slug).await?;
    let body = |member: crate::store::Member| {
        let highest = member.role.max(member.projects.values().max().copied());
        MemberBody {
            user_id: member.user.id,
            user_name: if member.user.name.is_empty() { member.user.email.clone() } else { member.user.name },
            email: member.user.email,
            role_name: highest.map_or("", words::role),
            mfa_enabled: false,
        }
    };
    Ok(Json(members.into_iter().map(body).collect()))
}

/// Who calls: the user, or the name of a token that is nobody's.
pub async fn profile(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<ProfileBody>> {
    let user = match &caller.user_id {
        Some(id) => api.lifecycle.parts().store.user(id).await?,
        None => None,
    };
    let (gotrue_id, primary_email) = match user {
        Some(user) => (user.id, user.email),
        None => (caller.id.clone(), caller.name.clone()),
    };
    Ok(Json(ProfileBody { gotrue_id, username: primary_email.clone(), primary_email }))
}

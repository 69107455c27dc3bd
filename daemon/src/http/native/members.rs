//! The people of an organisation, and invitations into it. Nobody gives or takes a role above their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::sessions::UserBody;
use crate::clock::rfc3339;
use crate::domain::{Caller, ProjectRef, Proof, Role, Secret};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::{Live, in_organization};
use crate::people::{Done, Guest};
use crate::store::{Invitation, Member};

/// A role to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveBody {
    /// `read-only`, `developer`, `administrator` or `owner`.
    pub role: String,
}

/// Everybody of an organisation.
#[derive(Serialize, ToSchema)]
pub struct MembersBody {
    /// By address.
    pub members: Vec<MemberBody>,
}

/// Somebody of an organisation.
#[derive(Serialize, ToSchema)]
pub struct MemberBody {
    /// Who.
    pub user: UserBody,
    /// Their role in it; null: on some of its projects alone.
    pub role: Option<&'static str>,
    /// Ref and role of those projects where they have another.
    pub projects: BTreeMap<String, &'static str>,
}

/// `POST /platform/organizations/{slug}/invitations`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteBody {
    /// Whom.
    pub email: String,
    /// As what.
    pub role: String,
    /// On these projects alone; left out: in the whole organisation.
    #[schema(value_type = Option<Vec<String>>)]
    pub projects: Option<BTreeSet<ProjectRef>>,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
pub struct InvitationBody {
    /// Its id.
    pub id: String,
    /// Whom.
    pub email: String,
    /// As what.
    pub role: &'static str,
    /// On these projects alone.
    pub projects: Vec<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// A new invitation, with what takes it: shown once.
#[derive(Serialize, ToSchema)]
pub struct InvitedBody {
    /// For POST /platform/invitations/accept: hand it to them.
    pub secret: String,
    /// What is kept.
    #[serde(flatten)]
    pub invitation: InvitationBody,
}

/// Open invitations.
#[derive(Serialize, ToSchema)]
pub struct InvitationsBody {
    /// The newest first.
    pub invitations: Vec<InvitationBody>,
}

/// `POST /platform/invitations/accept`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptBody {
    /// Of the invitation.
    pub secret: String,
    /// A new user's name; may be left out.
    #[serde(default)]
    pub name: String,
    /// A new user's password, or that of the user who has the address already.
    pub password: String,
}

/// Who joined.
#[derive(Serialize, ToSchema)]
pub struct JoinedBody {
    /// Of the user.
    pub user_id: String,
}

impl From<&Member> for MemberBody {
    fn from(member: &Member) -> Self {
        Self {
            user: (&member.user).into(),
            role: member.role.map(Role::as_str),
            projects: member.projects.iter().map(|(id, role)| (id.to_string(), role.as_str())).collect(),
        }
    }
}

impl From<&Invitation> for InvitationBody {
    fn from(invitation: &Invitation) -> Self {
        Self {
            id: invitation.id.clone(),
            email: invitation.email.clone(),
            role: invitation.role.as_str(),
            projects: invitation.projects.iter().map(ToString::to_string).collect(),
            created_at: rfc3339(invitation.created_at),
            expires_at: rfc3339(invitation.expires_at),
        }
    }
}

/// Everybody of an organisation, those with a role on one of its projects alone too.
#[utoipa::path(get, path = "/platform/organizations/{slug}/members", responses((status = 200, body = MembersBody), (status = 404, body = ErrorBody)))]
pub async fn list(State(api): State<Api>, Path(slug): Path<String>) -> ApiResult<Json<MembersBody>> {
    let members = api.lifecycle.parts().store.members(&slug).await?;
    Ok(Json(MembersBody { members: members.iter().map(MemberBody::from).collect() }))
}

/// Gives a member another role in the organisation.
#[utoipa::path(put, path = "/platform/organizations/{slug}/members/{user}", request_body = GiveBody,
    responses((status = 204, description = "They have it"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn give(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((slug, user)): Path<(String, String)>,
    JsonBody { value: body, .. }: JsonBody<GiveBody>,
) -> ApiResult<StatusCode> {
    let role = role_of(&body.role)?;
    in_person(&caller)?;
    within(in_organization(&caller, &slug, Role::Administrator)?, Some(role))?;
    changed(&api, &caller, &slug, &user, Some(role)).await
}

/// Takes somebody's roles in an organisation and on its projects.
#[utoipa::path(delete, path = "/platform/organizations/{slug}/members/{user}",
    responses((status = 204, description = "They have none"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn remove(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((slug, user)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    changed(&api, &caller, &slug, &user, None).await
}

async fn changed(api: &Api, caller: &Caller, slug: &str, user: &str, role: Option<Role>) -> ApiResult<StatusCode> {
    let parts = api.lifecycle.parts();
    let member = member(api, slug, user).await?;
    let highest = member.role.max(member.projects.values().max().copied());
    within(in_organization(caller, slug, Role::Administrator)?, highest)?;
    parts.store.set_member(slug, user, role, parts.clock.now()).await.map_err(crate::people::PeopleError::from)?;
    let detail = json!({"user": user, "email": member.user.email, "role": role, "before": member.role});
    let action = if role.is_some() { "member.role" } else { "member.remove" };
    api.people.audit(caller, Done { action, organization: Some(slug), project: None, detail: &detail }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a member of the organisation a role on one project, where it counts if it is the higher one.
#[utoipa::path(put, path = "/platform/projects/{id}/members/{user}", request_body = GiveBody,
    responses((status = 204, description = "They have it"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn give_on_project(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, user)): Path<(String, String)>,
    Live(project): Live,
    JsonBody { value: body, .. }: JsonBody<GiveBody>,
) -> ApiResult<StatusCode> {
    let role = role_of(&body.role)?;
    in_person(&caller)?;
    within(caller.role_on(&project.organization_id, &project.id).unwrap_or(Role::ReadOnly), Some(role))?;
    changed_on_project(&api, &caller, &project, &user, Some(role)).await
}

/// Takes somebody's role on one project; what the organisation gives them there stays.
#[utoipa::path(delete, path = "/platform/projects/{id}/members/{user}",
    responses((status = 204, description = "They have none"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn remove_from_project(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, user)): Path<(String, String)>,
    Live(project): Live,
) -> ApiResult<StatusCode> {
    changed_on_project(&api, &caller, &project, &user, None).await
}

async fn changed_on_project(
    api: &Api,
    caller: &Caller,
    project: &crate::domain::Project,
    user: &str,
    role: Option<Role>,
) -> ApiResult<StatusCode> {
    let parts = api.lifecycle.parts();
    let member = member(api, &project.organization_id, user).await?;
    let before = member.projects.get(&project.id).copied();
    within(caller.role_on(&project.organization_id, &project.id).unwrap_or(Role::ReadOnly), before)?;
    parts.store.set_project_member(&project.id, user, role, parts.clock.now()).await?;
    let detail = json!({"user": user, "email": member.user.email, "role": role, "before": before});
    api.audit(caller, "project.member", Some(project), &detail).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The invitations that can still be taken.
#[utoipa::path(get, path = "/platform/organizations/{slug}/invitations", responses((status = 200, body = InvitationsBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn invitations(State(api): State<Api>, Path(slug): Path<String>) -> ApiResult<Json<InvitationsBody>> {
    let parts = api.lifecycle.parts();
    let invitations = parts.store.invitations(&slug, parts.clock.now()).await?;
    Ok(Json(InvitationsBody { invitations: invitations.iter().map(InvitationBody::from).collect() }))
}

/// Invites an address. Its secret is in the answer: nothing is mailed.
#[utoipa::path(post, path = "/platform/organizations/{slug}/invitations", request_body = InviteBody,
    responses((status = 201, body = InvitedBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn invite(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(slug): Path<String>,
    JsonBody { value: body, .. }: JsonBody<InviteBody>,
) -> ApiResult<(StatusCode, Json<InvitedBody>)> {
    let role = role_of(&body.role)?;
    within(in_organization(&caller, &slug, Role::Administrator)?, Some(role))?;
    let projects = some_projects(body.projects)?;
    in_person(&caller)?;
    for id in &projects {
        let project = api.lifecycle.parts().store.project(id).await?;
        project.filter(|project| project.organization_id == slug).ok_or_else(|| ApiError::not_found("project", id.as_str()))?;
    }
    let guest = Guest { email: &body.email, role, projects };
    let invited = api.people.invite(&caller, &slug, guest).await?;
    let answer = InvitedBody { secret: invited.secret.expose().clone(), invitation: (&invited.invitation).into() };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Withdraws an invitation.
#[utoipa::path(delete, path = "/platform/organizations/{slug}/invitations/{invitation}",
    responses((status = 204, description = "It can not be taken any more"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn withdraw(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((slug, invitation)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let parts = api.lifecycle.parts();
    if !parts.store.withdraw_invitation(&slug, &invitation, parts.clock.now()).await? {
        return Err(ApiError::not_found("invitation", &invitation));
    }
    let detail = json!({"invitation": invitation});
    let done = Done { action: "member.withdraw", organization: Some(&slug), project: None, detail: &detail };
    api.people.audit(&caller, done).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Joins by an invitation: as a new user, or as the one who has its address.
#[utoipa::path(post, path = "/platform/invitations/accept", request_body = AcceptBody, security(()),
    responses((status = 201, body = JoinedBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn accept(
    State(api): State<Api>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    JsonBody { value: body, .. }: JsonBody<AcceptBody>,
) -> ApiResult<(StatusCode, Json<JoinedBody>)> {
    let network = peer.map(|Extension(ConnectInfo(peer))| peer.ip());
    let user_id = api.people.take_invitation(&body.secret, &body.name, Secret::new(body.password), network).await?;
    Ok((StatusCode::CREATED, Json(JoinedBody { user_id })))
}

/// The role of a word from outside.
pub(super) fn role_of(word: &str) -> ApiResult<Role> {
    let known = Role::ALL.map(Role::as_str).join(", ");
    Role::from_word(word).ok_or_else(|| ApiError::shape("role", format!("role must be one of {known}")))
}

/// Left out is everything; an empty list is most likely what a filter left, and would be everything too.
pub(super) fn some_projects(projects: Option<BTreeSet<ProjectRef>>) -> ApiResult<BTreeSet<ProjectRef>> {
    match projects {
        Some(projects) if projects.is_empty() => {
            Err(ApiError::shape("projects", "projects is empty: name at least one, or leave it out for all of them"))
        }
        projects => Ok(projects.unwrap_or_default()),
    }
}

/// Whoever found a user's token could give a role to themselves that outlives it.
fn in_person(caller: &Caller) -> ApiResult<()> {
    if caller.proof == Proof::Session || caller.user_id.is_none() {
        return Ok(());
    }
    let message = "a role that a token gives would outlive it: sign in (POST /platform/sessions) to give one";
    Err(ApiError::new(StatusCode::FORBIDDEN, "session_needed", message))
}

/// A role that is given or taken lies within the one who does it.
fn within(own: Role, other: Option<Role>) -> ApiResult<()> {
    match other {
        Some(other) if other > own => {
            let message =
                format!("you are {}: only a role up to that can be given or taken, and this is {}", own.as_str(), other.as_str());
            Err(ApiError::new(StatusCode::FORBIDDEN, "role_too_low", message).field("role"))
        }
        _ => Ok(()),
    }
}

async fn member(api: &Api, slug: &str, user: &str) -> ApiResult<Member> {
    let members = api.lifecycle.parts().store.members(slug).await?;
    let missing = || ApiError::not_found("member", user);
    members.into_iter().find(|member| member.user.id == user).ok_or_else(missing)
}

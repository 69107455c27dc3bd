//! Who calls, and whether they may: before any handler runs, by what the table of routes says.

use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::error::{ApiError, ApiResult};
use super::need::{Need, Route};
use super::router::{MANAGEMENT, NATIVE};
use crate::domain::{Caller, Project, ProjectRef, ProjectStatus, Role};

/// The organisation that is there from the first start: the operator's, and whose a lost project is when nothing tells.
pub const FIRST_ORGANIZATION: &str = "default";

/// A deleted project answers so long (decision 5), then it is not there.
const TOMBSTONE_MS: i64 = 30 * 24 * 3600 * 1000;

/// The project of the path, which the caller may do this with.
pub struct Found(pub Project);

/// The same, and not deleted.
pub struct Live(pub Project);

/// The same for dialects that know no deleted project: it is not there.
pub struct There(pub Project);

/// Lets a request through when its caller may; handlers find caller and project as extensions.
pub async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match check(&api, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn check(api: &Api, request: &mut Request) -> ApiResult<()> {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // Another method of a known path: the router answers 405 by itself.
    let Some(need) = need_of(request.method(), &path) else { return Ok(()) };
    if need == Need::Nothing {
        return Ok(());
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(bearer) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        let message = "send `Authorization: Bearer <token>`; `supamanager token create` makes one";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_token", message));
    };
    let caller = Arc::new(api.people.authenticate(bearer.trim()).await?);
    match need {
        Need::Nothing | Need::Known | Need::Told(_) => {}
        Need::Operator(least) => operator(&caller, least)?,
        Need::Organization(least) => {
            let slug = parameter(request, "slug").await;
            in_organization(&caller, &slug, least)?;
        }
        Need::Project(least) => {
            let id = parameter(request, "id").await;
            let project = project(api, &caller, &id, least).await?;
            request.extensions_mut().insert(project);
        }
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

fn need_of(method: &Method, path: &str) -> Option<Need> {
    // axum answers HEAD with what answers GET.
    let method = if method == Method::HEAD { Method::GET } else { method.clone() };
    let wanted = |route: &&Route| route.path == path && route.method.eq_ignore_ascii_case(method.as_str());
    NATIVE.iter().chain(MANAGEMENT).find(wanted).map(|route| route.need)
}

async fn parameter(request: &mut Request, name: &str) -> String {
    let parameters = request.extract_parts::<RawPathParams>().await.ok();
    let found = parameters.iter().flatten().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    found.unwrap_or_default()
}

/// The project of this id, if the caller's role on it is at least this one. What somebody may not see is not there.
pub async fn project(api: &Api, caller: &Caller, id: &str, least: Role) -> ApiResult<Project> {
    let missing = || ApiError::not_found("project", id);
    let id = ProjectRef::parse(id).map_err(|_| missing())?;
    let parts = api.lifecycle.parts();
    let project = parts.store.project(&id).await?.ok_or_else(missing)?;
    let expired = project.deleted_at.is_some_and(|at| parts.clock.now() - at > TOMBSTONE_MS);
    let role = caller.role_on(&project.organization_id, &project.id).filter(|_| !expired).ok_or_else(missing)?;
    at_least(role, least, "on this project")?;
    Ok(project)
}

/// The caller's role in this organisation, if it is at least this one.
pub fn in_organization(caller: &Caller, slug: &str, least: Role) -> ApiResult<Role> {
    let missing = || ApiError::not_found("organisation", slug);
    let role = caller.role_in(slug).ok_or_else(missing)?;
    at_least(role, least, "in this organisation")?;
    Ok(role)
}

/// What concerns the whole installation is for the people of its first organisation.
fn operator(caller: &Caller, least: Role) -> ApiResult<()> {
    if caller.role_in(FIRST_ORGANIZATION).is_some_and(|role| role >= least) {
        return Ok(());
    }
    let message = format!("this concerns all organisations: it takes the role {} in `{FIRST_ORGANIZATION}`", least.as_str());
    Err(ApiError::new(StatusCode::FORBIDDEN, "operator_only", message))
}

fn at_least(role: Role, least: Role, place: &str) -> ApiResult<()> {
    if role >= least {
        return Ok(());
    }
    let message = format!("you are {} {place}: this takes {}, which an owner can make you", role.as_str(), least.as_str());
    Err(ApiError::new(StatusCode::FORBIDDEN, "role_too_low", message))
}

impl<S: Send + Sync> FromRequestParts<S> for Found {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        // A route without `Need::Project` has none.
        let missing = || ApiError::not_found("project", "");
        parts.extensions.remove::<Project>().map(Self).ok_or_else(missing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Live {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Found(project) = Found::from_request_parts(parts, state).await?;
        if project.status == ProjectStatus::Deleted {
            let message = "the project is DELETED: nothing can be done with it";
            return Err(ApiError::new(StatusCode::CONFLICT, "wrong_state", message));
        }
        Ok(Self(project))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for There {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Found(project) = Found::from_request_parts(parts, state).await?;
        if project.status == ProjectStatus::Deleted {
            return Err(ApiError::not_found("project", project.id.as_str()));
        }
        Ok(Self(project))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_found_by_method_and_path() {
        let need = |method: Method, path: &str| need_of(&method, path);
        assert_eq!(need(Method::GET, "/platform/projects/{id}"), Some(Need::Project(Role::ReadOnly)));
        assert_eq!(need(Method::HEAD, "/platform/projects/{id}"), Some(Need::Project(Role::ReadOnly)));
        assert_eq!(need(Method::DELETE, "/platform/projects/{id}"), Some(Need::Project(Role::Administrator)));
        assert_eq!(need(Method::PUT, "/platform/projects/{id}"), None);
        assert_eq!(need(Method::GET, "/platform/projects/abc"), None);
    }

    #[test]
    fn paths_have_the_parameter_that_their_need_reads() {
        for Route { method, path, need } in NATIVE.iter().chain(MANAGEMENT) {
            let wanted = match need {
                Need::Project(_) => "{id}",
                Need::Organization(_) => "{slug}",
                _ => "",
            };
            assert!(path.contains(wanted), "{method} {path} needs {need:?}");
        }
    }

    #[test]
    fn whoever_may_not_see_is_told_that_it_is_not_there() {
        let caller = |role| Caller {
            id: "1".into(),
            name: "x".into(),
            proof: crate::domain::Proof::Token,
            user_id: None,
            home: "ours".into(),
            organizations: [("ours".to_owned(), role)].into(),
            projects: Default::default(),
            scope: Default::default(),
        };
        let status = |result: ApiResult<Role>| result.map_err(|error| error.into_response().status());
        let reader = caller(Role::ReadOnly);
        assert_eq!(status(in_organization(&reader, "ours", Role::ReadOnly)), Ok(Role::ReadOnly));
        assert_eq!(status(in_organization(&reader, "ours", Role::Developer)), Err(StatusCode::FORBIDDEN));
        assert_eq!(status(in_organization(&reader, "theirs", Role::ReadOnly)), Err(StatusCode::NOT_FOUND));
        let refused = operator(&caller(Role::Owner), Role::ReadOnly).map_err(|error| error.into_response().status());
        assert_eq!(refused, Err(StatusCode::FORBIDDEN));
    }
}

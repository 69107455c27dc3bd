//! Reads: they answer whatever the engine does, and say how old their sight is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::dto::{
    CredentialsBody, HealthCheckBody, ListBody, ProjectBody, SummaryBody, UsageBody, api_keys, database_url, logins,
};
use crate::clock::rfc3339;
use crate::domain::{Caller, Project, ProjectRef, ProjectStatus};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::{Found, Live};
use crate::store::{ListFilter, Observation};

/// Largest page.
const PAGE_MAX: u32 = 200;

/// What a list may be narrowed to.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Page size, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only in this state.
    status: Option<String>,
    /// Only of this organisation.
    organization_id: Option<String>,
}

/// The projects that the caller may see, deleted ones left out unless asked for by status.
#[utoipa::path(get, path = "/platform/projects", params(ListQuery), responses((status = 200, body = ListBody), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> ApiResult<Json<ListBody>> {
    let Query(query) = query.map_err(|error| ApiError::shape("query", error.body_text()))?;
    let status = query.status.as_deref().map(|word| {
        ProjectStatus::from_word(word).ok_or_else(|| {
            let known: Vec<&str> = ProjectStatus::ALL.iter().map(|status| status.as_str()).collect();
            ApiError::shape("status", format!("status must be one of {}", known.join(", ")))
        })
    });
    let cursor =
        query.cursor.as_deref().map(|text| ProjectRef::parse(text).map_err(|error| ApiError::shape("cursor", error.to_string())));
    let status = status.transpose()?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::shape("limit", format!("limit must lie between 1 and {PAGE_MAX}")));
    }
    let filter = ListFilter {
        organization_id: query.organization_id,
        visible_to: Some(caller),
        deleted: status == Some(ProjectStatus::Deleted),
        status,
        cursor: cursor.transpose()?,
        limit,
    };
    let parts = api.lifecycle.parts();
    let page = parts.store.projects(&filter).await?;
    Ok(Json(ListBody {
        projects: page.projects.iter().map(|project| SummaryBody::of(parts, project)).collect(),
        next_cursor: page.next_cursor.map(String::from),
    }))
}

/// One project with its services, health checks and usage.
#[utoipa::path(get, path = "/platform/projects/{id}", responses((status = 200, body = ProjectBody), (status = 404, body = ErrorBody)))]
pub async fn get(State(api): State<Api>, Found(project): Found) -> ApiResult<Json<ProjectBody>> {
    let parts = api.lifecycle.parts();
    let seen = parts.observations(&project.id).await?;
    let containers = api.lifecycle.containers_listed(&project).await.ok();
    let (role, _, port) = api.lifecycle.owner_database(&project).unwrap_or_default();
    Ok(Json(ProjectBody {
        id: project.id.to_string(),
        name: project.name.clone(),
        organization_id: project.organization_id.clone(),
        region: project.region.clone(),
        status: project.status.as_str(),
        endpoint: parts.endpoint(&project),
        database_url: database_url(parts, &role, port, None),
        endpoints: parts.endpoints(&project),
        services: service_words(&api, &project, &seen),
        health_checks: health_checks(&api, &project, &seen),
        resources: (&project.resources).into(),
        resource_usage: parts.store.usage(&project.id).await?.map(UsageBody::from),
        containers: containers.map(|containers| containers.into_iter().map(|(service, id)| (service.to_string(), id)).collect()),
        observed_at: parts.sight.last().map(rfc3339),
        template_set: project.template_set.clone(),
        image_set: project.image_set.clone(),
        plugins: project.plugins.clone(),
        error: project.last_error.as_ref().map(Into::into),
        created_at: rfc3339(project.created_at),
        updated_at: rfc3339(project.updated_at),
    }))
}

/// The last look at every service.
#[utoipa::path(get, path = "/platform/projects/{id}/health", responses((status = 200, description = "`id`, `status`, and `health_checks`: service -> health check"), (status = 404, body = ErrorBody)))]
pub async fn health(State(api): State<Api>, Found(project): Found) -> ApiResult<Json<Value>> {
    let seen = api.lifecycle.parts().observations(&project.id).await?;
    Ok(Json(json!({"id": project.id, "status": project.status, "health_checks": health_checks(&api, &project, &seen)})))
}

/// Everything needed to connect, in clear. Audited.
#[utoipa::path(get, path = "/platform/projects/{id}/credentials", responses((status = 200, body = CredentialsBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn credentials(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
) -> ApiResult<Json<CredentialsBody>> {
    let parts = api.lifecycle.parts();
    api.audit(&caller, "project.credentials", Some(&project), &json!({})).await?;
    let missing = || ApiError::not_found("project", project.id.as_str());
    let set = parts.set_of(&project).map_err(|_| missing())?;
    let secrets = api.lifecycle.secrets(&project.id).await?;
    let (api_keys, jwt_secret) = api_keys(&set.spec, &secrets);
    let owner = api.lifecycle.owner_database(&project);
    let db_password = owner.as_ref().and_then(|(_, name, _)| secrets.get(name)).map(|secret| secret.expose().clone());
    let database_url = owner.map(|(role, _, port)| database_url(parts, &role, port, db_password.as_deref()));
    let logins = logins(parts, &set.spec, &project, &secrets);
    Ok(Json(CredentialsBody { database_url, db_password, jwt_secret, api_keys, logins }))
}

/// The regions there are.
#[utoipa::path(get, path = "/platform/regions", responses((status = 200, description = "The regions there are")))]
pub async fn regions(State(api): State<Api>) -> ApiResult<Json<Value>> {
    let (regions, _) = api.lifecycle.parts().store.places().await?;
    Ok(Json(json!({"regions": regions})))
}

fn service_words(api: &Api, project: &Project, seen: &[Observation]) -> BTreeMap<String, String> {
    let paused = project.status == ProjectStatus::Paused;
    let unseen = if paused { "stopped" } else { "unknown" };
    let known = |name: &str| seen.iter().find(|seen| seen.service.as_str() == name).map_or(unseen, |seen| seen.state.as_str());
    service_names(api, project).into_iter().map(|name| (name.clone(), known(&name).to_owned())).collect()
}

fn health_checks(api: &Api, project: &Project, seen: &[Observation]) -> BTreeMap<String, HealthCheckBody> {
    let find = |name: &str| seen.iter().find(|seen| seen.service.as_str() == name);
    service_names(api, project).into_iter().map(|name| (name.clone(), HealthCheckBody::of(find(&name), project.status))).collect()
}

/// All services of the set; none of a project that is gone.
fn service_names(api: &Api, project: &Project) -> Vec<String> {
    if project.status == ProjectStatus::Deleted {
        return Vec::new();
    }
    let set = api.lifecycle.parts().set_of(project);
    set.map(|set| set.spec.services.iter().map(|service| service.name.to_string()).collect()).unwrap_or_default()
}

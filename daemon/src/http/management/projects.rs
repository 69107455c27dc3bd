//! `/v1/projects`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::words;
use crate::clock::rfc3339;
use crate::domain::{Caller, Project, ProjectName, ProjectStatus};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult};
use crate::http::gate::There;
use crate::http::native::create::{checked_password, organization};
use crate::lifecycle::{CreateRequest, UpdateRequest};
use crate::store::ListFilter;

/// `POST /v1/projects`. Plan, size and template have no meaning here and are passed over, as upstream's own clients send them.
#[derive(Deserialize)]
pub struct CreateBody {
    name: String,
    organization_slug: Option<String>,
    /// The old name of the same.
    organization_id: Option<String>,
    db_pass: Option<String>,
    region: Option<String>,
    region_selection: Option<RegionSelection>,
}

/// The newer way to name a region.
#[derive(Deserialize)]
pub struct RegionSelection {
    code: String,
}

/// `PATCH /v1/projects/{ref}`.
#[derive(Deserialize)]
pub struct RenameBody {
    name: String,
}

/// A project. Its id is its ref.
#[derive(Serialize)]
pub struct ProjectBody {
    id: String,
    r#ref: String,
    organization_id: String,
    organization_slug: String,
    name: String,
    region: String,
    created_at: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseBody>,
}

/// Where its database is.
#[derive(Serialize)]
pub struct DatabaseBody {
    host: String,
    version: String,
    postgres_engine: String,
    release_channel: &'static str,
}

/// What is left of a project that was renamed or deleted.
#[derive(Serialize)]
pub struct RefBody {
    id: i64,
    r#ref: String,
    name: String,
}

impl ProjectBody {
    fn of(api: &Api, project: &Project, with_database: bool) -> Self {
        let parts = api.lifecycle.parts();
        let major = || parts.templates.images(&project.image_set).ok().and_then(|images| images.postgres_major);
        let database = with_database.then(|| {
            let version = major().map_or_else(|| "unknown".to_owned(), |major| major.to_string());
            DatabaseBody { host: parts.published_host(), postgres_engine: version.clone(), version, release_channel: "ga" }
        });
        Self {
            id: project.id.to_string(),
            r#ref: project.id.to_string(),
            organization_id: project.organization_id.clone(),
            organization_slug: project.organization_id.clone(),
            name: project.name.clone(),
            region: project.region.clone(),
            created_at: rfc3339(project.created_at),
            status: words::status(project),
            database,
        }
    }
}

impl RefBody {
    fn of(project: &Project) -> Self {
        Self { id: project.number, r#ref: project.id.to_string(), name: project.name.clone() }
    }
}

/// Every project that the caller may see.
pub async fn list(State(api): State<Api>, Extension(caller): Extension<Arc<Caller>>) -> ApiResult<Json<Vec<ProjectBody>>> {
    let filter = ListFilter { visible_to: Some(caller), ..ListFilter::default() };
    let projects = api.lifecycle.parts().store.all_projects(filter).await?;
    // Gone at once, whatever its delete still has to do.
    let there = projects.iter().filter(|project| project.status != ProjectStatus::Deleting);
    Ok(Json(there.map(|project| ProjectBody::of(&api, project, true)).collect()))
}

/// Accepts a project.
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody { value: body, .. }: JsonBody<CreateBody>,
) -> ApiResult<(StatusCode, Json<ProjectBody>)> {
    let parts = api.lifecycle.parts();
    let organization_id = organization(&caller, body.organization_slug.or(body.organization_id))?;
    let name = ProjectName::parse(&body.name).map_err(|error| ApiError::shape("name", error.to_string()))?;
    let asked = body.region.or(body.region_selection.map(|selection| selection.code));
    let request = CreateRequest {
        name,
        organization_id,
        region: region(&api, asked).await?,
        template_set: None,
        image_set: None,
        services: BTreeMap::new(),
        plugins: Default::default(),
        db_pass: body.db_pass.map(checked_password).transpose()?,
        resources: parts.config.resources.of_a_project().map_err(|error| ApiError::shape(error.field, error.to_string()))?,
        caller: caller.id.clone(),
        idempotency: None,
    };
    let created = api.lifecycle.create(request).await?;
    let project = parts.store.project(&created.project).await?;
    let project = project.ok_or_else(|| ApiError::not_found("project", created.project.as_str()))?;
    api.audit(&caller, "project.create", Some(&project), &json!({"name": project.name})).await?;
    Ok((StatusCode::CREATED, Json(ProjectBody::of(&api, &project, false))))
}

/// One project.
pub async fn get(State(api): State<Api>, There(project): There) -> ApiResult<Json<ProjectBody>> {
    Ok(Json(ProjectBody::of(&api, &project, true)))
}

/// Gives a project another name.
pub async fn rename(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
    JsonBody { value: body, .. }: JsonBody<RenameBody>,
) -> ApiResult<Json<RefBody>> {
    let name = ProjectName::parse(&body.name).map_err(|error| ApiError::shape("name", error.to_string()))?;
    let detail = json!({"name": name.as_str()});
    let request = UpdateRequest { name: Some(name), ..UpdateRequest::default() };
    api.lifecycle.update(&project, &request, None, &caller.id).await?;
    api.audit(&caller, "project.update", Some(&project), &detail).await?;
    let now = api.lifecycle.parts().store.project(&project.id).await?.unwrap_or(project);
    Ok(Json(RefBody::of(&now)))
}

/// Deletes a project. This dialect has no confirmation: its clients ask for one themselves.
pub async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
) -> ApiResult<Json<RefBody>> {
    api.lifecycle.delete(&project, &caller.id).await?;
    api.audit(&caller, "project.delete", Some(&project), &json!({"name": project.name})).await?;
    Ok(Json(RefBody::of(&project)))
}

/// Stops every container; the data stays.
pub async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
) -> ApiResult<Response> {
    api.lifecycle.pause(&project, &caller.id).await?;
    api.audit(&caller, "project.pause", Some(&project), &json!({})).await?;
    Ok(nothing())
}

/// Starts a paused project.
pub async fn restore(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
) -> ApiResult<Response> {
    api.lifecycle.resume(&project, &caller.id).await?;
    api.audit(&caller, "project.resume", Some(&project), &json!({})).await?;
    Ok(nothing())
}

/// Turns a start round that is under way.
pub async fn cancel_restore(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    There(project): There,
) -> ApiResult<Response> {
    api.lifecycle.cancel(&project, &caller.spoken()).await?;
    api.audit(&caller, "project.cancel", Some(&project), &json!({})).await?;
    Ok(nothing())
}

/// A paused project comes back as it was: there is no version to choose.
pub async fn restorable(There(_): There) -> Json<Value> {
    Json(json!({"available_versions": []}))
}

/// An empty body says so, or clients that read JSON wait for it in vain (section 1 of the contract).
fn nothing() -> Response {
    (StatusCode::OK, [(header::CONTENT_LENGTH, HeaderValue::from_static("0"))]).into_response()
}

/// One of ours by its name; upstream's codes name places that an own machine is not in, and the only region stands for them.
async fn region(api: &Api, asked: Option<String>) -> ApiResult<String> {
    let (regions, _) = api.lifecycle.parts().store.places().await?;
    match (asked, regions.as_slice()) {
        (Some(asked), _) if regions.contains(&asked) => Ok(asked),
        (_, [only]) => Ok(only.clone()),
        (asked, several) => {
            let asked =
                asked.map_or_else(|| "no region".to_owned(), |asked| format!("`{}`", asked.chars().take(64).collect::<String>()));
            let message = format!("{asked} was asked for, and there are {}", several.join(", "));
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_value", message).field("region"))
        }
    }
}

//! Projects that the store has lost: look, adopt, purge.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::dto::AcceptedBody;
use crate::domain::{Caller, ProjectRef, ProjectStatus};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::FIRST_ORGANIZATION;
use crate::lifecycle::LostProject;
use crate::people::Done;

/// What engine and folder have and the store does not know.
#[derive(Serialize, ToSchema)]
pub struct LostProjectsBody {
    /// Ordered by ref.
    pub projects: Vec<LostProjectBody>,
}

/// One lost project.
#[derive(Serialize, ToSchema)]
pub struct LostProjectBody {
    /// The ref.
    pub id: String,
    /// Its name; null when its folder does not tell.
    pub name: Option<String>,
    /// Its containers.
    pub containers: Vec<LostContainerBody>,
    /// Its networks.
    pub networks: Vec<LostNetworkBody>,
    /// The names of its volumes.
    pub volumes: Vec<String>,
    /// Whether its folder, with its data, is there.
    pub folder: bool,
    /// Whether it can be adopted.
    pub adoptable: bool,
    /// What is in the way, a sentence each.
    pub obstacles: Vec<String>,
}

/// A container of a lost project.
#[derive(Serialize, ToSchema)]
pub struct LostContainerBody {
    /// The service; null for a helper.
    pub service: Option<String>,
    /// Its name.
    pub name: String,
    /// `running`, `restarting`, `created`, `exited`, or the engine's own word.
    pub state: String,
}

/// A network of a lost project.
#[derive(Serialize, ToSchema)]
pub struct LostNetworkBody {
    /// Its name.
    pub name: String,
    /// Its subnet; null when the engine does not say.
    pub subnet: Option<String>,
}

/// The answer to an adoption.
#[derive(Serialize, ToSchema)]
pub struct AdoptedBody {
    /// The ref.
    pub id: String,
    /// The name it had.
    pub name: String,
    /// ACTIVE_UNHEALTHY until it was probed; PAUSED when nothing of it runs.
    pub status: &'static str,
}

/// `DELETE /platform/lost-projects/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeBody {
    /// The ref.
    pub confirm: Option<String>,
}

impl From<LostProject> for LostProjectBody {
    fn from(lost: LostProject) -> Self {
        let containers = lost.containers.into_iter().map(|container| LostContainerBody {
            service: container.service.map(|name| name.to_string()),
            name: container.name,
            state: container.state,
        });
        Self {
            id: lost.id.to_string(),
            name: lost.name,
            containers: containers.collect(),
            networks: lost.networks.into_iter().map(|(name, subnet)| LostNetworkBody { name, subnet }).collect(),
            volumes: lost.volumes,
            folder: lost.folder,
            adoptable: lost.obstacles.is_empty(),
            obstacles: lost.obstacles,
        }
    }
}

/// Projects of this installation that the store does not know, with what is left of them. They are never removed unasked.
#[utoipa::path(get, path = "/platform/lost-projects", responses((status = 200, body = LostProjectsBody), (status = 503, body = ErrorBody)))]
pub async fn list(State(api): State<Api>) -> ApiResult<Json<LostProjectsBody>> {
    let lost = api.lifecycle.lost_projects().await?;
    Ok(Json(LostProjectsBody { projects: lost.into_iter().map(LostProjectBody::from).collect() }))
}

/// Makes a lost project known again: same ref, ports, keys, images and data.
#[utoipa::path(post, path = "/platform/lost-projects/{id}/adopt",
    responses((status = 200, body = AdoptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
pub async fn adopt(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> ApiResult<Json<AdoptedBody>> {
    let lost = lost_project(&api, &id).await?;
    let project = api.lifecycle.adopt(&lost.id, &caller.id).await?;
    let detail = json!({"name": project.name});
    api.audit(&caller, "project.adopt", Some(&project), &detail).await?;
    Ok(Json(AdoptedBody { id: project.id.to_string(), name: project.name, status: project.status.as_str() }))
}

/// Removes everything that is left of a lost project. The body confirms it with the project's id.
#[utoipa::path(delete, path = "/platform/lost-projects/{id}", request_body = PurgeBody,
    responses((status = 202, body = AcceptedBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 428, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn purge(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
    JsonBody { value: body, .. }: JsonBody<PurgeBody>,
) -> ApiResult<(StatusCode, Json<AcceptedBody>)> {
    let lost = lost_project(&api, &id).await?;
    if body.confirm.as_deref() != Some(lost.id.as_str()) {
        let message = format!("a purge cannot be taken back: send {{\"confirm\": \"{}\"}}", lost.id);
        return Err(ApiError::new(StatusCode::PRECONDITION_REQUIRED, "confirm", message).field("confirm"));
    }
    let organization = organization_of(&api, &lost).await?;
    let operation = api.lifecycle.purge(&lost, &organization, &caller.id).await?;
    let detail = json!({"name": lost.name, "containers": lost.containers.len(), "volumes": lost.volumes, "folder": lost.folder});
    let done = Done { action: "project.purge", organization: Some(&organization), project: Some(&lost.id), detail: &detail };
    api.people.audit(&caller, done).await?;
    let status = ProjectStatus::Deleting.as_str();
    Ok((StatusCode::ACCEPTED, Json(AcceptedBody { id: lost.id.into(), status, operation_id: operation.to_string() })))
}

/// The lost project of this id. One that the store knows is not lost.
async fn lost_project(api: &Api, id: &str) -> ApiResult<LostProject> {
    let missing = || ApiError::not_found("lost project", id);
    let id = ProjectRef::parse(id).map_err(|_| missing())?;
    if let Some(known) = api.lifecycle.parts().store.project(&id).await? {
        let message = format!("the project is {} and not lost: the store knows it", known.status.as_str());
        return Err(ApiError::new(StatusCode::CONFLICT, "wrong_state", message));
    }
    api.lifecycle.lost_project(&id).await?.ok_or_else(missing)
}

/// What its folder tells, if the store knows such an organisation.
async fn organization_of(api: &Api, lost: &LostProject) -> ApiResult<String> {
    let (_, known) = api.lifecycle.parts().store.places().await?;
    let told = lost.organization_id.clone().filter(|told| known.contains(told));
    Ok(told.unwrap_or_else(|| FIRST_ORGANIZATION.to_owned()))
}

//! The native dialect: the design document's own API.

pub mod change;
pub mod create;
pub mod dto;
mod dto_update;
mod dto_usage;
pub mod events;
pub mod exec;
pub mod grants;
pub mod logs;
pub mod lost;
pub mod notifications;
pub mod operations;
pub mod plugins;
pub mod read;
pub mod resources;
pub mod trials;
pub mod update;
pub mod usage;

use super::Api;
use super::error::{ApiError, ApiResult};
use crate::domain::{Project, ProjectRef, ProjectStatus};
use crate::store::Token;

/// The organisation that is there from the first start: the operator's, and whose a lost project is when nothing tells.
const FIRST_ORGANIZATION: &str = "default";

/// A deleted project answers so long (decision 5), then it is not there.
const TOMBSTONE_MS: i64 = 30 * 24 * 3600 * 1000;

/// The project of this id, if the token's organisation owns it.
async fn project(api: &Api, token: &Token, id: &str) -> ApiResult<Project> {
    let missing = || ApiError::not_found("project", &id.chars().take(64).collect::<String>());
    let id = ProjectRef::parse(id).map_err(|_| missing())?;
    let parts = api.lifecycle.parts();
    let project = parts.store.project(&id).await?.ok_or_else(missing)?;
    let expired = project.deleted_at.is_some_and(|at| parts.clock.now() - at > TOMBSTONE_MS);
    if project.organization_id != token.organization_id || expired { Err(missing()) } else { Ok(project) }
}

/// The same, and not deleted.
async fn live_project(api: &Api, token: &Token, id: &str) -> ApiResult<Project> {
    let project = project(api, token, id).await?;
    if project.status == ProjectStatus::Deleted {
        return Err(ApiError::new(
            axum::http::StatusCode::CONFLICT,
            "wrong_state",
            "the project is DELETED: nothing can be done with it",
        ));
    }
    Ok(project)
}

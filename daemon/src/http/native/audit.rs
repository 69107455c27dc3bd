//! The audit log, for owners.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::clock::rfc3339;
use crate::domain::{AuditLine, Caller, ProjectRef, Role};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::{FIRST_ORGANIZATION, in_organization};
use crate::store::{AuditFilter, Chain};

/// Largest page.
const PAGE_MAX: u32 = 200;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only of this organisation. Left out: of the caller's, or everything for an owner of `default`.
    organization_id: Option<String>,
    /// Only about this project, which may be long gone.
    project_id: Option<String>,
    /// Only those before this position.
    before: Option<i64>,
    /// How many, 1 to 200; 50 when left out.
    limit: Option<u32>,
    /// Walk the whole chain and say whether it is whole.
    #[serde(default)]
    verify: bool,
}

/// Lines of the log.
#[derive(Serialize, ToSchema)]
pub struct AuditBody {
    /// The newest first.
    pub lines: Vec<AuditLineBody>,
    /// `before` of the next page; null at the end.
    pub next_before: Option<i64>,
    /// With `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainBody>,
}

/// What a walk along the chain found.
#[derive(Serialize, ToSchema)]
pub struct ChainBody {
    /// Every line follows from the one before.
    pub whole: bool,
    /// How many lines do.
    pub lines: i64,
    /// The newest line's hash, if it is whole: kept elsewhere, it shows later that nothing before it was changed.
    pub head: Option<String>,
}

/// One line.
#[derive(Serialize, ToSchema)]
pub struct AuditLineBody {
    /// From 1, without gaps over all organisations.
    pub position: i64,
    /// RFC 3339.
    pub at: String,
    /// Id of the token or user.
    pub caller: String,
    /// Their name then.
    pub caller_name: String,
    /// For example `project.create`.
    pub action: String,
    /// In which organisation; null: the installation.
    pub organization_id: Option<String>,
    /// On which project.
    pub project_id: Option<String>,
    /// What else there is to it.
    pub detail: Value,
    /// SHA-256 in hex over this line and the hash of the one before.
    pub hash: String,
}

impl From<AuditLine> for AuditLineBody {
    fn from(line: AuditLine) -> Self {
        Self {
            position: line.position,
            at: rfc3339(line.at),
            caller: line.entry.caller,
            caller_name: line.entry.caller_name,
            action: line.entry.action,
            organization_id: line.entry.organization_id,
            project_id: line.entry.project_id,
            detail: serde_json::from_str(&line.entry.detail).unwrap_or(Value::String(line.entry.detail)),
            hash: line.hash,
        }
    }
}

/// Who did what, the newest first.
#[utoipa::path(get, path = "/platform/audit", params(AuditQuery),
    responses((status = 200, body = AuditBody), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> ApiResult<Json<AuditBody>> {
    let Query(query) = query.map_err(|error| ApiError::shape("query", error.body_text()))?;
    let project = query.project_id.as_deref().map(ProjectRef::parse).transpose();
    let project = project.map_err(|error| ApiError::shape("project_id", error.to_string()))?.map(String::from);
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::shape("limit", format!("limit must lie between 1 and {PAGE_MAX}")));
    }
    let operator = caller.role_in(FIRST_ORGANIZATION) == Some(Role::Owner);
    let organization_id = match query.organization_id {
        None if operator => None,
        given => Some(given.unwrap_or_else(|| caller.home.clone())),
    };
    if let Some(organization) = organization_id.as_deref().filter(|_| !operator) {
        in_organization(&caller, organization, Role::Owner)?;
    }
    if query.verify && !operator {
        let message = format!("the chain runs through all organisations: owners of `{FIRST_ORGANIZATION}` verify it");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "operator_only", message));
    }
    let store = &api.lifecycle.parts().store;
    let filter = AuditFilter { organization_id, project_id: project, before: query.before, limit };
    let lines = store.audit_lines(&filter).await?;
    let next_before = lines.last().filter(|_| lines.len() == limit as usize).map(|line| line.position);
    let chain = if query.verify { Some(chain(store.audit_chain().await?)) } else { None };
    Ok(Json(AuditBody { lines: lines.into_iter().map(AuditLineBody::from).collect(), next_before, chain }))
}

fn chain(chain: Chain) -> ChainBody {
    match chain {
        Chain::Whole { lines, head } => ChainBody { whole: true, lines, head: Some(head) },
        Chain::Broken(position) => ChainBody { whole: false, lines: position - 1, head: None },
    }
}

//! What the operator's webhook was told, and what it could not be told.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::rfc3339;
use crate::domain::{Caller, Notice, NoticeState};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};

/// Largest page.
const PAGE_MAX: u32 = 200;

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NoticeQuery {
    /// `waiting`, `sent`, `failed` or `folded`.
    state: Option<String>,
    /// How many, 1 to 200; 50 when left out.
    limit: Option<u32>,
}

/// Messages to the webhook.
#[derive(Serialize, ToSchema)]
pub struct NotificationsBody {
    /// Newest first.
    pub notifications: Vec<NotificationBody>,
}

/// One message.
#[derive(Serialize, ToSchema)]
pub struct NotificationBody {
    /// As in the header `webhook-id`.
    pub id: String,
    /// `status`, `budget` or `disk`.
    pub kind: &'static str,
    /// The project; null when it is about the machine.
    pub project: Option<String>,
    /// Its name then.
    pub name: String,
    /// What was told before.
    pub from: String,
    /// What is told.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When it came to be so, RFC 3339.
    pub at: String,
    /// Changes that it stands for, beyond the first.
    pub folded: i64,
    /// `waiting`, `sent`, `failed`, or `folded`: over before it was sent.
    pub state: &'static str,
    /// How often it was tried.
    pub tries: i64,
    /// When it is tried next; null when it is not.
    pub next_try_at: Option<String>,
    /// Why the last try failed.
    pub error: String,
}

impl From<Notice> for NotificationBody {
    fn from(notice: Notice) -> Self {
        Self {
            next_try_at: (notice.state == NoticeState::Waiting).then(|| rfc3339(notice.due_at)),
            id: notice.id,
            kind: notice.kind.as_str(),
            project: notice.project.map(String::from),
            name: notice.name,
            from: notice.from,
            to: notice.to,
            reason: notice.reason,
            at: rfc3339(notice.at),
            folded: notice.folded,
            state: notice.state.as_str(),
            tries: notice.tries,
            error: notice.error,
        }
    }
}

/// Messages to the operator's webhook about the machine and the projects of the caller's organisations.
#[utoipa::path(get, path = "/platform/notifications", params(NoticeQuery), responses((status = 200, body = NotificationsBody), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<NoticeQuery>, QueryRejection>,
) -> ApiResult<Json<NotificationsBody>> {
    let Query(query) = query.map_err(|error| ApiError::shape("query", error.body_text()))?;
    let known = || NoticeState::ALL.map(NoticeState::as_str).join(", ");
    let state = query.state.as_deref().map(|word| {
        NoticeState::from_word(word).ok_or_else(|| ApiError::shape("state", format!("state must be one of {}", known())))
    });
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::shape("limit", format!("limit must lie between 1 and {PAGE_MAX}")));
    }
    let notices = api.lifecycle.parts().store.notices(&caller, state.transpose()?, limit).await?;
    Ok(Json(NotificationsBody { notifications: notices.into_iter().map(NotificationBody::from).collect() }))
}

//! One error body for everything, and the one place where inner errors get a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::ErrorClass;
use crate::lifecycle::LifecycleError;
use crate::people::PeopleError;
use crate::store::StoreError;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A sentence a person can act on.
    pub message: String,
    /// A stable word.
    pub code: String,
    /// The field it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The operation it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

/// An error on its way out.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    /// Said with 429 and 503.
    retry_after_s: u64,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// With this status, word and sentence.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody { message: message.into(), code: code.to_owned(), field: None, operation_id: None };
        Self { status, body, retry_after_s: 2 }
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// 404: it is not there, or it is not yours. What was asked for is said again, cut to 64 characters.
    pub fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} `{id}`"))
    }

    /// Another 404 in place of this one; every other error stays.
    pub fn or_missing(self, missing: impl FnOnce() -> Self) -> Self {
        if self.status == StatusCode::NOT_FOUND { missing() } else { self }
    }

    /// 400: the shape is wrong.
    pub fn shape(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message).field(field)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        let message = error.to_string();
        match error {
            LifecycleError::State { .. } => Self::new(StatusCode::CONFLICT, "wrong_state", message),
            LifecycleError::Meaning { field, code, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message).field(field)
            }
            LifecycleError::Room { field, .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "insufficient_resources", message).field(field)
            }
            LifecycleError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message).field("Idempotency-Key")
            }
            LifecycleError::Ports(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "port_range_full", message),
            LifecycleError::Subnets(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "subnet_pool_full", message),
            LifecycleError::EngineAway(_) | LifecycleError::NotListed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_away", message)
            }
            LifecycleError::Hook(hook) if hook.is_refusal() => Self::new(StatusCode::UNPROCESSABLE_ENTITY, hook.code(), message),
            LifecycleError::Hook(hook) => Self::new(StatusCode::SERVICE_UNAVAILABLE, hook.code(), message),
            LifecycleError::PlanOutdated => {
                Self::new(StatusCode::PRECONDITION_FAILED, "plan_outdated", message).field("If-Match")
            }
            LifecycleError::PlanMissing => {
                Self::new(StatusCode::PRECONDITION_REQUIRED, "plan_missing", message).field("If-Match")
            }
            LifecycleError::NotAdoptable(_) => Self::new(StatusCode::CONFLICT, "not_adoptable", message),
            LifecycleError::NotOurs(_) => Self::new(StatusCode::CONFLICT, "not_ours", message),
            LifecycleError::NoRoom(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "no_room_for_snapshot", message),
            // The new stack cannot be made from what was asked for.
            LifecycleError::Step(error) if error.class == ErrorClass::Permanent => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, &error.failure.code, message)
            }
            LifecycleError::Step(error) => Self::new(of_class(error.class), &error.failure.code, message),
            LifecycleError::Backend(error) => Self::new(of_class(error.class()), error.code(), message),
            LifecycleError::Store(error) => error.into(),
            LifecycleError::Generate(_) | LifecycleError::Seal(_) => internal("secrets", &message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            // Whoever asks again reaches the daemon that took over.
            StoreError::LeaseLost => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string()),
            StoreError::Transition(why) => Self::new(StatusCode::CONFLICT, "wrong_state", why),
            error => internal("store", &error.to_string()),
        }
    }
}

impl From<PeopleError> for ApiError {
    fn from(error: PeopleError) -> Self {
        let message = error.to_string();
        match error {
            PeopleError::Unknown(_) => Self::new(StatusCode::UNAUTHORIZED, "unknown_token", message),
            PeopleError::WrongPassword => Self::new(StatusCode::UNAUTHORIZED, "wrong_password", message),
            PeopleError::TooManyTries(seconds) => {
                Self { retry_after_s: seconds, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message) }
            }
            PeopleError::Field { field, .. } => Self::shape(field, message),
            PeopleError::Taken { field, .. } => Self::new(StatusCode::CONFLICT, "taken", message).field(field),
            PeopleError::Refused(_) => Self::new(StatusCode::CONFLICT, "refused", message),
            PeopleError::Store(error) => error.into(),
            PeopleError::Generate(_) | PeopleError::System(_) => internal("people", &message),
        }
    }
}

fn of_class(class: ErrorClass) -> StatusCode {
    match class {
        ErrorClass::Retry => StatusCode::SERVICE_UNAVAILABLE,
        ErrorClass::Conflict => StatusCode::CONFLICT,
        ErrorClass::Capacity => StatusCode::INSUFFICIENT_STORAGE,
        ErrorClass::Permanent => StatusCode::BAD_GATEWAY,
    }
}

/// The reason goes into the log; the caller is told where to look.
fn internal(code: &str, reason: &str) -> ApiError {
    tracing::error!(code, reason, "a request failed inside");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the daemon failed inside; its log says why")
}

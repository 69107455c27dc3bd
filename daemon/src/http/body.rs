//! JSON bodies whose errors name the field.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A JSON body together with its exact bytes, which an idempotency key is bound to.
pub struct JsonBody<T> {
    /// The parsed body.
    pub value: T,
    /// As it came.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is larger than limits.body_bytes")
            } else {
                ApiError::shape("body", error.to_string())
            }
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(text) {
            Ok(value) => Ok(Self { value, bytes }),
            Err(error) => Err(ApiError::shape(&field_of(&error.to_string()), format!("the body does not fit: {error}"))),
        }
    }
}

/// serde's messages quote the field first: "unknown field `x`", "missing field `name`".
fn field_of(message: &str) -> String {
    let quoted = message.split('`').nth(1).filter(|_| message.contains("field `"));
    quoted.unwrap_or("body").to_owned()
}

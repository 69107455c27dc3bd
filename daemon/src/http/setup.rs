//! `/setup`: the page behind the one-time link of the first start, where the first owner is made. It works without a
//! script, and only as long as there is no user.

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::{ApiError, ApiResult, ErrorBody};
use crate::domain::Secret;
use crate::people::NewAccount;

/// No script, no image, and a form that goes nowhere else.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static("default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
);

/// The link's secret.
#[derive(Deserialize, IntoParams)]
pub struct LinkQuery {
    /// As the daemon's log has it.
    token: String,
}

/// The first owner.
#[derive(Deserialize, ToSchema)]
pub struct SetupForm {
    /// Of the link.
    pub token: String,
    /// Their address.
    pub email: String,
    /// What they want to be called; may be empty.
    #[serde(default)]
    pub name: String,
    /// At least eight characters.
    pub password: String,
}

/// The page with the form.
#[utoipa::path(get, path = "/setup", params(LinkQuery), security(()),
    responses((status = 200, description = "A page with a form"), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn page(State(api): State<Api>, query: Result<Query<LinkQuery>, QueryRejection>) -> ApiResult<Response> {
    let Query(LinkQuery { token }) = query.map_err(|error| ApiError::shape("token", error.body_text()))?;
    api.people.check_setup(&token).await?;
    // The token is the one that was made here: hexadecimal digits.
    let form = format!(
        "<form method=post action=/setup><input type=hidden name=token value={token}>\
         <p><label>Address <input type=email name=email required></label></p>\
         <p><label>Name <input name=name></label></p>\
         <p><label>Password <input type=password name=password minlength=8 required></label></p>\
         <p><button>Own this installation</button></p></form>"
    );
    Ok(html(StatusCode::OK, &form))
}

/// Makes the first owner; the link is worthless from then on.
#[utoipa::path(post, path = "/setup", request_body(content = SetupForm, content_type = "application/x-www-form-urlencoded"), security(()),
    responses((status = 201, description = "A page that says so"), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn finish(State(api): State<Api>, form: Result<Form<SetupForm>, FormRejection>) -> ApiResult<Response> {
    let Form(form) = form.map_err(|error| ApiError::shape("body", error.body_text()))?;
    api.people.check_setup(&form.token).await?;
    let account = NewAccount { email: form.email, name: form.name, password: Secret::new(form.password) };
    api.people.create_first_user(account).await?;
    Ok(html(StatusCode::CREATED, "<p>You own this installation now. This link does nothing any more.</p>"))
}

fn html(status: StatusCode, body: &str) -> Response {
    let page = format!("<!doctype html><html lang=en><title>supamanager</title><h1>supamanager</h1>{body}</html>");
    (status, [POLICY], Html(page)).into_response()
}

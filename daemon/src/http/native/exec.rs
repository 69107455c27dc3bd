//! Commands inside a service's container, for the owner: argv, never a shell string; bounded, and written down.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::domain::{Caller, Project, ServiceName};
use crate::http::Api;
use crate::http::body::JsonBody;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Live;
use crate::lifecycle::{Command, ExecError, Ran};

/// What a command may take when the request does not say.
const DEADLINE_MS: u64 = 10_000;
/// Words of a command, and bytes of each: what a person types, and a script beside it.
const WORDS_MAX: usize = 256;
const WORD_BYTES_MAX: usize = 16 * 1024;

/// `POST /platform/projects/{id}/exec`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecBody {
    /// The service.
    pub service: String,
    /// Program and arguments; no shell reads them.
    pub argv: Vec<String>,
    /// Milliseconds until it is given up; 10 000 when left out, at most `limits.exec_s`.
    pub timeout_ms: Option<u64>,
}

/// What came of a command.
#[derive(Serialize, ToSchema)]
pub struct ExecAnswer {
    /// Its exit code.
    pub exit_code: i64,
    /// Standard output, cut at `limits.exec_output_bytes`; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Whether either was cut.
    pub truncated: bool,
}

/// Runs a command in the container of a service. What it prints is shown as it is: who may do this owns the project. 504
/// says that it was begun and how it ended is not known; 429 that too many run (limits.commands).
#[utoipa::path(post, path = "/platform/projects/{id}/exec", request_body = ExecBody,
    responses((status = 200, body = ExecAnswer), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 502, body = ErrorBody), (status = 503, body = ErrorBody),
        (status = 504, body = ErrorBody), (status = 507, body = ErrorBody)))]
pub async fn exec(
    State(api): State<Api>,
    Extension(caller): Extension<Arc<Caller>>,
    Live(project): Live,
    JsonBody { value: body, .. }: JsonBody<ExecBody>,
) -> ApiResult<Json<ExecAnswer>> {
    let service = ServiceName::parse(&body.service).map_err(|error| ApiError::shape("service", error))?;
    let most = api.lifecycle.parts().config.limits.exec_s.saturating_mul(1000);
    let timeout_ms = body.timeout_ms.unwrap_or(DEADLINE_MS.min(most));
    if !(1..=most).contains(&timeout_ms) {
        return Err(ApiError::shape("timeout_ms", format!("timeout_ms must lie between 1 and {most} (limits.exec_s)")));
    }
    check_words(&body.argv)?;
    let place = api.commands.clone().try_acquire_owned().map_err(|_| {
        let message = "too many commands run at once (limits.commands): try again when one has ended";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    })?;
    let command = Command { service, argv: body.argv, deadline: Duration::from_millis(timeout_ms) };
    // A task of its own: a caller who goes away ends neither the command nor the record of how it ended.
    let ran = tokio::spawn(async move {
        let _place = place;
        recorded(&api, &caller, &project, command).await
    });
    let ran = ran.await.unwrap_or_else(|error| Err(unfinished(&ExecError::Unfinished(error.to_string()))))?;
    Ok(Json(ExecAnswer { exit_code: ran.exit_code, stdout: ran.stdout, stderr: ran.stderr, truncated: ran.truncated }))
}

fn check_words(argv: &[String]) -> ApiResult<()> {
    let wrong = |message: String| Err(ApiError::shape("argv", message));
    if argv.first().is_none_or(String::is_empty) || argv.len() > WORDS_MAX {
        return wrong(format!("argv needs a program and at most {WORDS_MAX} words"));
    }
    if let Some(long) = argv.iter().position(|word| word.len() > WORD_BYTES_MAX) {
        return wrong(format!("argv[{long}] has more than {WORD_BYTES_MAX} bytes: put a file into the container instead"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return wrong("argv holds a NUL byte, which no program can be given".to_owned());
    }
    Ok(())
}

/// Runs it between two entries of the audit log: that it was asked for stands there even if the daemon does not live to
/// see it end.
async fn recorded(api: &Api, caller: &Caller, project: &Project, command: Command) -> ApiResult<Ran> {
    let secrets = api.lifecycle.secrets(&project.id).await?;
    let argv: Vec<String> = command.argv.iter().map(|word| secrets.redact(word)).collect();
    let mut detail = json!({"service": command.service, "argv": argv});
    api.audit(caller, "project.exec", Some(project), &detail).await?;
    let ran = api.lifecycle.execute(project, command).await;
    match &ran {
        Ok(ran) => detail["exit_code"] = ran.exit_code.into(),
        Err(error) => detail["error"] = secrets.redact(&error.to_string()).into(),
    }
    // Its outcome is told whether or not it can be written down: it has happened.
    let written = api.audit(caller, "project.exec.ended", Some(project), &detail).await;
    if let Err(error) = written {
        tracing::warn!(project = %project.id, %error, "how a command ended is not in the audit log");
    }
    ran.map_err(|error| match error {
        ExecError::NotBegun(error) => error.into(),
        begun => unfinished(&begun),
    })
}

/// Not 503, which invites to try again: what it did may have had its effect.
fn unfinished(error: &ExecError) -> ApiError {
    let code = if matches!(error, ExecError::Late(_)) { "exec_timeout" } else { "exec_unfinished" };
    let answer = ApiError::new(StatusCode::GATEWAY_TIMEOUT, code, error.to_string());
    if matches!(error, ExecError::Late(_)) { answer.field("timeout_ms") } else { answer }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn words_are_bounded() {
        let words = |count: usize, bytes: usize| vec!["x".repeat(bytes); count];
        for good in [words(1, 1), words(WORDS_MAX, 1), words(1, WORD_BYTES_MAX), vec!["a".to_owned(), String::new()]] {
            assert!(check_words(&good).is_ok());
        }
        for bad in [words(0, 0), words(1, 0), words(WORDS_MAX + 1, 1), words(2, WORD_BYTES_MAX + 1), vec!["a\0".to_owned()]] {
            assert!(check_words(&bad).is_err());
        }
    }

    #[test]
    fn what_may_have_had_effect_is_not_to_be_tried_again() {
        for error in [ExecError::Late(300), ExecError::Unfinished("cut".to_owned())] {
            let response = unfinished(&error).into_response();
            assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
            assert!(!response.headers().contains_key("retry-after"), "{error}");
        }
    }
}

//! The lines of one service: the last ones as text, or as they are written, server-sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use crate::clock::parse_rfc3339;
use crate::domain::{ProjectStatus, ServiceName, UnixMillis};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Live;
use crate::lifecycle::{FollowFrom, Followed, Positions};

/// A comment so often keeps proxies from closing the stream (decision 23).
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// The service.
    service: String,
    /// How many lines; 100 when left out. Fewer come when they hold more than 1 MiB.
    tail: Option<u32>,
    /// Only lines since then: RFC 3339, or how long ago, for example `10m`.
    since: Option<String>,
    /// Go on with every line that is written, as server-sent events `line` with `timestamp`, `stream` and `text`, until
    /// an event `end` says that the project is deleted. `Last-Event-ID` goes on after the line with this id; a mere time
    /// is taken too.
    #[serde(default)]
    follow: bool,
}

/// The last lines of a service as text, or all that come as server-sent events; secrets taken out.
#[utoipa::path(get, path = "/platform/projects/{id}/logs",
    params(LogsQuery, ("Last-Event-ID" = Option<String>, Header, description = "With follow: goes on after the line with this id")),
    responses((status = 200, description = "text/plain, a line per line; with follow text/event-stream"), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody),
        (status = 502, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn logs(
    State(api): State<Api>,
    Live(project): Live,
    headers: HeaderMap,
    query: Result<Query<LogsQuery>, axum::extract::rejection::QueryRejection>,
) -> ApiResult<Response> {
    let Query(query) = query.map_err(|error| ApiError::shape("service", error.body_text()))?;
    let service = ServiceName::parse(&query.service).map_err(|error| ApiError::shape("service", error))?;
    let parts = api.lifecycle.parts();
    let most = parts.config.limits.log_lines;
    let tail = query.tail.unwrap_or(100.min(most));
    if !(1..=most).contains(&tail) {
        return Err(ApiError::shape("tail", format!("tail must lie between 1 and {most} (limits.log_lines)")));
    }
    let now = parts.clock.now();
    let since = query.since.as_deref().map(|text| moment(text, now)).transpose()?;
    if !query.follow {
        let lines = api.lifecycle.logs(&project, &service, tail, since).await?;
        let text: String = lines.iter().map(|line| format!("{} {}\n", line.timestamp, line.text)).collect();
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    let from = match headers.get("last-event-id") {
        None => FollowFrom::Tail(tail, since),
        Some(id) => {
            let positions = id.to_str().ok().and_then(Positions::parse);
            let wrong = || ApiError::shape("Last-Event-ID", "Last-Event-ID must be the id of a line, or a line's time");
            FollowFrom::After(positions.ok_or_else(wrong)?)
        }
    };
    let place = api.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", "too many event streams at once (limits.event_streams)")
    })?;
    let lines = api.lifecycle.follow_logs(&project, service, from).await?;
    let stream = stream::unfold((lines, place), |(mut lines, place)| async move {
        let event = sent(lines.recv().await?);
        Some((Ok::<_, Infallible>(event), (lines, place)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)).into_response())
}

fn sent(followed: Followed) -> SseEvent {
    match followed {
        Followed::Line(line, id) => {
            let data = json!({"timestamp": line.timestamp, "stream": line.stream, "text": line.text});
            SseEvent::default().id(id.to_string()).event("line").data(data.to_string())
        }
        Followed::Deleted => SseEvent::default().event("end").data(json!({"status": ProjectStatus::Deleted}).to_string()),
    }
}

/// A moment, or how long ago.
fn moment(text: &str, now: UnixMillis) -> ApiResult<UnixMillis> {
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| i64::try_from(ago.as_millis()).ok());
    let moment = parse_rfc3339(text).or_else(|| Some(now.saturating_sub(ago()?).max(0)));
    moment.ok_or_else(|| {
        ApiError::shape("since", "since must be a time such as 2026-11-22T10:00:00Z, or how long ago, such as 10m")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(moment("1970-01-01T00:00:10Z", 99).ok(), Some(10_000));
        assert_eq!(moment("10m", 1_000_000).ok(), Some(400_000));
        assert_eq!(moment("200y", 1_000_000).ok(), Some(0), "the beginning");
        assert!(moment("yesterday", 0).is_err());
    }
}

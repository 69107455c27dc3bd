//! Server-sent events: what happened since `Last-Event-ID`, then what happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::clock::rfc3339;
use crate::domain::ProjectRef;
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Found;
use crate::store::Event;

/// A comment so often keeps proxies from closing the stream (decision 23).
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// A watcher looks by itself at least so often, in case a wake-up was missed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Kinds `step`, `status`, `health`, `budget` and `end`; ids rise per project; `Last-Event-ID` replays.
#[utoipa::path(get, path = "/platform/projects/{id}/events",
    params(("Last-Event-ID" = Option<i64>, Header, description = "Replays what came after it")),
    responses((status = 200, description = "text/event-stream"), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub async fn events(State(api): State<Api>, Found(project): Found, headers: HeaderMap) -> ApiResult<Response> {
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(value) => {
            let parsed = value.to_str().ok().and_then(|text| text.parse::<i64>().ok());
            parsed.ok_or_else(|| ApiError::shape("Last-Event-ID", "Last-Event-ID must be the id of an event"))?
        }
    };
    let place = api.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", "too many event streams at once (limits.event_streams)")
    })?;
    let wake = api.lifecycle.watch();
    let stream = follow(Watcher { api, project: project.id, after, wake, ready: Vec::new(), _place: place });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)).into_response())
}

struct Watcher {
    api: Api,
    project: ProjectRef,
    after: i64,
    wake: broadcast::Receiver<ProjectRef>,
    /// Read and not yet sent, newest first.
    ready: Vec<Event>,
    _place: OwnedSemaphorePermit,
}

fn follow(watcher: Watcher) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    stream::unfold(watcher, |mut watcher| async move {
        loop {
            if let Some(event) = watcher.ready.pop() {
                watcher.after = event.id;
                let sent = SseEvent::default().id(event.id.to_string()).event(event.kind.as_str()).data(with_time(&event));
                return Some((Ok(sent), watcher));
            }
            match watcher.api.lifecycle.parts().store.events_after(&watcher.project, watcher.after).await {
                Ok(events) if !events.is_empty() => watcher.ready = events.into_iter().rev().collect(),
                Ok(_) => watcher.wait().await?,
                Err(_) => return None,
            }
        }
    })
}

impl Watcher {
    /// Until this project has news, or it is time to look anyway. `None` when the daemon stops.
    async fn wait(&mut self) -> Option<()> {
        let news = async {
            loop {
                match self.wake.recv().await {
                    Ok(project) if project != self.project => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Some(()),
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        tokio::select! {
            // An open stream would hold the stop of the daemon; its watcher reconnects and replays.
            () = self.api.lifecycle.stopping().cancelled() => None,
            news = tokio::time::timeout(LOOK_EVERY, news) => news.unwrap_or(Some(())),
        }
    }
}

/// The data with its time, so that a replay is told from news.
fn with_time(event: &Event) -> String {
    let mut data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
    if let Some(object) = data.as_object_mut() {
        object.insert("at".to_owned(), rfc3339(event.at).into());
    }
    data.to_string()
}

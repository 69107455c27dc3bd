//! The REST client behind `supamanager project`. SUPAMANAGER_URL and SUPAMANAGER_TOKEN are its own settings and
//! mean nothing to the daemon (decision 24).

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::out;
use crate::web;

/// Limit of one answer, unless the caller knows better.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Limit of silence on a stream: the daemon sends a comment every fifteen seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How often in a row a stream is asked for that brings nothing, with a pause that grows to the second number.
const TRIES: u32 = 10;
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// An event is a line of sixteen kilobytes at most, and JSON makes six bytes of the worst letter.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// A client for one daemon.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// From the environment.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn from_environment() -> anyhow::Result<Self> {
        let url = std::env::var("SUPAMANAGER_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
        let token = std::env::var("SUPAMANAGER_TOKEN")
            .context("SUPAMANAGER_TOKEN is not set: `supamanager token create --name me` makes one")?;
        let mut http = if web::is_tls(&url) { web::client() } else { web::client().tls_certs_only([]) };
        // A proxy for the way out cannot reach this machine's own address.
        let host = reqwest::Url::parse(&url).context("SUPAMANAGER_URL")?.host_str().unwrap_or_default().to_owned();
        if host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        {
            http = http.no_proxy();
        }
        let http = http.build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// One call with a JSON answer.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn json(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        self.json_within(DEADLINE, method, path, body).await
    }

    /// The same with a limit of its own: the daemon may work on the answer for so long.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn json_within(&self, limit: Duration, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        Ok(self.send(limit, method, path, body).await?.json().await?)
    }

    /// A change of what is known by this hash.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn json_if_match(&self, path: &str, body: &Value, hash: &str) -> anyhow::Result<Value> {
        let request = self.request(DEADLINE, Method::PATCH, path);
        let request = request.header(reqwest::header::IF_MATCH, format!("\"{hash}\"")).json(body);
        Ok(self.checked(request).await?.json().await?)
    }

    /// One call with a text answer.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.send(DEADLINE, Method::GET, path, None).await?.text().await?)
    }

    async fn send(&self, limit: Duration, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Response> {
        let request = self.request(limit, method, path);
        self.checked(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    fn request(&self, limit: Duration, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token).timeout(limit)
    }

    async fn checked(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await.map_err(|error| {
            let what = if error.is_timeout() { "nothing came back in time from" } else { "no daemon answers at" };
            anyhow::Error::new(error).context(format!("{what} {}", self.url))
        })?;
        if answer.status().is_success() { Ok(answer) } else { Err(said(answer).await) }
    }

    /// Follows a stream of a project's events or lines until `until` says that it has seen enough. A cut or silent stream
    /// is taken up again after the last event that came, and so is one that the daemon cannot serve just now.
    ///
    /// # Errors
    /// The daemon's own sentence, what `until` says, or that the stream does not come back.
    pub async fn follow(&self, path: &str, mut until: impl FnMut(&str, &Value) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let (mut last_id, mut tries, mut answered) = (String::new(), 0, false);
        loop {
            let reason = match self.open(path, &last_id).await {
                Ok(stream) => {
                    answered = true;
                    let mut brought = false;
                    let outcome = read(stream, &mut last_id, &mut brought, &mut until).await;
                    if brought {
                        tries = 0;
                    }
                    match outcome? {
                        None => return Ok(()),
                        Some(reason) => anyhow::anyhow!(reason),
                    }
                }
                Err(Refused::Now(error)) => error,
                // A daemon that was there may be starting again; one that never was is told at once.
                Err(Refused::Away(error)) if answered => error,
                Err(Refused::Away(error) | Refused::ForGood(error)) => return Err(error),
            };
            tries += 1;
            if tries >= TRIES {
                return Err(reason.context(format!("{TRIES} tries in a row brought nothing")));
            }
            out::note(&format!("{reason:#}; trying again"));
            tokio::time::sleep(pause(tries)).await;
        }
    }

    async fn open(&self, path: &str, last_id: &str) -> Result<Response, Refused> {
        let mut request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        if !last_id.is_empty() {
            request = request.header("Last-Event-ID", last_id);
        }
        let away = || format!("no daemon answers at {}", self.url);
        let answer = match tokio::time::timeout(DEADLINE, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Refused::Away(anyhow::Error::new(error).context(away()))),
            Err(_) => return Err(Refused::Away(anyhow::anyhow!(away()))),
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status if passes(status) => Err(Refused::Now(said(answer).await)),
            _ => Err(Refused::ForGood(said(answer).await)),
        }
    }
}

/// Why a stream was not opened.
enum Refused {
    /// The daemon cannot serve it just now.
    Now(anyhow::Error),
    /// Nobody answers.
    Away(anyhow::Error),
    /// The request is wrong, and will be.
    ForGood(anyhow::Error),
}

/// Whether the same request may succeed later.
fn passes(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.saturating_sub(1).min(4)).min(PAUSE_MAX)
}

/// The daemon's own sentence about a request that it refused.
async fn said(answer: Response) -> anyhow::Error {
    let status = answer.status();
    let body = tokio::time::timeout(DEADLINE, answer.json::<Value>()).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    match (body["message"].as_str(), body["field"].as_str()) {
        (Some(message), Some(field)) => anyhow::anyhow!("{message} ({field}, {})", status.as_u16()),
        (Some(message), None) => anyhow::anyhow!("{message} ({})", status.as_u16()),
        _ => anyhow::anyhow!("the daemon answered {status}"),
    }
}

/// Reads a stream to its end; `None` when `until` has seen enough, else why it ended.
async fn read(
    stream: Response,
    last_id: &mut String,
    brought: &mut bool,
    until: &mut impl FnMut(&str, &Value) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<String>> {
    let mut stream = stream.bytes_stream();
    let mut text = Vec::new();
    loop {
        let chunk = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => return Ok(Some(format!("the stream was cut: {error}"))),
            Ok(None) => return Ok(Some("the daemon ended the stream".to_owned())),
            Err(_) => return Ok(Some(format!("nothing came for {} s", SILENCE.as_secs()))),
        };
        *brought = true;
        text.extend_from_slice(&chunk);
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            let (id, kind, data) = parse_event(&String::from_utf8_lossy(&block));
            // After it was shown: what was not is asked for again.
            if !kind.is_empty() && until(&kind, &data)? {
                return Ok(None);
            }
            if !id.is_empty() {
                *last_id = id;
            }
        }
        if text.len() > EVENT_BYTES_MAX {
            bail!("an event of more than {EVENT_BYTES_MAX} bytes: this is no daemon of ours");
        }
    }
}

fn parse_event(block: &str) -> (String, String, Value) {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
    };
    (field("id"), field("event"), serde_json::from_str(&field("data")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_skipped() {
        let (id, kind, data) = parse_event("id: 7\nevent: step\ndata: {\"step\":\"folder\"}\n\n");
        assert_eq!((id.as_str(), kind.as_str(), data["step"].as_str()), ("7", "step", Some("folder")));
        assert_eq!(parse_event(": keep\n\n").1, "");
    }

    #[test]
    fn only_what_passes_is_tried_again_and_not_for_ever() {
        let tried: Vec<u16> = (400..600).filter(|code| StatusCode::from_u16(*code).is_ok_and(passes)).collect();
        assert_eq!(tried, [502, 503, 504]);
        let pauses: Vec<u64> = (1..TRIES).map(|tries| pause(tries).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8, 8, 8, 8]);
    }
}

//! The REST client behind `supamanager project`. SUPAMANAGER_URL and SUPAMANAGER_TOKEN are its own settings and
//! mean nothing to the daemon (decision 24).

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::Value;

/// Limit of one answer; event streams have none.
const DEADLINE: Duration = Duration::from_secs(60);

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
        let mut http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
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
        Ok(self.send(method, path, body).await?.json().await?)
    }

    /// One call with a text answer.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.send(Method::GET, path, None).await?.text().await?)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token).timeout(DEADLINE);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("no daemon answers at {}", self.url))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        match (body["message"].as_str(), body["field"].as_str()) {
            (Some(message), Some(field)) => bail!("{message} ({field}, {})", status.as_u16()),
            (Some(message), None) => bail!("{message} ({})", status.as_u16()),
            _ => bail!("the daemon answered {status}"),
        }
    }

    /// Follows a project's events until `until` says that it has seen enough. A cut stream is taken up again.
    ///
    /// # Errors
    /// The daemon's own sentence.
    pub async fn follow(&self, project: &str, mut until: impl FnMut(&str, &Value) -> bool) -> anyhow::Result<()> {
        let mut last_id = String::from("0");
        loop {
            let request = self.http.get(format!("{}/platform/projects/{project}/events", self.url));
            let answer = request.bearer_auth(&self.token).header("Last-Event-ID", &last_id).send().await;
            if let Ok(answer) = answer
                && answer.status().is_success()
            {
                let mut stream = answer.bytes_stream();
                let mut text = Vec::new();
                while let Some(Ok(chunk)) = stream.next().await {
                    text.extend_from_slice(&chunk);
                    while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                        let block: Vec<u8> = text.drain(..end + 2).collect();
                        let (id, kind, data) = parse_event(&String::from_utf8_lossy(&block));
                        if !id.is_empty() {
                            last_id = id;
                        }
                        if !kind.is_empty() && until(&kind, &data) {
                            return Ok(());
                        }
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Says clearly when it is not the stream but the daemon or the token.
            self.json(Method::GET, &format!("/platform/projects/{project}"), None).await?;
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
}

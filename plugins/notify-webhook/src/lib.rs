//! The example of a plugin that reaches outside: it posts what happens to projects to an address of the operator's, as it is
//! or as one sentence for a chat room. The daemon's own webhook is signed and keeps its order; this one is for people.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use supamanager_plugin::egress::{Request, Response};
use supamanager_plugin::{AccessError, Error, Notifier, egress, export_notifier, options};

/// Limit of one request: the daemon gives the whole call ten seconds (`notify.deadline_s`).
const DEADLINE_MS: u32 = 8_000;
/// After a server that is busy and does not say for how long.
const RETRY_MS: u64 = 30_000;

#[derive(Deserialize)]
struct Options {
    url: Option<String>,
    #[serde(default)]
    format: Format,
    kinds: Option<Vec<String>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Text,
}

struct NotifyWebhook;

impl Notifier for NotifyWebhook {
    fn notify(message: &str) -> Result<(), Error> {
        tell(message, &options::get(), egress::send)
    }
}

export_notifier!(NotifyWebhook);

fn tell(message: &str, options: &str, send: impl Fn(&Request) -> Result<Response, AccessError>) -> Result<(), Error> {
    let read = |what: &str, error: serde_json::Error| Error::InvalidInput(format!("the {what} cannot be read: {error}"));
    let options: Options = serde_json::from_str(options).map_err(|error| read("options", error))?;
    let content: Value = serde_json::from_str(message).map_err(|error| read("message", error))?;
    let Some(url) = options.url else { return Ok(()) };
    let kind = content["kind"].as_str().unwrap_or_default();
    if options.kinds.is_some_and(|kinds| kinds.iter().all(|wanted| wanted != kind)) {
        return Ok(());
    }
    let body = match options.format {
        Format::Json => message.to_owned(),
        Format::Text => json!({ "text": sentence(&content) }).to_string(),
    };
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(options.headers);
    let request = Request { method: "POST".to_owned(), url, headers, body: body.into_bytes(), deadline_ms: DEADLINE_MS };
    judge(&send(&request).map_err(|error| match error {
        AccessError::Denied(words) => Error::Denied(words),
        error => Error::Failed(error.text().to_owned()),
    })?)
}

/// Taken is what is answered with 2xx; what is wrong with the message itself is not told again.
fn judge(answer: &Response) -> Result<(), Error> {
    match answer.status {
        200..=299 => Ok(()),
        429 | 503 => {
            let after = answer.headers.iter().find(|(name, _)| name == "retry-after");
            let seconds: Option<u64> = after.and_then(|(_, value)| value.trim().parse().ok());
            Err(Error::RetryAfter(seconds.map_or(RETRY_MS, |seconds| seconds.saturating_mul(1_000))))
        }
        // A redirect is a wrong address: nobody follows it.
        300..=499 => Err(Error::InvalidInput(format!("the address answered {}", answer.status))),
        status => Err(Error::Failed(format!("the address answered {status}"))),
    }
}

fn sentence(message: &Value) -> String {
    let text = |key: &str| message[key].as_str().unwrap_or("?").to_owned();
    let project = match (message["name"].as_str(), message["project"].as_str()) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (_, Some(id)) => id.to_owned(),
        _ => "supamanager".to_owned(),
    };
    let why = message["reason"].as_str().filter(|why| !why.is_empty()).map(|why| format!(": {why}")).unwrap_or_default();
    match message["kind"].as_str() {
        Some("status") => format!("{project} is {}, it was {}{why}", text("to"), text("from")),
        kind => format!("{project}: {}{why}", kind.unwrap_or("news")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const STATUS: &str = r#"{"id": "msg_1", "kind": "status", "project": "abc", "name": "Shop", "from": "ACTIVE_HEALTHY", "to": "ACTIVE_UNHEALTHY", "reason": "auth is down"}"#;

    fn answered(status: u16, retry_after: Option<&str>) -> Result<Response, AccessError> {
        let headers = retry_after.map(|value| ("retry-after".to_owned(), value.to_owned())).into_iter().collect();
        Ok(Response { status, headers, body: Vec::new() })
    }

    #[test]
    fn a_chat_room_gets_a_sentence_and_the_operators_headers() {
        let sent = RefCell::new(Vec::new());
        let options = r#"{"url": "https://chat.example/x", "format": "text", "headers": {"authorization": "Bearer t"}}"#;
        tell(STATUS, options, |request| {
            sent.borrow_mut().push((request.headers.clone(), String::from_utf8_lossy(&request.body).into_owned()));
            answered(200, None)
        })
        .expect("it is taken");
        let sent = sent.into_inner();
        assert_eq!(sent[0].1, r#"{"text":"Shop (abc) is ACTIVE_UNHEALTHY, it was ACTIVE_HEALTHY: auth is down"}"#);
        assert!(sent[0].0.contains(&("authorization".to_owned(), "Bearer t".to_owned())));
    }

    #[test]
    fn what_nobody_asked_for_is_not_sent() {
        for options in ["{}", r#"{"url": "https://a/", "kinds": ["disk"]}"#] {
            tell(STATUS, options, |_| panic!("nothing is sent")).expect("nothing to do");
        }
    }

    #[test]
    fn who_is_away_is_told_again_and_who_refuses_is_not() {
        let told = |answer: Result<Response, AccessError>| {
            let answer = RefCell::new(Some(answer));
            tell(STATUS, r#"{"url": "https://a/"}"#, |_| answer.borrow_mut().take().expect("one request"))
        };
        assert!(matches!(told(answered(429, Some("7"))), Err(Error::RetryAfter(7_000))));
        assert!(matches!(told(answered(503, None)), Err(Error::RetryAfter(RETRY_MS))));
        assert!(matches!(told(answered(404, None)), Err(Error::InvalidInput(_))));
        assert!(matches!(told(answered(302, None)), Err(Error::InvalidInput(_))));
        assert!(matches!(told(answered(500, None)), Err(Error::Failed(_))));
        assert!(matches!(told(Err(AccessError::TimedOut("late".to_owned()))), Err(Error::Failed(_))));
        assert!(matches!(told(Err(AccessError::Denied("no".to_owned()))), Err(Error::Denied(_))));
    }
}

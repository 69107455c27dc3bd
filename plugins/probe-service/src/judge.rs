//! What an answer, or none, says about a service.

use supamanager_plugin::service_http::Response;
use supamanager_plugin::{AccessError, Error, Report, State};

use crate::spec::Http;

/// Characters of a service's own words that go into a reason.
const QUOTE_CHARS: usize = 120;

/// All is well.
pub fn healthy(endpoint: String) -> Report {
    Report { state: State::Healthy, reason: String::new(), endpoint }
}

/// No answer. Nothing listening is what a service looks like that is still starting, or restarting; only
/// time tells it from one that is gone, and the host keeps the time. Not being allowed to ask says nothing
/// about the service at all, so that is an error.
pub fn failure(endpoint: String, error: AccessError, what: &str) -> Result<Report, Error> {
    let reason = format!("{what}: {}", error.text());
    match error {
        AccessError::Refused(_) => Ok(Report { state: State::Starting, reason, endpoint }),
        AccessError::TimedOut(_) | AccessError::Failed(_) => Ok(Report { state: State::Unhealthy, reason, endpoint }),
        AccessError::Denied(_) => Err(Error::Denied(reason)),
    }
}

/// Why an answer is not the expected one; `None` when it is.
pub fn http(expected: &Http, response: &Response) -> Option<String> {
    if !expected.status.contains(&response.status) {
        let wanted: Vec<String> = expected.status.iter().map(u16::to_string).collect();
        return Some(format!("answered {}, expected {}{}", response.status, wanted.join(" or "), quote(&response.body)));
    }
    if let Some(text) = &expected.body
        && !String::from_utf8_lossy(&response.body).contains(text)
    {
        return Some(format!("the answer does not hold `{text}`{}", quote(&response.body)));
    }
    let json = expected.json.as_ref()?;
    let body: serde_json::Value = match serde_json::from_slice(&response.body) {
        Ok(body) => body,
        Err(error) => return Some(format!("the answer is no JSON ({error}){}", quote(&response.body))),
    };
    match body.pointer(&json.pointer) {
        Some(found) if *found == json.equals => None,
        Some(found) => Some(cut(&format!("`{}` is {found}, expected {}", json.pointer, json.equals))),
        None => Some(format!("the answer has no `{}`{}", json.pointer, quote(&response.body))),
    }
}

fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { String::new() } else { format!(": {}", cut(&line)) }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Spec, parse};

    fn verdict(extra: &str, status: u16, body: &str) -> Option<String> {
        let Some(Spec::Http(spec)) = parse(&format!(r#"{{"kind":"http","port":1,"path":"/"{extra}}}"#)).unwrap() else {
            panic!("an http probe");
        };
        http(&spec, &Response { status, headers: Vec::new(), body: body.into() })
    }

    #[test]
    fn the_expected_answer_is_healthy() {
        assert_eq!(verdict("", 200, ""), None);
        assert_eq!(verdict(r#","status":[404],"body":"no Route matched""#, 404, "{no Route matched with}"), None);
        assert_eq!(verdict(r#","json":{"pointer":"/data/healthy","equals":true}"#, 200, r#"{"data":{"healthy":true}}"#), None);
    }

    #[test]
    fn another_answer_is_unhealthy_with_the_reason() {
        for (extra, status, body, word) in [
            ("", 503, "coming\n up", "answered 503, expected 200: coming up"),
            (r#","status":[200,204]"#, 500, "", "answered 500, expected 200 or 204"),
            (r#","body":"GoTrue""#, 200, "nginx", "does not hold `GoTrue`: nginx"),
            (r#","json":{"pointer":"/ok","equals":true}"#, 200, "<html>", "no JSON"),
            (r#","json":{"pointer":"/ok","equals":true}"#, 200, "{}", "has no `/ok`"),
            (r#","json":{"pointer":"/ok","equals":true}"#, 200, r#"{"ok":"yes"}"#, "`/ok` is \"yes\", expected true"),
        ] {
            let reason = verdict(extra, status, body).expect("unhealthy");
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        assert!(verdict("", 500, &"é".repeat(4_000)).expect("unhealthy").len() < 400);
    }

    #[test]
    fn nothing_listening_is_starting_and_not_being_allowed_is_an_error() {
        let state = |error| failure(String::new(), error, "GET").map(|report| report.state);
        assert!(matches!(state(AccessError::Refused("r".into())), Ok(State::Starting)));
        assert!(matches!(state(AccessError::TimedOut("t".into())), Ok(State::Unhealthy)));
        assert!(matches!(state(AccessError::Failed("f".into())), Ok(State::Unhealthy)));
        assert!(matches!(state(AccessError::Denied("d".into())), Err(Error::Denied(_))));
    }
}

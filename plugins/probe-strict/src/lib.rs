//! A health plugin to swap in. The health checks of auth and storage answer without asking the database, so a project whose
//! database no longer lets them in looks healthy. This one asks each for something that only the database knows, with the
//! service role's key, which it never sees; every other service is left to the next plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use supamanager_plugin::service_http::{self, Request, Response};
use supamanager_plugin::{AccessError, Error, Prober, Report, State, export_prober, options};

/// Below the five seconds of a whole check, so that a silent service is reported by name.
const DEADLINE_MS: u32 = 3_000;
/// Characters of a service's own words that go into a reason.
const QUOTE_CHARS: usize = 120;

#[derive(Deserialize)]
struct Options {
    #[serde(default = "usual")]
    ask: BTreeMap<String, Ask>,
}

#[derive(Deserialize)]
struct Ask {
    port: u16,
    path: String,
}

/// GoTrue's list of users and storage's list of buckets, the shortest that there are.
fn usual() -> BTreeMap<String, Ask> {
    let ask = |port, path: &str| Ask { port, path: path.to_owned() };
    BTreeMap::from([
        ("auth".to_owned(), ask(9999, "/admin/users?page=1&per_page=1")),
        ("storage".to_owned(), ask(5000, "/bucket?limit=1")),
    ])
}

struct ProbeStrict;

impl Prober for ProbeStrict {
    fn check(_project: &str, service: &str, _spec: &str) -> Result<Option<Report>, Error> {
        let options: Options = serde_json::from_str(&options::get())
            .map_err(|error| Error::InvalidInput(format!("the options cannot be read: {error}")))?;
        let Some(ask) = options.ask.get(service) else { return Ok(None) };
        let key = "Bearer ${SERVICE_ROLE_KEY}".to_owned();
        let answer = service_http::send(&Request {
            service: service.to_owned(),
            port: ask.port,
            method: "GET".to_owned(),
            path: ask.path.clone(),
            headers: vec![("authorization".to_owned(), key)],
            body: Vec::new(),
            deadline_ms: DEADLINE_MS,
        });
        judge(format!("http://{service}:{}{}", ask.port, ask.path), answer).map(Some)
    }
}

export_prober!(ProbeStrict);

fn judge(endpoint: String, answer: Result<Response, AccessError>) -> Result<Report, Error> {
    let (state, reason) = match answer {
        Ok(answer) if answer.status == 200 => (State::Healthy, String::new()),
        Ok(answer) => {
            let words: String = String::from_utf8_lossy(&answer.body).chars().take(QUOTE_CHARS).collect();
            (State::Unhealthy, format!("asked for what the database knows, it answered {}: {words}", answer.status))
        }
        // What a service looks like that is still starting.
        Err(AccessError::Refused(words)) => (State::Starting, words),
        Err(AccessError::TimedOut(words) | AccessError::Failed(words)) => (State::Unhealthy, words),
        // It says nothing about the service.
        Err(AccessError::Denied(words)) => return Err(Error::Denied(words)),
    };
    Ok(Report { state, reason, endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(answer: Result<Response, AccessError>) -> Option<State> {
        judge("http://auth:9999/".to_owned(), answer).ok().map(|report| report.state)
    }

    #[test]
    fn only_an_answer_out_of_the_database_is_healthy() {
        let answered = |status| Ok(Response { status, headers: Vec::new(), body: b"database error".to_vec() });
        assert!(matches!(state(answered(200)), Some(State::Healthy)));
        assert!(matches!(state(answered(500)), Some(State::Unhealthy)));
        assert!(matches!(state(Err(AccessError::TimedOut("late".to_owned()))), Some(State::Unhealthy)));
        assert!(matches!(state(Err(AccessError::Refused("nothing listens".to_owned()))), Some(State::Starting)));
        assert!(state(Err(AccessError::Denied("no such secret".to_owned()))).is_none());
    }

    #[test]
    fn auth_and_storage_are_asked_unless_the_options_say_otherwise() {
        let asked = |text: &str| serde_json::from_str::<Options>(text).unwrap().ask.into_keys().collect::<Vec<_>>();
        assert_eq!(asked("{}"), ["auth", "storage"]);
        assert_eq!(asked(r#"{"ask": {"rest": {"port": 3000, "path": "/"}}}"#), ["rest"]);
    }
}

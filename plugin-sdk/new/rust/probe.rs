//! Healthy is a service that listens on port 80, if its probe is a motto.

use supamanager_plugin::{AccessError, Error, Prober, Report, State, export_prober, service_tcp};

const PORT: u16 = 80;

/// Below the five seconds of the whole call, so that a service that does not answer is reported by name.
const DEADLINE_MS: u32 = 1_000;

struct Plugin;

impl Prober for Plugin {
    fn check(_project: &str, service: &str, spec: &str) -> Result<Option<Report>, Error> {
        if !spec.contains("motto") {
            return Ok(None); // not a probe of ours: the next plugin is asked
        }
        Ok(Some(report(service, service_tcp::connect(service, PORT, DEADLINE_MS))))
    }
}

export_prober!(Plugin);

fn report(service: &str, connected: Result<u32, AccessError>) -> Report {
    let (state, reason) = match connected {
        Ok(_ms) => (State::Healthy, String::new()),
        Err(error) => (State::Starting, error.text().to_owned()),
    };
    Report { state, reason, endpoint: format!("tcp://{service}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_listen_is_starting_and_says_why() {
        let report = report("motto", Err(AccessError::Refused("nothing listens".into())));
        assert_eq!(report.state, State::Starting);
        assert_eq!((report.reason.as_str(), report.endpoint.as_str()), ("nothing listens", "tcp://motto:80"));
    }
}

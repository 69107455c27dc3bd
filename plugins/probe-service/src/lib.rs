//! The probes of the shipped template sets. What "healthy" means for a service is data, the `probe` table of
//! `set.toml`; this plugin knows the three kinds of table and no service by name.

mod judge;
mod spec;

use supamanager_plugin::service_http::Request;
use supamanager_plugin::{Error, Prober, Report, State, db_login, export_prober, service_http, service_tcp};

use spec::{Http, Login, Spec, Tcp};

/// Limit of one question. Below the five seconds the host gives a whole check, so that a service that does not
/// answer is reported by name instead of ending the check.
const DEADLINE_MS: u32 = 3_000;

struct ProbeService;

impl Prober for ProbeService {
    fn check(_project: &str, service: &str, spec: &str) -> Result<Option<Report>, Error> {
        match spec::parse(spec).map_err(Error::InvalidInput)? {
            None => Ok(None),
            Some(Spec::Login(login)) => check_login(service, &login).map(Some),
            Some(Spec::Http(http)) => check_http(service, http).map(Some),
            Some(Spec::Tcp(tcp)) => check_tcp(service, &tcp).map(Some),
        }
    }
}

export_prober!(ProbeService);

fn check_login(service: &str, login: &Login) -> Result<Report, Error> {
    let endpoint = format!("postgres://{service}:{}", login.port);
    for role in &login.roles {
        if let Err(error) = db_login::login(service, login.port, role, DEADLINE_MS) {
            return judge::failure(endpoint, error, &format!("login as `{role}`"));
        }
    }
    Ok(judge::healthy(endpoint))
}

fn check_http(service: &str, http: Http) -> Result<Report, Error> {
    let endpoint = format!("http://{service}:{}{}", http.port, http.path);
    let request = Request {
        service: service.to_owned(),
        port: http.port,
        method: "GET".to_owned(),
        path: http.path.clone(),
        headers: http.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body: Vec::new(),
        deadline_ms: DEADLINE_MS,
    };
    match service_http::send(&request) {
        Err(error) => judge::failure(endpoint, error, "GET"),
        Ok(response) => Ok(match judge::http(&http, &response) {
            None => judge::healthy(endpoint),
            Some(reason) => Report { state: State::Unhealthy, reason, endpoint },
        }),
    }
}

fn check_tcp(service: &str, tcp: &Tcp) -> Result<Report, Error> {
    let endpoint = format!("tcp://{service}:{}", tcp.port);
    match service_tcp::connect(service, tcp.port, DEADLINE_MS) {
        Ok(_) => Ok(judge::healthy(endpoint)),
        Err(error) => judge::failure(endpoint, error, "connect"),
    }
}

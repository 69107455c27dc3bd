//! What a plugin may ask of the host. The manifest requests interfaces, the hook decides which of them can be
//! granted at all, and each call is scoped to what it is about: a probe reaches the service it was asked
//! about and no other; a post-create plugin makes those requests its manifest lists.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::limits::Hook;
use crate::domain::ServiceName;
use crate::stack::compose::references;

/// An interface of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Lines for the operator.
    Log,
    /// The texts of the template set.
    Templates,
    /// Time.
    Clock,
    /// HTTP to the project's services.
    ServiceHttp,
    /// Whether something listens.
    ServiceTcp,
    /// The engine's own verdict.
    EngineHealth,
    /// Whether a role gets in.
    DbLogin,
    /// Statements.
    Sql,
    /// How far a hook has come.
    Progress,
    /// What the project's people chose.
    Options,
    /// Signatures under secrets.
    Sign,
    /// What a plugin remembers.
    Memory,
    /// HTTP to hosts outside.
    Egress,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Log,
        Self::Templates,
        Self::Clock,
        Self::ServiceHttp,
        Self::ServiceTcp,
        Self::EngineHealth,
        Self::DbLogin,
        Self::Sql,
        Self::Progress,
        Self::Options,
        Self::Sign,
        Self::Memory,
        Self::Egress,
    ];

    /// Its name in the contract and in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Templates => "templates",
            Self::Clock => "clock",
            Self::ServiceHttp => "service-http",
            Self::ServiceTcp => "service-tcp",
            Self::EngineHealth => "engine-health",
            Self::DbLogin => "db-login",
            Self::Sql => "sql",
            Self::Progress => "progress",
            Self::Options => "options",
            Self::Sign => "sign",
            Self::Memory => "memory",
            Self::Egress => "egress",
        }
    }

    /// Whether it leads out of the call: such an interface is granted, not only requested.
    pub fn reaches_out(self) -> bool {
        matches!(self, Self::ServiceHttp | Self::ServiceTcp | Self::DbLogin | Self::Sql | Self::Sign | Self::Egress)
    }

    /// What it lets a plugin do, for people.
    pub fn means(self) -> &'static str {
        match self {
            Self::Log => "lines for the log",
            Self::Templates => "the texts of the template set",
            Self::Clock => "the time",
            Self::ServiceHttp => "HTTP to services of the project that the call is about",
            Self::ServiceTcp => "connections to services of the project that the call is about",
            Self::EngineHealth => "the container engine's verdict on a service",
            Self::DbLogin => "whether a role of the project's database gets in; the host has the password",
            Self::Sql => "statements in the project's database, never as a superuser",
            Self::Progress => "how far it has come",
            Self::Options => "what the operator and the project's people chose",
            Self::Sign => "signatures under secrets of the project that plugin.toml lists",
            Self::Memory => "64 KiB that it keeps of each project",
            Self::Egress => "HTTP to hosts outside that are listed one by one",
        }
    }

    /// The interface of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.as_str() == name)
    }
}

/// What a hook's plugins can be granted: the imports of its world, and nothing beside them.
pub fn grantable(hook: Hook) -> &'static [Interface] {
    use Interface::*;
    match hook {
        Hook::Render => &[Log, Templates, Options],
        Hook::Probe => &[Log, Clock, ServiceHttp, ServiceTcp, EngineHealth, DbLogin, Options],
        Hook::PostCreate | Hook::BeforeDelete | Hook::AfterResume => {
            &[Log, Clock, Progress, ServiceHttp, Sql, Options, Sign, Memory, Egress]
        }
        Hook::Admit => &[Log, Clock, Options],
        Hook::Notify => &[Log, Clock, Options, Memory, Egress],
    }
}

/// What the plugin of these hooks gets of what it requests.
///
/// # Errors
/// A sentence naming the first interface that none of its hooks can be granted.
pub fn grant(hooks: &[Hook], requested: &BTreeSet<Interface>) -> Result<BTreeSet<Interface>, String> {
    let possible: BTreeSet<Interface> = hooks.iter().flat_map(|hook| grantable(*hook)).copied().collect();
    match requested.difference(&possible).next() {
        None => Ok(requested.clone()),
        Some(refused) => {
            let hooks: Vec<&str> = hooks.iter().map(|hook| hook.as_str()).collect();
            let possible: Vec<&str> = possible.iter().map(|interface| interface.as_str()).collect();
            Err(format!(
                "`imports` requests `{}`, which the hook {} is never granted; it can have {}",
                refused.as_str(),
                hooks.join(", "),
                possible.join(", ")
            ))
        }
    }
}

/// Requests that a plugin which works on a project may make, as its manifest lists them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// The service.
    pub service: ServiceName,
    /// The methods, in capitals.
    pub methods: Vec<String>,
    /// What a path begins with.
    pub path_prefix: String,
}

/// Which services one call may reach.
#[derive(Debug, Clone)]
pub enum Scope {
    /// None.
    Nothing,
    /// One service, with GET and HEAD only: a probe looks and does not touch.
    Probed(ServiceName),
    /// What the manifest lists; statements go to any service, as roles the way to it allows.
    Listed {
        /// Requests.
        http: Vec<HttpRequest>,
        /// Names of secrets to sign with.
        sign: Vec<String>,
    },
}

impl Scope {
    /// Whether a request may be made.
    ///
    /// # Errors
    /// A sentence saying what is not allowed.
    pub fn http(&self, service: &ServiceName, method: &str, path: &str) -> Result<(), String> {
        if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("a path begins with / and holds no spaces and no control characters".to_owned());
        }
        match self {
            Self::Probed(_) if !matches!(method, "GET" | "HEAD") => Err(format!("a probe may say GET and HEAD, not {method}")),
            Self::Listed { http, .. } => {
                let climbs = climbs(path);
                let listed = |entry: &HttpRequest| {
                    entry.service == *service
                        && entry.methods.iter().any(|listed| listed == method)
                        && path.starts_with(&entry.path_prefix)
                };
                if !climbs && http.iter().any(listed) {
                    Ok(())
                } else {
                    Err(format!("`{method} {path}` to `{service}` is not among the `[[http]]` entries of plugin.toml"))
                }
            }
            _ => self.probed(service),
        }
    }

    /// Whether a service may be looked at in another way than HTTP: a connection, a login, the engine's word.
    ///
    /// # Errors
    /// A sentence saying what is not allowed.
    pub fn probed(&self, service: &ServiceName) -> Result<(), String> {
        match self {
            Self::Probed(probed) if probed == service => Ok(()),
            Self::Probed(probed) => Err(format!("a probe of `{probed}` does not reach `{service}`")),
            Self::Nothing | Self::Listed { .. } => Err(format!("this hook does not reach `{service}` that way")),
        }
    }

    /// Whether statements may be run at all.
    ///
    /// # Errors
    /// A sentence.
    pub fn sql(&self, service: &ServiceName) -> Result<(), String> {
        match self {
            Self::Listed { .. } => Ok(()),
            Self::Nothing | Self::Probed(_) => Err(format!("this hook runs no statements in `{service}`")),
        }
    }

    /// Whether a secret may be signed with.
    ///
    /// # Errors
    /// A sentence saying what is not allowed.
    pub fn sign(&self, secret: &str) -> Result<(), String> {
        match self {
            Self::Listed { sign, .. } if sign.iter().any(|listed| listed == secret) => Ok(()),
            _ => Err(format!("`{secret}` is not among the names under `sign` in plugin.toml")),
        }
    }
}

/// Stands for every secret of the project in a manifest's `secrets`.
pub const EVERY_SECRET: &str = "*";

/// Whether the headers of a request refer to secrets only that a manifest lists.
///
/// # Errors
/// A sentence naming the header, and never its value.
pub fn refers(listed: &[String], headers: &[(String, String)]) -> Result<(), String> {
    for (header, value) in headers {
        let names = references(value).map_err(|problem| format!("header `{header}` {problem}"))?;
        if let Some(name) = names.into_iter().find(|name| !listed.iter().any(|listed| listed == name || listed == EVERY_SECRET)) {
            return Err(format!("header `{header}`: `{name}` is not among the names under `secrets` in plugin.toml"));
        }
    }
    Ok(())
}

/// Whether a path that begins as it should may end elsewhere: `/rest/../pg/`, in any spelling that a client or a gateway
/// takes for it. A URL parser reads `\\` as `/` and `%2e` as `.` (<https://url.spec.whatwg.org/#double-dot-path-segment>).
fn climbs(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    let dots = lower.replace("%2e", ".");
    path.contains(['\\', '#'])
        || ["%2f", "%5c", "%25"].iter().any(|hidden| lower.contains(hidden))
        || dots.split('/').any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> ServiceName {
        ServiceName::parse(name).unwrap()
    }

    #[test]
    fn a_renderer_is_never_granted_the_way_to_a_service() {
        let requested = BTreeSet::from([Interface::Log, Interface::ServiceHttp]);
        let refusal = grant(&[Hook::Render], &requested).unwrap_err();
        assert!(refusal.contains("`service-http`") && refusal.contains("render"), "{refusal}");
    }

    #[test]
    fn a_probe_reaches_its_own_service_and_only_looks() {
        let scope = Scope::Probed(service("auth"));
        assert!(scope.http(&service("auth"), "GET", "/health").is_ok());
        for (name, method, path) in
            [("db", "GET", "/"), ("auth", "POST", "/"), ("auth", "GET", "health"), ("auth", "GET", "/a\r\nb: c")]
        {
            assert!(scope.http(&service(name), method, path).is_err(), "{name} {method} {path:?}");
        }
        assert!(scope.probed(&service("db")).is_err() && scope.sql(&service("auth")).is_err());
    }

    #[test]
    fn headers_refer_to_listed_secrets_only() {
        let listed = ["ANON_KEY".to_owned()];
        let header = |value: &str| [("apikey".to_owned(), value.to_owned())];
        for plain in ["", "text", "$$5", "Bearer ${ANON_KEY}"] {
            assert_eq!(refers(&listed, &header(plain)), Ok(()), "{plain}");
        }
        for (listed, value, word) in [
            (&listed[..], "${ANON_KEY}${SERVICE_ROLE_KEY}", "`SERVICE_ROLE_KEY` is not among"),
            (&[], "${ANON_KEY}", "`ANON_KEY` is not among"),
            (&listed, "$ANON_KEY", "header `apikey` holds a `$`"),
        ] {
            let refusal = refers(listed, &header(value)).unwrap_err();
            assert!(refusal.contains(word) && refusal.contains("apikey"), "{value}: {refusal}");
        }
        assert_eq!(refers(&[EVERY_SECRET.to_owned()], &header("${ANYTHING}")), Ok(()));
    }

    #[test]
    fn a_post_create_plugin_makes_listed_requests_only() {
        let entry = HttpRequest { service: service("kong"), methods: vec!["POST".into()], path_prefix: "/rest/".into() };
        let scope = Scope::Listed { http: vec![entry], sign: vec!["JWT_SECRET".to_owned()] };
        assert!(scope.sign("JWT_SECRET").is_ok() && scope.sign("DB_PASSWORD").is_err());
        assert!(scope.http(&service("kong"), "POST", "/rest/v1/").is_ok());
        for (name, method, path) in [
            ("meta", "POST", "/rest/"),
            ("kong", "GET", "/rest/"),
            ("kong", "POST", "/pg/"),
            ("kong", "POST", "/rest/../pg/"),
            ("kong", "POST", "/rest/%2E%2e/pg/"),
            ("kong", "POST", "/rest/.%2e/pg/"),
            ("kong", "POST", "/rest/..\\pg/"),
            ("kong", "POST", "/rest/..%2fpg/"),
            ("kong", "POST", "/rest/%252e%252e/pg/"),
            ("kong", "POST", "/rest/./../pg/"),
        ] {
            assert!(scope.http(&service(name), method, path).is_err(), "{name} {method} {path}");
        }
    }
}

//! The three kinds of `probe` table. A kind that is none of them belongs to another plugin; a field that is
//! none of a kind's is a typing error and said so.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One table.
#[derive(Debug)]
pub enum Spec {
    Login(Login),
    Http(Http),
    Tcp(Tcp),
}

/// Every role gets in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub port: u16,
    pub roles: Vec<String>,
}

/// A GET is answered as expected; what is left out is not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub port: u16,
    pub path: String,
    #[serde(default = "ok")]
    pub status: Vec<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text the body holds.
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub json: Option<Expected>,
}

/// A JSON pointer and the value that stands there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub pointer: String,
    pub equals: Value,
}

/// Something listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    pub port: u16,
}

fn ok() -> Vec<u16> {
    vec![200]
}

/// Reads a table; `None` when its kind is not one of ours.
pub fn parse(text: &str) -> Result<Option<Spec>, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| format!("the probe is no JSON: {error}"))?;
    let table = value.as_object_mut().ok_or("the probe is not a table")?;
    let kind = match table.remove("kind") {
        Some(Value::String(kind)) => kind,
        _ => return Err("the probe has no `kind`: write login, http or tcp".to_owned()),
    };
    let spec = match kind.as_str() {
        "login" => Spec::Login(read(&kind, value)?),
        "http" => Spec::Http(read(&kind, value)?),
        "tcp" => Spec::Tcp(read(&kind, value)?),
        _ => return Ok(None),
    };
    check(&spec).map(|()| Some(spec))
}

fn read<T: DeserializeOwned>(kind: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("the probe of kind `{kind}`: {error}"))
}

fn check(spec: &Spec) -> Result<(), String> {
    let problem = match spec {
        Spec::Login(login) if login.roles.is_empty() => "`roles` is empty: name a role that logs in",
        Spec::Http(http) if !http.path.starts_with('/') => "`path` must begin with /",
        Spec::Http(http) if http.status.is_empty() => "`status` is empty: list what counts as healthy",
        Spec::Http(Http { json: Some(json), .. }) if !json.pointer.is_empty() && !json.pointer.starts_with('/') => {
            "`json.pointer` must begin with / (RFC 6901)"
        }
        _ => return Ok(()),
    };
    Err(format!("the probe: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_probe_expects_200_unless_told_otherwise() {
        let Some(Spec::Http(http)) = parse(r#"{"kind":"http","port":3001,"path":"/ready"}"#).unwrap() else {
            panic!("an http probe");
        };
        assert_eq!((http.port, http.status), (3001, vec![200]));
    }

    #[test]
    fn a_kind_of_somebody_else_is_passed_on() {
        assert!(parse(r#"{"kind":"grpc","port":1}"#).unwrap().is_none());
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (text, word) in [
            ("nonsense", "JSON"),
            ("[]", "not a table"),
            (r#"{"port":1}"#, "`kind`"),
            (r#"{"kind":"tcp"}"#, "port"),
            (r#"{"kind":"tcp","port":70000}"#, "70000"),
            (r#"{"kind":"http","port":1,"path":"/","statsu":[200]}"#, "statsu"),
            (r#"{"kind":"http","port":1,"path":"x"}"#, "`path`"),
            (r#"{"kind":"http","port":1,"path":"/","status":[]}"#, "`status`"),
            (r#"{"kind":"http","port":1,"path":"/","json":{"pointer":"a","equals":1}}"#, "json.pointer"),
            (r#"{"kind":"login","port":1,"roles":[]}"#, "`roles`"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }
}

//! The example of the hook `admit`: names of projects. The operator's options say what they look like
//! (`plugin_options = '{"admit-naming": {"prefix": "acme-", "pattern": "[a-z-]+"}}'`); without options every name will do.

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use supamanager_plugin::{Admitter, Decision, Error, export_admitter, options};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    pattern: Option<String>,
    prefix: String,
    hint: Option<String>,
}

struct AdmitNaming;

impl Admitter for AdmitNaming {
    fn admit(request: &str) -> Result<Decision, Error> {
        decide(request, &options::get())
    }
}

export_admitter!(AdmitNaming);

fn decide(request: &str, options: &str) -> Result<Decision, Error> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Error::InvalidInput(format!("the {what} cannot be read: {error}"));
    let request: Value = serde_json::from_str(request).map_err(|error| wrong("request", &error))?;
    let options: Options = serde_json::from_str(options).map_err(|error| wrong("options", &error))?;
    // An update that leaves the name alone has none.
    let Some(asked) = request["wanted"]["name"].as_str() else { return Ok(Decision::Admit) };
    let name = if asked.starts_with(&options.prefix) { asked.to_owned() } else { format!("{}{asked}", options.prefix) };
    if let Some(pattern) = &options.pattern {
        let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| wrong("option `pattern`", &error))?;
        if !whole.is_match(&name) {
            let hint = options.hint.unwrap_or_else(|| format!("a name here matches `{pattern}`"));
            return Ok(Decision::Refuse(format!("the name `{name}` will not do: {hint}")));
        }
    }
    Ok(if name == asked { Decision::Admit } else { Decision::Amend(json!({ "name": name }).to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(name: &str, options: &str) -> String {
        match decide(&json!({"wanted": {"name": name}}).to_string(), options).unwrap() {
            Decision::Admit => "admitted".to_owned(),
            Decision::Amend(fields) => fields,
            Decision::Refuse(words) => words,
        }
    }

    #[test]
    fn without_options_every_name_will_do() {
        assert_eq!(decided("Ärger 7", "{}"), "admitted");
    }

    #[test]
    fn a_prefix_is_put_before_a_name_once() {
        let options = r#"{"prefix": "acme-"}"#;
        assert_eq!(decided("shop", options), r#"{"name":"acme-shop"}"#);
        assert_eq!(decided("acme-shop", options), "admitted");
    }

    #[test]
    fn the_whole_name_matches_or_is_refused_with_the_hint() {
        let options = r#"{"pattern": "[a-z]+|x", "hint": "small letters only"}"#;
        assert_eq!(decided("shop", options), "admitted");
        for name in ["Shop", "shop7", "x7"] {
            assert!(decided(name, options).contains("small letters only"), "{name}");
        }
        assert!(decide(r#"{"wanted": {"name": "a"}}"#, r#"{"pattern": "("}"#).is_err());
    }

    #[test]
    fn an_update_that_leaves_the_name_alone_is_admitted() {
        let decision = decide(r#"{"kind": "update", "wanted": {"services": {}}}"#, r#"{"pattern": "never"}"#);
        assert!(matches!(decision, Ok(Decision::Admit)));
    }
}

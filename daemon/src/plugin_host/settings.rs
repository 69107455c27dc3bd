//! What a plugin may be told by options: a JSON Schema under `[settings]` of plugin.toml, written as TOML. Options are held
//! against it before anything is accepted, so that a plugin is never called with some that it cannot use.

use jsonschema::Validator;
use serde_json::{Map, Value};

/// The schema, ready to be asked.
pub struct Settings {
    /// As it was written.
    pub schema: Value,
    validator: Validator,
}

impl Settings {
    /// From the table of plugin.toml. References lead nowhere but into the schema itself.
    ///
    /// # Errors
    /// A sentence naming what is wrong with the schema.
    pub fn new(table: &toml::Table) -> Result<Self, String> {
        let schema = serde_json::to_value(table).map_err(|error| format!("`[settings]`: {error}"))?;
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema);
        let validator = validator.map_err(|error| format!("`[settings]` is no JSON Schema: {error}"))?;
        Ok(Self { schema, validator })
    }

    /// Whether these options are such as the plugin takes.
    ///
    /// # Errors
    /// A sentence naming the place and what is wrong there.
    pub fn check(&self, options: &Map<String, Value>) -> Result<(), String> {
        let options = Value::Object(options.clone());
        match self.validator.iter_errors(&options).next() {
            None => Ok(()),
            Some(error) => {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { String::new() } else { format!("at `{place}`: ") };
                Err(format!("{place}{error}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        Settings::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn options_are_held_against_the_schema() {
        let schema = "type = \"object\"\nadditionalProperties = false\n[properties.size]\ntype = \"integer\"\nminimum = 1\n";
        let settings = settings(schema).unwrap();
        let check = |text: &str| settings.check(&serde_json::from_str(text).unwrap());
        assert_eq!(check(r#"{"size": 3}"#), Ok(()));
        for (options, words) in [(r#"{"size": 0}"#, "/size"), (r#"{"size": "3"}"#, "/size"), (r#"{"sise": 3}"#, "sise")] {
            let refusal = check(options).unwrap_err();
            assert!(refusal.contains(words), "{options}: {refusal}");
        }
    }

    #[test]
    fn a_schema_that_is_none_or_leads_outside_is_refused() {
        for text in ["type = \"objekt\"", "\"$ref\" = \"http://127.0.0.1:1/schema.json\"", "\"$ref\" = \"file:///etc/passwd\""] {
            assert!(settings(text).err().unwrap().contains("[settings]"), "{text}");
        }
    }
}

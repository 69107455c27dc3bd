//! What a project's people chose of the plugins: which of them run for it, and with what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// By the name of the plugin; one that is not named here does as its manifest says, with its own defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginChoices(BTreeMap<String, PluginChoice>);

/// `false`, `true`, or the options that it runs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PluginChoice {
    /// Whether it runs.
    Runs(bool),
    /// It runs, with these.
    With(Map<String, Value>),
}

impl PluginChoices {
    /// Whether the plugin runs; `opt_in`: only when it was chosen.
    pub fn runs(&self, plugin: &str, opt_in: bool) -> bool {
        match self.0.get(plugin) {
            None => !opt_in,
            Some(PluginChoice::Runs(runs)) => *runs,
            Some(PluginChoice::With(_)) => true,
        }
    }

    /// What it runs with.
    pub fn options(&self, plugin: &str) -> Map<String, Value> {
        match self.0.get(plugin) {
            Some(PluginChoice::With(options)) => options.clone(),
            _ => Map::new(),
        }
    }

    /// These, with those of `over` in place of the ones of the same plugins.
    #[must_use]
    pub fn changed_by(&self, over: &Self) -> Self {
        let mut changed = self.clone();
        changed.0.extend(over.0.clone());
        changed
    }

    /// Each plugin that was chosen about.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PluginChoice)> {
        self.0.iter().map(|(name, choice)| (name.as_str(), choice))
    }

    /// Nothing was chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(text: &str) -> PluginChoices {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_plugin_runs_as_chosen_and_else_as_its_manifest_says() {
        let choices = choices(r#"{"off": false, "on": true, "with": {"size": 3}}"#);
        let runs = |name| [choices.runs(name, false), choices.runs(name, true)];
        assert_eq!([runs("off"), runs("on"), runs("with"), runs("else")], [[false; 2], [true; 2], [true; 2], [true, false]]);
        assert_eq!((choices.options("with")["size"].as_i64(), choices.options("on").len()), (Some(3), 0));
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let changed = choices(r#"{"a": false, "b": {"x": 1, "y": 2}}"#).changed_by(&choices(r#"{"b": {"x": 3}}"#));
        assert_eq!(serde_json::to_string(&changed).unwrap(), r#"{"a":false,"b":{"x":3}}"#);
    }
}

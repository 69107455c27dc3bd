//! `--plugin NAME`, `--plugin NAME={"size": 3}` and `--no-plugin NAME`: what a project's people choose of the plugins.

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

/// The choices.
#[derive(Args)]
pub struct ChoiceArgs {
    /// A plugin to run for it, with its options as a JSON object after =; may be given several times.
    #[arg(long = "plugin", value_name = "NAME[=JSON]")]
    plugin: Vec<String>,
    /// A plugin to leave out.
    #[arg(long = "no-plugin", value_name = "NAME")]
    no_plugin: Vec<String>,
}

impl ChoiceArgs {
    /// The object of the API; empty when nothing was chosen.
    ///
    /// # Errors
    /// Options that are no JSON, with the plugin's name.
    pub fn as_json(&self) -> anyhow::Result<Map<String, Value>> {
        let mut choices = Map::new();
        for given in &self.plugin {
            let (name, choice) = match given.split_once('=') {
                None => (given.as_str(), json!(true)),
                Some((name, options)) => {
                    let parsed = serde_json::from_str(options);
                    (name, parsed.with_context(|| format!("--plugin {name}: what follows = is no JSON object"))?)
                }
            };
            choices.insert(name.to_owned(), choice);
        }
        choices.extend(self.no_plugin.iter().map(|name| (name.clone(), json!(false))));
        Ok(choices)
    }
}

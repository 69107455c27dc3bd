//! What the daemon loads at its start.

use super::{Finding, bad, good};
use crate::config::Config;
use crate::domain::PluginChoices;
use crate::plugin_host::{HostConfig, Leave, PluginHost, egress_of_plugins};
use crate::templates::{Templates, TemplatesError};

/// Whether there is a renderer.
pub async fn plugins(config: &Config) -> Finding {
    let options = match config.options_of_plugins() {
        Ok(options) => options,
        Err(error) => return bad(format!("plugins: {error}")),
    };
    let leave = match Leave::new(&config.plugin_keys, &config.plugins_unsigned, &config.data_dir) {
        Ok(leave) => leave,
        Err(error) => return bad(format!("plugins: {error}")),
    };
    let egress = config.egress_of_plugins().map_err(|error| error.to_string()).and_then(egress_of_plugins);
    if let Err(error) = egress {
        return bad(format!("plugins: {error}"));
    }
    // A daemon may run beside this, and the kept versions are its own.
    let host = HostConfig { versions: None, options, leave, ..HostConfig::new(&config.plugins_dir, &config.data_dir) };
    match PluginHost::load(host).await {
        Ok(host) if host.has_render(&PluginChoices::default()) => {
            good(format!("plugins: {} from {}", host.list().len(), config.plugins_dir.display()))
        }
        Ok(_) => bad(format!(
            "plugins: {} holds no render plugin; `make plugins` builds the shipped ones",
            config.plugins_dir.display()
        )),
        Err(error) => bad(format!("plugins: {error}")),
    }
}

/// Whether the chosen template set and image set are there and fit together.
pub fn templates(config: &Config, loaded: &Result<Templates, TemplatesError>) -> Finding {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return bad(format!("templates: {error}")),
    };
    match (loaded.set(&config.template_set), loaded.images(&config.image_set)) {
        (Ok(set), Ok(images)) => {
            let missing: Vec<&str> = (set.spec.services.iter())
                .filter(|service| !images.images.contains_key(&service.image))
                .map(|service| service.name.as_str())
                .collect();
            match missing.is_empty() {
                true => good(format!(
                    "template set {} with image set {}: {} services",
                    set.spec.name,
                    images.name,
                    set.spec.services.len()
                )),
                false => bad(format!("image set {} has no image for {}", images.name, missing.join(", "))),
            }
        }
        (Err(known), _) => bad(format!("template_set `{}` is not there: {}", config.template_set, known.join(", "))),
        (_, Err(known)) => bad(format!("image_set `{}` is not there: {}", config.image_set, known.join(", "))),
    }
}

//! One typed configuration, validated once. This module is the only reader of the environment and of the
//! configuration file.
//!
//! Every key can also be set as `SUPAMANAGER_<KEY>`, with tables joined by an underscore:
//! `ports.api` is `SUPAMANAGER_PORTS_API`. Two names are as the design document has them: `DOCKER_HOST` and
//! `ENCRYPTION_SECRET`. An unknown key or variable is an error that names itself.

mod limits;
mod people;
mod resources;
mod watching;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::Secret;
pub use limits::{Deadlines, Limits};
pub use people::People;
pub use resources::Resources;
pub use watching::{Notify, SECRET_FORM, Usage, signing_key};

/// Variables that begin like ours and are no setting: the command line's REST client (decision 24), the plugin build, and
/// what `secrets rotate-master` and `store` ask for once.
const NOT_OURS: [&str; 6] =
    ["SUPAMANAGER_URL", "SUPAMANAGER_TOKEN", "SUPAMANAGER_WASM_RUSTC", NEW_ENCRYPTION_SECRET, KEY_PASSPHRASE, USER_PASSWORD];

/// The next ENCRYPTION_SECRET.
pub const NEW_ENCRYPTION_SECRET: &str = "SUPAMANAGER_NEW_ENCRYPTION_SECRET";
/// What the key inside a copy of the store is sealed under.
pub const KEY_PASSPHRASE: &str = "SUPAMANAGER_KEY_PASSPHRASE";

/// The password of `supamanager user`.
pub const USER_PASSWORD: &str = "SUPAMANAGER_USER_PASSWORD";

/// A secret that one command takes. Empty is not set.
pub fn one_time_secret(variable: &str) -> Option<Secret<String>> {
    std::env::var(variable).ok().filter(|text| !text.is_empty()).map(Secret::new)
}

/// Everything an operator can set. The defaults are [`Config::default`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where REST is served.
    pub listen: SocketAddr,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// `sqlite://PATH` or `postgres://USER@HOST:PORT/DATABASE`; empty means `supamanager.db` in the data folder.
    pub database_url: String,
    /// The template set new projects get.
    pub template_set: String,
    /// The image set new projects get.
    pub image_set: String,
    /// The domain the edge serves; empty while there is none.
    pub domain: String,
    /// The folder plugins are loaded from.
    pub plugins_dir: PathBuf,
    /// Seconds between two looks at that folder; 0: only when asked.
    pub plugins_watch_s: u64,
    /// Public keys whose plugins are loaded, `NAME=BASE64` of Ed25519 each.
    pub plugin_keys: Vec<String>,
    /// Names of plugins that are loaded without a signature.
    pub plugins_unsigned: Vec<String>,
    /// What plugins are told, as JSON: `{"admit-naming": {"pattern": "^[a-z]"}}`. A project's own choice goes over it.
    pub plugin_options: String,
    /// Hosts outside that plugins reach beside those of their manifests, as JSON: `{"notify-webhook": ["hooks.example.org"]}`.
    pub plugin_egress: String,
    /// The folder with `sets/` and `images/`.
    pub templates_dir: PathBuf,
    /// Regions that exist; each names the one engine.
    pub regions: Vec<String>,
    /// The address project ports are published on.
    pub publish_address: IpAddr,
    /// Address of the engine, for example `unix:///var/run/docker.sock`; empty means the default.
    pub docker_host: String,
    /// Repositories allowed beside the image set's own.
    pub image_prefixes: Vec<String>,
    /// Name of a failpoint at which the daemon stops and waits to be killed. Only for tests of recovery.
    pub failpoint: String,
    /// Host port ranges.
    pub ports: Ports,
    /// Where project networks come from.
    pub subnets: Subnets,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Other limits.
    pub limits: Limits,
    /// Sessions, invitations, and tries of passwords.
    pub people: People,
    /// What projects may use.
    pub resources: Resources,
    /// Sampling what projects use.
    pub usage: Usage,
    /// The operator's webhook.
    pub notify: Notify,
    /// Log output.
    pub log: Log,
}

/// Host port ranges, each `FIRST-LAST`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// Gateways.
    pub api: String,
    /// Databases.
    pub db: String,
    /// Studios.
    pub studio: String,
    /// Never handed out: a developer's own local stack listens there.
    pub avoid: String,
    /// Seconds a released port or subnet rests.
    pub rest_s: u64,
}

/// Where project networks come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subnets {
    /// The pool, cut into /27s.
    pub pool: String,
}

/// Log output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// For example `info` or `supamanager=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("./data"),
            database_url: String::new(),
            template_set: "supabase".to_owned(),
            image_set: "supabase".to_owned(),
            domain: String::new(),
            plugins_dir: PathBuf::from("./target/plugins"),
            plugins_watch_s: 2,
            plugin_keys: Vec::new(),
            plugins_unsigned: Vec::new(),
            plugin_options: "{}".to_owned(),
            plugin_egress: "{}".to_owned(),
            templates_dir: PathBuf::from("./templates"),
            regions: vec!["us-east".to_owned()],
            publish_address: IpAddr::from([127, 0, 0, 1]),
            docker_host: String::new(),
            image_prefixes: Vec::new(),
            failpoint: String::new(),
            ports: Ports::default(),
            subnets: Subnets::default(),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            people: People::default(),
            resources: Resources::default(),
            usage: Usage::default(),
            notify: Notify::default(),
            log: Log::default(),
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            api: "54000-54999".to_owned(),
            db: "55000-55999".to_owned(),
            studio: "56000-56999".to_owned(),
            avoid: "54321-54329".to_owned(),
            rest_s: 60,
        }
    }
}

impl Default for Subnets {
    fn default() -> Self {
        Self { pool: "10.201.0.0/16".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".to_owned(), filter: "info".to_owned() }
    }
}

/// What is wrong with the configuration; the sentence names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A variable that nobody knows.
    #[error("environment variable {variable} is not a setting; the nearest is {nearest}, the README's table has them all")]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// The setting it looks most like.
        nearest: String,
    },
    /// A value of the wrong form.
    #[error("{key} is `{value}`: {expected}")]
    Value {
        /// The key.
        key: String,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: String,
    },
}

impl Config {
    /// Reads the file, if one is given, and lays the environment over it.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and the way out.
    pub fn load(file: Option<&Path>) -> Result<(Self, Option<Secret<String>>), ConfigError> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError::File { path: path.to_owned(), reason: error.to_string() })?,
            None => String::new(),
        };
        let table: toml::Table = toml::from_str(&text)
            .map_err(|error| ConfigError::File { path: file.unwrap_or(Path::new("-")).to_owned(), reason: error.to_string() })?;
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment: BTreeMap<String, String> = std::env::vars_os().map(|(key, value)| (text(key), text(value))).collect();
        let config = Self::from_parts(table, &environment, file)?;
        Ok((config, environment.get("ENCRYPTION_SECRET").cloned().map(Secret::new)))
    }

    /// The same from parts, for tests.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key and the way out.
    pub fn from_parts(
        mut table: toml::Table,
        environment: &BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let shape = shape();
        for (variable, text) in environment {
            let key = match variable.as_str() {
                "DOCKER_HOST" => "docker_host",
                name if NOT_OURS.contains(&name) => continue,
                name => match name.strip_prefix("SUPAMANAGER_") {
                    Some(rest) => &rest.to_ascii_lowercase(),
                    None => continue,
                },
            };
            let Some((path, default)) = shape.get(key) else { return Err(unknown_variable(variable, key, &shape)) };
            let value = typed(variable, text, default)?;
            fits(variable, text, path, &value)?;
            match path.as_slice() {
                [section, key] => {
                    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                    if let Some(section) = section.as_table_mut() {
                        section.insert(key.clone(), value);
                    }
                }
                path => {
                    table.insert(path.concat(), value);
                }
            }
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| ConfigError::File {
            path: file.unwrap_or(Path::new("environment")).to_owned(),
            reason: error.to_string(),
        })?;
        config.validate()?;
        Ok(config.with_absolute_paths())
    }

    /// The URL of the database.
    pub fn store_url(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite://{}", self.data_dir.join("supamanager.db").display())
        } else {
            self.database_url.clone()
        }
    }

    /// The port range of this name.
    ///
    /// # Errors
    /// A sentence when there is none of that name.
    pub fn port_range(&self, name: &str) -> Result<RangeInclusive<u16>, String> {
        let text = match name {
            "api" => &self.ports.api,
            "db" => &self.ports.db,
            "studio" => &self.ports.studio,
            other => return Err(format!("there is no port range `{other}`: use api, db or studio")),
        };
        range(text).ok_or_else(|| format!("ports.{name} is not a range"))
    }

    /// The ports never handed out.
    pub fn avoided_ports(&self) -> Option<RangeInclusive<u16>> {
        range(&self.ports.avoid)
    }

    /// Plugin -> the options that the operator has it told.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn options_of_plugins(&self) -> Result<BTreeMap<String, serde_json::Map<String, serde_json::Value>>, ConfigError> {
        serde_json::from_str(&self.plugin_options).map_err(|error| ConfigError::Value {
            key: "plugin_options".to_owned(),
            value: self.plugin_options.clone(),
            expected: format!("expected a JSON object of a JSON object for each plugin: {error}"),
        })
    }

    /// Plugin -> the hosts outside that the operator lets it reach.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn egress_of_plugins(&self) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
        serde_json::from_str(&self.plugin_egress).map_err(|error| ConfigError::Value {
            key: "plugin_egress".to_owned(),
            value: self.plugin_egress.clone(),
            expected: format!("expected a JSON object of a list of hosts for each plugin: {error}"),
        })
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.options_of_plugins()?;
        self.egress_of_plugins()?;
        let error = |key: &str, value: &str, expected: &str| {
            Err(ConfigError::Value { key: key.to_owned(), value: value.to_owned(), expected: expected.to_owned() })
        };
        for (key, text) in [("ports.api", &self.ports.api), ("ports.db", &self.ports.db), ("ports.studio", &self.ports.studio)] {
            if range(text).is_none() {
                return error(key, text, "expected FIRST-LAST, for example 54000-54999");
            }
        }
        if !self.ports.avoid.is_empty() && range(&self.ports.avoid).is_none() {
            return error("ports.avoid", &self.ports.avoid, "expected FIRST-LAST or nothing");
        }
        if crate::subnets::Pool::parse(&self.subnets.pool).is_none() {
            return error("subnets.pool", &self.subnets.pool, "expected an IPv4 network of /8 to /27, for example 10.201.0.0/16");
        }
        if self.regions.is_empty() {
            return error("regions", "", "name at least one region");
        }
        self.resources.validate()?;
        resources::amount("limits.disk_free_min", &self.limits.disk_free_min)?;
        if !["text", "json"].contains(&self.log.format.as_str()) {
            return error("log.format", &self.log.format, "expected text or json");
        }
        if let Some((key, value, expected)) = self.usage.wrong().or_else(|| self.notify.wrong()) {
            return error(key, &value, expected);
        }
        let positive = [
            ("deadlines.create_s", self.deadlines.create_s),
            ("deadlines.delete_s", self.deadlines.delete_s),
            ("deadlines.pull_no_progress_s", self.deadlines.pull_no_progress_s),
            ("deadlines.healthy_s", self.deadlines.healthy_s),
            ("deadlines.step_s", self.deadlines.step_s),
            ("deadlines.snapshot_s", self.deadlines.snapshot_s),
            ("limits.probe_interval_s", self.limits.probe_interval_s),
            ("limits.unhealthy_after", u64::from(self.limits.unhealthy_after)),
            ("limits.healthy_after", u64::from(self.limits.healthy_after)),
            ("limits.operations", self.limits.operations as u64),
            ("limits.requests", self.limits.requests as u64),
            ("limits.commands", self.limits.commands as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => error(key, "0", "must be at least 1"),
            None => Ok(()),
        }
    }

    /// The engine resolves bind mounts itself, from absolute paths only.
    fn with_absolute_paths(mut self) -> Self {
        for path in [&mut self.data_dir, &mut self.plugins_dir, &mut self.templates_dir] {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute.components().collect();
            }
        }
        self
    }
}

/// Environment key -> (path in the file, default), made from the defaults so that no key can be forgotten.
fn shape() -> BTreeMap<String, (Vec<String>, toml::Value)> {
    let mut shape = BTreeMap::new();
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    for (key, value) in defaults {
        match value {
            toml::Value::Table(section) => {
                for (inner, value) in section {
                    shape.insert(format!("{key}_{inner}"), (vec![key.clone(), inner], value));
                }
            }
            value => {
                shape.insert(key.clone(), (vec![key], value));
            }
        }
    }
    shape
}

fn unknown_variable(variable: &str, key: &str, shape: &BTreeMap<String, (Vec<String>, toml::Value)>) -> ConfigError {
    let likeness = |known: &&String| (strsim::jaro_winkler(known, key) * 1e6) as u64;
    let nearest = shape.keys().max_by_key(likeness).map(|known| format!("SUPAMANAGER_{}", known.to_ascii_uppercase()));
    ConfigError::UnknownVariable { variable: variable.to_owned(), nearest: nearest.unwrap_or_default() }
}

/// Whether a variable alone is a configuration, so that a wrong one is named and not the file it is laid over.
fn fits(variable: &str, text: &str, path: &[String], value: &toml::Value) -> Result<(), ConfigError> {
    let mut alone = toml::Table::new();
    match path {
        [section, key] => {
            let inner = toml::Table::from_iter([(key.clone(), value.clone())]);
            alone.insert(section.clone(), toml::Value::Table(inner));
        }
        path => {
            alone.insert(path.concat(), value.clone());
        }
    }
    alone.try_into::<Config>().map(drop).map_err(|error| ConfigError::Value {
        key: variable.to_owned(),
        value: text.to_owned(),
        expected: error.message().trim().to_owned(),
    })
}

fn typed(variable: &str, text: &str, default: &toml::Value) -> Result<toml::Value, ConfigError> {
    let wrong =
        |expected: &str| ConfigError::Value { key: variable.to_owned(), value: text.to_owned(), expected: expected.to_owned() };
    Ok(match default {
        toml::Value::Integer(_) => toml::Value::Integer(text.parse().map_err(|_| wrong("expected a whole number"))?),
        toml::Value::Boolean(_) => toml::Value::Boolean(text.parse().map_err(|_| wrong("expected true or false"))?),
        toml::Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect())
        }
        _ => toml::Value::String(text.to_owned()),
    })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
    (0 < first && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::from_parts(toml::from_str(file).expect("test data is TOML"), &environment, None)
    }

    #[test]
    fn every_key_can_be_set_by_environment() {
        let config = load(
            "",
            &[("SUPAMANAGER_PORTS_API", "1000-1001"), ("SUPAMANAGER_LIMITS_OPERATIONS", "3"), ("DOCKER_HOST", "unix:///x")],
        );
        let config = config.expect("valid");
        assert_eq!(config.port_range("api").expect("a range"), 1000..=1001);
        assert_eq!((config.limits.operations, config.docker_host.as_str()), (3, "unix:///x"));
        assert!(shape().contains_key("deadlines_pull_no_progress_s"));
    }

    #[test]
    fn a_wrong_or_unknown_key_names_itself() {
        let message = |file, environment: &[(&str, &str)]| load(file, environment).expect_err("refused").to_string();
        assert!(message("listne = 1", &[]).contains("listne"));
        assert!(message("[ports]\napi = \"high\"", &[]).contains("ports.api"));
        assert!(message("[resources]\ndefault_memory = \"2G\"", &[]).contains("resources.default_memory is `2G`"));
        assert!(message("", &[("SUPAMANAGER_RESOURCES_STORAGE_FULL", "panic")]).contains("read_only or warn"));
        assert!(message("", &[("SUPAMANAGER_LISTEM", "x")]).contains("SUPAMANAGER_LISTEM"));
        assert!(message("", &[("SUPAMANAGER_LIMITS_OPERATIONS", "many")]).contains("SUPAMANAGER_LIMITS_OPERATIONS"));
        assert!(message("", &[("SUPAMANAGER_SUBNETS_POOL", "10.0.0.0/30")]).contains("subnets.pool"));
    }

    #[test]
    fn the_clients_variables_are_left_alone() {
        assert!(load("", &[("SUPAMANAGER_URL", "http://x"), ("SUPAMANAGER_TOKEN", "sbp_x")]).is_ok());
    }
}

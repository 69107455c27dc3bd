//! `plugin.toml`: what a plugin says of itself. It *requests*; the host decides. The fields `name`, `version`
//! and `sha256` are filled in by the build, from the component itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::egress::EgressHost;
use super::grants::{self, HttpRequest, Interface};
use super::limits::{Hook, HookLimits, Limits, LoweredLimits};

/// Contracts this host speaks, newest first. A plugin of 0.1.x loads while x is at most the host's.
pub const CONTRACTS: [&str; 1] = ["0.1.0"];

/// What happens when a hook fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The operation fails.
    #[default]
    Fail,
    /// It is recorded and the operation goes on.
    Ignore,
    /// The next plugin of the hook answers, as if this one was not there.
    Fallback,
}

impl OnFailure {
    /// The word in plugin.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Ignore => "ignore",
            Self::Fallback => "fallback",
        }
    }
}

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The same as the folder's.
    pub name: String,
    /// The same as `describe` says.
    pub version: String,
    /// Which contract it was built against.
    pub contract: String,
    /// Of `plugin.wasm`, 64 hex digits.
    pub sha256: String,
    /// The interfaces it asks for.
    #[serde(default)]
    pub imports: BTreeSet<Interface>,
    /// The hooks it is bound to.
    #[serde(rename = "hook")]
    pub hooks: Vec<Binding>,
    /// The requests it makes of a project's services.
    #[serde(rename = "http", default)]
    pub http: Vec<HttpRequest>,
    /// Whether it runs only for projects that chose it.
    #[serde(default)]
    pub opt_in: bool,
    /// A JSON Schema of its options.
    pub settings: Option<toml::Table>,
    /// Names of secrets it signs with.
    #[serde(default)]
    pub sign: Vec<String>,
    /// Names of secrets that the headers of its requests may refer to; `*` is every one.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Hosts outside that it reaches. The operator's `plugin_egress` adds others.
    #[serde(default)]
    pub egress: Vec<EgressHost>,
}

/// One hook of a plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Which.
    pub hook: Hook,
    /// Plugins of one hook run in this order, then by name.
    #[serde(default = "middle")]
    pub order: i32,
    /// What happens when it fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Limits it lowers.
    #[serde(default)]
    pub limits: LoweredLimits,
}

fn middle() -> i32 {
    100
}

impl Manifest {
    /// Reads the text.
    ///
    /// # Errors
    /// A sentence naming the field and the way out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        manifest.check().map(|()| manifest)
    }

    fn check(&self) -> Result<(), String> {
        let name_ok = self.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !name_ok || self.name.is_empty() || self.name.len() > 64 {
            return Err(format!("`name` is `{}`: use a-z, 0-9 and -, at most 64 characters", self.name));
        }
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("`sha256` is not 64 hex digits: build the plugin again".to_owned());
        }
        check_contract(&self.contract)?;
        let mut seen = BTreeSet::new();
        for binding in &self.hooks {
            if !seen.insert(binding.hook) {
                return Err(format!("the hook `{}` is bound twice: keep one `[[hook]]`", binding.hook.as_str()));
            }
            let (hook, answers) = (binding.hook.as_str(), matches!(binding.hook, Hook::Render | Hook::Probe));
            match binding.on_failure {
                OnFailure::Ignore if answers => {
                    let problem = "nothing can go on without its answer; `fallback` lets the next plugin answer";
                    return Err(format!("`on_failure = \"ignore\"` at the hook `{hook}`: {problem}"));
                }
                OnFailure::Fallback if !answers => {
                    let problem = "nobody answers in its place; `ignore` goes on without";
                    return Err(format!("`on_failure = \"fallback\"` at the hook `{hook}`: {problem}"));
                }
                _ => {}
            }
        }
        if self.hooks.is_empty() {
            return Err("there is no `[[hook]]`: bind the plugin to render, probe, post-create, admit, before-delete, after-resume or notify".to_owned());
        }
        let works = seen.iter().any(|hook| hook.works_on_a_project());
        if !self.http.is_empty() && !works {
            return Err(
                "`[[http]]` belongs to post-create, before-delete and after-resume: a probe reaches its own service only"
                    .to_owned(),
            );
        }
        if self.opt_in && !self.is_a_projects_choice() {
            return Err("`opt_in`: no project chooses a plugin of admit or notify".to_owned());
        }
        if !self.sign.is_empty() && !works {
            return Err("`sign` belongs to post-create, before-delete and after-resume".to_owned());
        }
        if !self.secrets.is_empty() && !self.imports.contains(&Interface::ServiceHttp) {
            return Err("`secrets` lists names for headers and `imports` does not have \"service-http\": add it".to_owned());
        }
        if let Some(host) = self.egress.iter().find(|host| host.address().is_some()) {
            return Err(format!("`egress` holds `{host}`: an address is the operator's to name, under plugin_egress"));
        }
        if !self.egress.is_empty() && !self.imports.contains(&Interface::Egress) {
            return Err("`egress` lists hosts and `imports` does not have \"egress\": add it".to_owned());
        }
        Ok(())
    }

    /// The hooks it is bound to.
    pub fn hook_kinds(&self) -> Vec<Hook> {
        self.hooks.iter().map(|binding| binding.hook).collect()
    }

    /// Whether a project may switch it and choose its options. Whoever only admits and hears is the operator's.
    pub fn is_a_projects_choice(&self) -> bool {
        self.hooks.iter().any(|binding| !matches!(binding.hook, Hook::Admit | Hook::Notify))
    }

    /// What it gets of what it requests.
    ///
    /// # Errors
    /// A sentence naming the interface that is never granted.
    pub fn granted(&self) -> Result<BTreeSet<Interface>, String> {
        grants::grant(&self.hook_kinds(), &self.imports)
    }
}

impl Binding {
    /// The host's limits, lowered.
    ///
    /// # Errors
    /// A sentence naming the limit that would be raised.
    pub fn limits(&self, host: &Limits) -> Result<HookLimits, String> {
        let limits = self.limits.apply(host.of(self.hook));
        limits.map_err(|problem| format!("`[hook.limits]` of `{}`: {problem}", self.hook.as_str()))
    }
}

fn check_contract(contract: &str) -> Result<(), String> {
    let numbers = |text: &str| -> Option<[u32; 3]> {
        let parts: Vec<u32> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let wanted = numbers(contract).ok_or_else(|| format!("`contract` is `{contract}`: write three numbers, as 0.1.0"))?;
    let speaks = |host: &str| numbers(host).is_some_and(|host| host[..2] == wanted[..2] && wanted[2] <= host[2]);
    if CONTRACTS.iter().any(|host| speaks(host)) {
        return Ok(());
    }
    Err(format!(
        "`contract` is {contract}, this host speaks {}: build the plugin against one of these, or use another supamanager",
        CONTRACTS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "probe-service"
version = "0.1.0"
contract = "0.1.0"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
imports = ["log", "service-http"]
[[hook]]
hook = "probe"
[hook.limits]
wall_ms = 4000
"#;

    #[test]
    fn a_manifest_binds_requests_and_lowers() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.hook_kinds(), [Hook::Probe]);
        assert_eq!(manifest.granted().unwrap(), BTreeSet::from([Interface::Log, Interface::ServiceHttp]));
        assert_eq!(manifest.hooks[0].limits(&Limits::default()).unwrap().wall.as_millis(), 4000);
        assert_eq!(manifest.hooks[0].order, 100);
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (from, to, word) in [
            ("probe-service", "Probe", "`name`"),
            ("0000000000", "zzzzzzzzzz", "`sha256`"),
            ("contract = \"0.1.0\"", "contract = \"0.2.0\"", "this host speaks 0.1.0"),
            ("contract = \"0.1.0\"", "contract = \"0.1.1\"", "this host speaks 0.1.0"),
            ("contract = \"0.1.0\"", "contract = \"one\"", "`contract`"),
            ("\"service-http\"", "\"service-httpd\"", "service-httpd"),
            ("hook = \"probe\"", "hook = \"prob\"", "prob"),
            ("hook = \"probe\"", "hook = \"probe\"\non_failure = \"ignore\"", "`on_failure"),
            ("wall_ms", "wal_ms", "wal_ms"),
            ("[[hook]]", "surprise = 1\n[[hook]]", "surprise"),
            ("imports = [\"log\", \"service-http\"]", "imports = [\"log\"]\nsecrets = [\"ANON_KEY\"]", "`secrets`"),
            ("[[hook]]", "[[hook]]\nhook = \"probe\"\n[[hook]]", "bound twice"),
        ] {
            let refusal = Manifest::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(refusal.contains(word), "{from} -> {to}: {refusal}");
        }
    }

    #[test]
    fn raising_a_limit_is_refused_by_name() {
        let manifest = Manifest::parse(&GOOD.replace("4000", "60000")).unwrap();
        let refusal = manifest.hooks[0].limits(&Limits::default()).unwrap_err();
        assert!(refusal.contains("wall_ms") && refusal.contains("probe"), "{refusal}");
    }
}

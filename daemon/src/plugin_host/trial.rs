//! One call of one hook by an author: in the real host, with its limits, against a project that is a list of questions and
//! answers. `plugin run`, `plugin test` and `plugin bench` are made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::adapt::{Decision, Outcome};
use super::call::{self, Used};
use super::egress::EgressHost;
use super::grants::Scope;
use super::hooks::{HookError, RenderedFile};
use super::limits::{Hook, HookLimits, LimitReached};
use super::load::{self, Loader, Plugin};
use super::output;
use super::scripted::{Exchange, Remembered, Scripted};
use super::state::{Lines, Surroundings};
use crate::domain::{ProjectRef, ServiceName, ServiceState};

/// What one call is made with: a fixture file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The hook; may be left out where the plugin has one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// What the hook is called with: see plugin-sdk/README.md.
    pub input: Value,
    /// What `options` answers.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// What `memory` holds at the beginning, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, String>,
    /// What the operator's `plugin_egress` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressHost>,
    /// The project, as far as it is asked: each answer is given once, to the first question that is equal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<Exchange>,
    /// What comes of it: `output`, or `error` with `code` and `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
}

/// What came of it.
pub struct Tried {
    /// The output as JSON, or the error.
    pub output: Result<Value, HookError>,
    /// What the call used.
    pub used: Used,
    /// What it may use.
    pub limits: HookLimits,
    /// What was asked of the project, in order.
    pub asked: Vec<Value>,
    /// What it said of its progress.
    pub progress: Vec<String>,
    /// Its lines in the log, each after its level; a panic's words are among them.
    pub lines: Vec<String>,
}

impl Tried {
    /// In the form of [`Trial::expected`].
    pub fn outcome(&self) -> Value {
        match &self.output {
            Ok(output) => json!({ "output": output }),
            Err(error) => json!({ "error": { "code": error.code(), "message": error.to_string() } }),
        }
    }
}

/// A plugin to try out.
pub struct Bench {
    loader: Loader,
    plugin: Arc<Plugin>,
}

impl Bench {
    /// Loads one plugin's folder, whoever it is from.
    ///
    /// # Errors
    /// What is wrong with it, with the way out.
    pub async fn load(folder: &std::path::Path) -> Result<Self, load::LoadError> {
        let loader = Loader::alone(super::limits::Limits::default())?;
        let plugin = Arc::new(load::load(&loader, folder).await?);
        Ok(Self { loader, plugin })
    }

    /// The plugin's hooks.
    pub fn hooks(&self) -> Vec<Hook> {
        self.plugin.manifest.hook_kinds()
    }

    /// Whether the plugin takes these options.
    ///
    /// # Errors
    /// A sentence naming the place.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<(), String> {
        self.plugin.check_options(options)
    }

    /// Calls the hook.
    ///
    /// # Errors
    /// A sentence naming what is wrong with the fixture.
    pub async fn call(&self, trial: &Trial) -> Result<Tried, String> {
        let hooks = self.hooks();
        let hook = match (trial.hook, hooks.as_slice()) {
            (Some(hook), _) | (None, &[hook]) => hook,
            _ => return Err("`hook` is missing: the plugin has several".to_owned()),
        };
        let bound = self.plugin.bound_to(hook).ok_or_else(|| format!("`hook`: the plugin has no hook `{}`", hook.as_str()))?;
        self.check_options(&trial.options).map_err(|problem| format!("`options`: {problem}"))?;
        let input = Input::read(hook, &trial.input)?;
        let project = Arc::new(Scripted::new(&trial.host));
        let lines = Arc::new(Lines::default());
        let surroundings = Surroundings {
            templates: input.templates.clone(),
            access: Some(project.clone()),
            scope: match (&input.service, hook.works_on_a_project()) {
                (Some(service), _) => Scope::Probed(service.clone()),
                (None, true) => {
                    Scope::Listed { http: self.plugin.manifest.http.clone(), sign: self.plugin.manifest.sign.clone() }
                }
                (None, false) => Scope::Nothing,
            },
            secrets: self.plugin.manifest.secrets.clone(),
            lines: Some(lines.clone()),
            project: ProjectRef::parse("abcdefghijklmnopqrst").ok(),
            options: Value::Object(trial.options.clone()).to_string(),
            memory: Some(Arc::new(Remembered::of(&trial.memory))),
            egress: Some((project.clone(), self.plugin.manifest.egress.iter().chain(&trial.egress).cloned().collect())),
        };
        let span = tracing::info_span!("plugin.call", plugin.id = self.plugin.manifest.name, hook = hook.as_str());
        let (given, limits) = (input.clone(), bound.callee.limits);
        let (output, used) = call::measured(&self.loader.engine, &bound.callee, surroundings, span, move |contract, store| {
            Box::pin(async move { given.call(hook, contract, store).await })
        })
        .await;
        let output = output.and_then(|output| input.check(&self.plugin.manifest.name, hook, &limits, output));
        let (asked, progress) = project.heard();
        let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(|poison| poison.into_inner()));
        Ok(Tried { output, used, limits, asked, progress, lines })
    }
}

/// The input of any hook.
#[derive(Clone)]
struct Input {
    text: String,
    files: Vec<(String, String, u32)>,
    templates: BTreeMap<String, String>,
    service: Option<ServiceName>,
    undo: Option<Outcome>,
}

/// As it stands in a fixture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenderGiven {
    context: Value,
    files: Vec<FileGiven>,
    templates: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGiven {
    template: String,
    path: String,
    #[serde(default = "readable")]
    mode: u32,
}

fn readable() -> u32 {
    0o644
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeGiven {
    service: String,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoGiven {
    undo: OutcomeGiven,
    context: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeGiven {
    changed: bool,
    summary: String,
}

impl Input {
    fn read(hook: Hook, given: &Value) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| format!("`input` of the hook `{}`: {error}", hook.as_str());
        let mut input =
            Self { text: given.to_string(), files: Vec::new(), templates: BTreeMap::new(), service: None, undo: None };
        match hook {
            Hook::Render => {
                let RenderGiven { context, files, templates } = serde_json::from_value(given.clone()).map_err(wrong)?;
                input.text = context.to_string();
                input.files = files.into_iter().map(|file| (file.template, file.path, file.mode)).collect();
                input.templates = templates;
            }
            Hook::Probe => {
                let ProbeGiven { service, spec } = serde_json::from_value(given.clone()).map_err(wrong)?;
                input.service = Some(ServiceName::parse(&service).map_err(|error| format!("`input.service`: {error}"))?);
                input.text = spec.to_string();
            }
            Hook::PostCreate if given.get("undo").is_some() => {
                let UndoGiven { undo, context } = serde_json::from_value(given.clone()).map_err(wrong)?;
                input.undo = Some(Outcome { changed: undo.changed, summary: undo.summary });
                input.text = context.to_string();
            }
            _ => {}
        }
        Ok(input)
    }

    async fn call(
        self,
        hook: Hook,
        contract: &dyn super::adapt::Contract,
        store: &mut wasmtime::Store<super::state::CallState>,
    ) -> super::adapt::Answer<Value> {
        let did = |outcome: Outcome| json!({ "changed": outcome.changed, "summary": outcome.summary });
        Ok(match hook {
            Hook::Render => {
                let made = contract.render(store, self.text, self.files, Vec::new()).await?;
                made.map(|files| json!(files))
            }
            Hook::Probe => {
                let service = self.service.map(|service| service.to_string()).unwrap_or_default();
                let verdict = contract.check(store, "abcdefghijklmnopqrst".to_owned(), service, self.text).await?;
                verdict.map(|verdict| {
                    verdict.map_or(
                        Value::Null,
                        |verdict| json!({ "state": word(verdict.state), "reason": verdict.reason, "endpoint": verdict.endpoint }),
                    )
                })
            }
            Hook::PostCreate => match self.undo {
                Some(outcome) => contract.undo(store, self.text, outcome).await?.map(|()| Value::Null),
                None => contract.run(store, self.text).await?.map(did),
            },
            Hook::BeforeDelete => contract.before_delete(store, self.text).await?.map(did),
            Hook::AfterResume => contract.after_resume(store, self.text).await?.map(did),
            Hook::Notify => contract.notify(store, self.text).await?.map(|()| Value::Null),
            Hook::Admit => contract.admit(store, self.text).await?.map(|decision| match decision {
                Decision::Admit => json!("admit"),
                Decision::Amend(fields) => json!({ "amend": serde_json::from_str(&fields).unwrap_or(Value::String(fields)) }),
                Decision::Refuse(words) => json!({ "refuse": words }),
            }),
        })
    }

    /// What the host would hold against the answer: its size, and the files of a renderer.
    fn check(&self, plugin: &str, hook: Hook, limits: &HookLimits, output: Value) -> Result<Value, HookError> {
        let texts = |value: &Value| value.as_object().map_or(0, |fields| fields.values().map(length).sum());
        let bytes = length(&output) + texts(&output);
        if hook != Hook::Render && bytes > limits.result_bytes {
            return Err(LimitReached::result(bytes, limits).of(plugin, hook));
        }
        if !self.files.is_empty() {
            let files: Vec<RenderedFile> = serde_json::from_value(output.clone()).unwrap_or_default();
            let files = output::fold(plugin, limits, Vec::new(), files)?;
            output::check_complete(plugin, &self.files, &files)?;
        }
        Ok(output)
    }
}

/// Bytes of a text, or of an object that a plugin wrote as one.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Object(fields) if fields.values().any(|field| !field.is_string()) => value.to_string().len(),
        _ => 0,
    }
}

fn word(state: ServiceState) -> &'static str {
    state.as_str()
}

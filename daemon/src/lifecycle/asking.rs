//! What somebody asks for is shown to the admit plugins before anything is decided by it, and they may refuse it or amend
//! some of its fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{CreateRequest, LifecycleError, Parts, UpdateRequest};
use crate::domain::{NONE, PluginChoices, Project, ProjectName, Resources};

/// The fields that a plugin may amend; the others are shown only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Amendable {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_set: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_set: Option<String>,
    #[serde(default)]
    services: BTreeMap<String, bool>,
    #[serde(default)]
    plugins: PluginChoices,
}

/// A create as the admit plugins leave it.
pub(super) async fn create(parts: &Parts, mut request: CreateRequest) -> Result<CreateRequest, LifecycleError> {
    let wanted = Amendable {
        name: Some(request.name.as_str().to_owned()),
        template_set: request.template_set.clone(),
        image_set: request.image_set.clone(),
        services: request.services.clone(),
        plugins: request.plugins.clone(),
    };
    let shown = json!({"region": request.region, "resources": resources(&request.resources)});
    let amended = ask(parts, "create", &request.organization_id, Value::Null, wanted, shown).await?;
    request.name = name(amended.name)?.unwrap_or(request.name);
    request.template_set = amended.template_set;
    request.image_set = amended.image_set;
    request.services = amended.services;
    request.plugins = amended.plugins;
    Ok(request)
}

/// An update as the admit plugins leave it.
pub(super) async fn update(parts: &Parts, project: &Project, request: &UpdateRequest) -> Result<UpdateRequest, LifecycleError> {
    let wanted = Amendable {
        name: request.name.as_ref().map(|name| name.as_str().to_owned()),
        template_set: request.template_set.clone(),
        image_set: request.image_set.clone(),
        services: request.services.clone(),
        plugins: request.plugins.clone(),
    };
    let shown = request.resources.as_ref().map_or(json!({}), |wanted| json!({"resources": resources(wanted)}));
    let now = json!({
        "ref": project.id, "name": project.name, "status": project.status.as_str(), "region": project.region,
        "template_set": project.template_set, "image_set": project.image_set, "without": project.without,
        "plugins": project.plugins, "resources": resources(&project.resources),
    });
    let amended = ask(parts, "update", &project.organization_id, now, wanted, shown).await?;
    Ok(UpdateRequest {
        name: name(amended.name)?,
        template_set: amended.template_set,
        image_set: amended.image_set,
        services: amended.services,
        plugins: amended.plugins,
        resources: request.resources,
    })
}

async fn ask(
    parts: &Parts,
    kind: &str,
    organization: &str,
    project: Value,
    wanted: Amendable,
    shown: Value,
) -> Result<Amendable, LifecycleError> {
    let mut all = fields(json!(wanted));
    let shown = fields(shown);
    all.extend(shown.clone());
    let request = json!({"kind": kind, "organization": organization, "project": project, "wanted": all});
    let mut amended = parts.plugins.admit(request).await?;
    for (field, value) in &shown {
        if amended.remove(field).as_ref() != Some(value) {
            return Err(wrong(format!("an admit plugin changed `{field}`, which is shown only")));
        }
    }
    serde_json::from_value(Value::Object(amended))
        .map_err(|error| wrong(format!("what an admit plugin amended is wrong: {error}")))
}

fn fields(value: Value) -> Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { Map::new() }
}

fn name(amended: Option<String>) -> Result<Option<ProjectName>, LifecycleError> {
    amended
        .map(|name| ProjectName::parse(&name))
        .transpose()
        .map_err(|error| wrong(format!("`name` as an admit plugin has it: {error}")))
}

/// Amounts as the API has them.
#[derive(Serialize)]
struct Shown {
    cpu: String,
    memory: String,
    storage: String,
}

fn resources(resources: &Resources) -> Value {
    let amount = |amount: Option<String>| amount.unwrap_or_else(|| NONE.to_owned());
    json!(Shown {
        cpu: amount(resources.cpu.map(|cpu| cpu.to_string())),
        memory: amount(resources.memory.map(|memory| memory.to_string())),
        storage: amount(resources.storage.map(|storage| storage.to_string())),
    })
}

/// The plugin's fault, said to whoever asked.
fn wrong(message: String) -> LifecycleError {
    LifecycleError::Meaning { field: "plugins", code: "plugin_failed", message }
}

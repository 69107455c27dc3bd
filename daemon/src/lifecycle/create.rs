//! Accepting a create: check, choose, generate, then one transaction.

use std::collections::BTreeMap;

use super::{GivenPassword, LifecycleError, Parts, admission, asking, update};
use crate::domain::{OperationId, OperationKind, PluginChoices, ProjectName, ProjectRef, Resources, Shape};
use crate::plugin_host::hooks::HookError;
use crate::secrets::{generate, new_hex, new_ref};
use crate::store::{Accepted, Clash, NewOperation, NewProject, StoreError};
use crate::templates::LoadedSet;
use crate::{ports, subnets};

/// Tries to reserve before it is given up: each loses only to another create that was faster.
const TRIES_MAX: u32 = 32;

/// What a caller asks for.
pub struct CreateRequest {
    /// The name.
    pub name: ProjectName,
    /// Slug of the organisation.
    pub organization_id: String,
    /// The region.
    pub region: String,
    /// The template set, or the configured one.
    pub template_set: Option<String>,
    /// The image set, or the configured one.
    pub image_set: Option<String>,
    /// Services of the template set, on or off; all are on.
    pub services: BTreeMap<String, bool>,
    /// What is chosen of the plugins.
    pub plugins: PluginChoices,
    /// The owner's database password.
    pub db_pass: GivenPassword,
    /// What it may use.
    pub resources: Resources,
    /// Who asks.
    pub caller: String,
    /// The Idempotency-Key and the body it came with.
    pub idempotency: Option<(String, String)>,
}

/// What was accepted.
pub struct Created {
    /// The project.
    pub project: ProjectRef,
    /// The operation; `None` when the same key and body were accepted before.
    pub operation: Option<OperationId>,
}

pub(super) async fn accept(parts: &Parts, request: CreateRequest) -> Result<Created, LifecycleError> {
    let idempotency =
        request.idempotency.as_ref().map(|(key, body)| (parts.key.hash(&["idempotency", key]), parts.key.hash(&["body", body])));
    if let Some((key, body)) = &idempotency {
        match parts.store.idempotent_create(&request.caller, key, body).await? {
            Accepted::Before(project) => return Ok(Created { project, operation: None }),
            Accepted::OtherBody => return Err(LifecycleError::KeyReused),
            Accepted::New => {}
        }
    }
    let request = asking::create(parts, request).await?;
    check_region(parts, &request.region).await?;
    let set_name = request.template_set.as_ref().unwrap_or(&parts.config.template_set);
    let whole = parts.templates.set(set_name).map_err(|known| unknown("template_set", set_name, &known))?;
    let off = |message| LifecycleError::Meaning { field: "services", code: "unknown_value", message };
    let without = update::without(&whole.spec, &[], &request.services).map_err(off)?;
    let plugins = request.plugins;
    check_choices(parts, &plugins)?;
    let shape =
        Shape { template_set: set_name.clone(), image_set: String::new(), without: without.clone(), plugins: plugins.clone() };
    let set = parts.templates.of_shape(&shape).map_err(|error| off(error.to_string()))?;
    let image_set = request.image_set.as_ref().unwrap_or(&parts.config.image_set);
    parts.templates.images(image_set).map_err(|known| unknown("image_set", image_set, &known))?;
    set.spec.split(&request.resources)?;
    if !parts.plugins.has_render(&plugins) {
        return Err(HookError::NoPlugin { hook: "render" }.into());
    }
    let now = parts.clock.now();
    let secrets = generate(&set.spec.secrets, request.db_pass, now)?;
    let id = new_ref()?;
    let mut sealed = Vec::new();
    for (name, value) in secrets.iter() {
        sealed.push((name.to_owned(), parts.key.seal(&id, name, value)?));
    }
    let operation = NewOperation {
        id: new_operation_id()?,
        project: id.clone(),
        kind: OperationKind::Create,
        generation: 1,
        services: Vec::new(),
        update: None,
        requested_by: request.caller.clone(),
        plugins: parts.plugins.pins(&plugins),
        deadline_at: parts.deadline(OperationKind::Create),
    };
    let mut project = NewProject {
        id: id.clone(),
        name: request.name.as_str().to_owned(),
        organization_id: request.organization_id,
        region: request.region,
        template_set: set_name.clone(),
        image_set: image_set.clone(),
        without,
        plugins,
        resources: request.resources,
        ports: Vec::new(),
        subnet: String::new(),
        secrets: sealed,
        key_id: parts.key.id().to_owned(),
        caller: request.caller,
        idempotency,
    };
    // Choosing and taking is one act for this daemon: a hundred creates at once would all choose the same ports.
    let _choosing = parts.choosing.lock().await;
    admission::disk_has_room(parts)?;
    admission::admit(parts, &project.region, None, &Resources::default(), &project.resources).await?;
    for _ in 0..TRIES_MAX {
        reserve(parts, &set, &mut project).await?;
        match parts.store.accept_create(&project, &operation, now).await {
            Ok(Accepted::New) => {
                parts.announcer.status(&id, crate::domain::ProjectStatus::Creating, "").await;
                return Ok(Created { project: id, operation: Some(operation.id) });
            }
            Ok(Accepted::Before(project)) => return Ok(Created { project, operation: None }),
            Ok(Accepted::OtherBody) => return Err(LifecycleError::KeyReused),
            Err(StoreError::Clash(Clash::Port | Clash::Subnet)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Database(format!("{TRIES_MAX} other creates were faster: try again")).into())
}

/// Chooses ports and a subnet. What is chosen here may still be lost to a faster create; the unique indexes say.
async fn reserve(parts: &Parts, set: &LoadedSet, project: &mut NewProject) -> Result<(), LifecycleError> {
    let mut taken = parts.taken(&project.region).await?;
    project.ports.clear();
    for spec in &set.spec.ports {
        let range = parts.config.port_range(&spec.range).map_err(|message| LifecycleError::Meaning {
            field: "template_set",
            code: "unknown_port_range",
            message,
        })?;
        let avoid = parts.config.avoided_ports();
        let port = ports::choose(&spec.range, range, avoid.as_ref(), &taken.ports, parts.config.publish_address).await?;
        taken.ports.push(port);
        project.ports.push((spec.name.clone(), port));
    }
    let pool = subnets::Pool::parse(&parts.config.subnets.pool);
    let chosen = pool.and_then(|pool| pool.choose(&taken.subnets, &subnets::host_routes()));
    project.subnet = chosen.ok_or_else(|| LifecycleError::Subnets(parts.config.subnets.pool.clone()))?;
    Ok(())
}

async fn check_region(parts: &Parts, region: &str) -> Result<(), LifecycleError> {
    let (regions, _) = parts.store.places().await?;
    if regions.iter().any(|known| known == region) { Ok(()) } else { Err(unknown("region", region, &regions)) }
}

/// Whether what somebody chose of the plugins is there to be chosen.
pub(super) fn check_choices(parts: &Parts, choices: &PluginChoices) -> Result<(), LifecycleError> {
    parts.plugins.check_choices(choices).map_err(|(plugin, problem)| LifecycleError::Meaning {
        field: "plugins",
        code: "unknown_value",
        message: format!("plugins.{plugin}: {problem}"),
    })
}

fn unknown(field: &'static str, given: &str, known: &[String]) -> LifecycleError {
    LifecycleError::Meaning {
        field,
        code: "unknown_value",
        message: format!("`{given}` is no {}: use one of {}", field.replace('_', " "), known.join(", ")),
    }
}

/// `op_` and 96 random bits.
pub(super) fn new_operation_id() -> Result<OperationId, LifecycleError> {
    let id = format!("op_{}", new_hex(12)?);
    OperationId::parse(&id).map_err(|error| StoreError::Corrupt(error.to_string()).into())
}

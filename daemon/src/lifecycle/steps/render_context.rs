//! What every template and every post-create hook is told about a project. No secret value is in it: templates
//! write references such as `${JWT_SECRET}`.

use serde_json::{Map, Value, json};

use super::{StepContext, StepError};
use crate::subnets::Layout;

/// The context as a JSON object; templates/sets/supabase/README.md lists it.
pub(super) fn build(context: &StepContext) -> Result<Value, StepError> {
    let project = &context.project;
    let images = context.parts.templates.images(&project.image_set).map_err(|known| {
        StepError::permanent(
            "unknown_image_set",
            format!("there is no image set `{}`: use {}", project.image_set, known.join(", ")),
        )
    })?;
    let layout = layout(context)?;
    let mut fixed = Map::new();
    let mut services = Map::new();
    for service in &context.set.spec.services {
        let image = images.images.get(&service.image).ok_or_else(|| {
            let message = format!("image set `{}` has no image `{}`, which {} needs", images.name, service.image, service.name);
            StepError::permanent("image_missing_in_set", message).of(&service.name)
        })?;
        let mut entry = json!({"image": image});
        if let Some(nofile) = images.nofile.get(&service.image) {
            entry["nofile"] = json!(nofile);
        }
        services.insert(service.name.to_string(), entry);
        if let Some(host) = service.fixed_address {
            let address = layout.fixed(host).ok_or_else(|| {
                StepError::permanent("template_set", format!("{}: fixed_address {host} must lie between 16 and 30", service.name))
            })?;
            fixed.insert(service.name.to_string(), json!(address.to_string()));
        }
    }
    let ports: Map<String, Value> = project.ports.iter().map(|(name, port)| (name.clone(), json!(port))).collect();
    Ok(json!({
        "project": {
            "ref": project.id,
            "name": project.name,
            "region": project.region,
            "folder": context.folder().display().to_string(),
            "container_prefix": format!("supamanager-{}-", project.id),
            "network": format!("supamanager-{}", project.id),
        },
        "endpoint": context.parts.endpoint(project),
        "publish_address": context.parts.config.publish_address.to_string(),
        "ports": ports,
        "network": {
            "subnet": layout.subnet,
            "gateway": layout.gateway,
            "ip_range": layout.ip_range,
            "fixed": fixed,
        },
        "services": services,
        "options": {},
        "labels": {},
    }))
}

/// The parts of the project's subnet.
pub(super) fn layout(context: &StepContext) -> Result<Layout, StepError> {
    Layout::of(&context.project.subnet)
        .ok_or_else(|| StepError::permanent("subnet", format!("`{}` is no /27", context.project.subnet)))
}

//! The rendered files: made by a plugin, held against the fence, completed with secrets, written one by one by
//! temp, fsync and rename, so that a reader sees the old text or the new one (decision 7).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError, render_context};
use crate::domain::{SecretKind, ServiceName};
use crate::plugin_host::hooks::{RenderInput, RenderedFile};
use crate::stack::{FenceRules, FencedStack, compose, fence};
use crate::store::ImagePin;

/// The file that says what the stack is.
const COMPOSE_FILE: &str = "docker-compose.yml";
/// Where the values of its references are.
pub(in crate::lifecycle) const ENV_FILE: &str = ".env";

pub(super) struct Render;

#[async_trait]
impl StepEffect for Render {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(context.folder().join(COMPOSE_FILE).exists())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let rendered = make(context).await?;
        rendered.write(&context.folder())?;
        Ok(rendered.told())
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let folder = context.folder();
        let rendered = context.set.spec.files.iter().map(|file| file.path.as_str());
        for path in rendered.chain([ENV_FILE]) {
            match std::fs::remove_file(folder.join(path)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StepError::file(&folder.join(path), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// One file as it goes to disk.
pub(in crate::lifecycle) struct File {
    pub path: String,
    pub mode: u32,
    pub text: String,
}

/// What the render hook made, behind the fence and with its references filled in.
pub struct Rendered {
    pub(in crate::lifecycle) files: Vec<File>,
    /// The files before anything was filled in: they tell two plans apart and hold no secret.
    pub(in crate::lifecycle) plain: Vec<(String, String)>,
    /// What the compose file says.
    pub(in crate::lifecycle) stack: FencedStack,
}

impl Rendered {
    /// Writes every file into a folder that is there.
    pub(super) fn write(&self, folder: &Path) -> Result<(), StepError> {
        for file in &self.files {
            replace_file(folder, &file.path, file.mode, &file.text)?;
        }
        sync_folder(folder)
    }

    pub(super) fn told(&self) -> String {
        format!("{} files, {} services", self.files.len(), self.stack.services.len())
    }
}

/// Renders the context's stack, in memory.
pub(in crate::lifecycle) async fn make(context: &StepContext) -> Result<Rendered, StepError> {
    let hooked = call_hook(context).await?;
    // Beside the set's files lie the daemon's own, which decide what a project is taken for when the store is lost.
    let asked_for = |path: &str| context.set.spec.files.iter().any(|file| file.path == path);
    if let Some(surplus) = hooked.iter().find(|file| !asked_for(&file.path)) {
        let message = format!("the render hook made `{}`, which is no [[file]] of the template set", surplus.path);
        return Err(StepError::permanent("render_surplus", message));
    }
    let compose_text = hooked.iter().find(|file| file.path == COMPOSE_FILE).map(|file| file.content.as_str());
    let compose_text = compose_text
        .ok_or_else(|| StepError::permanent("render_incomplete", format!("the render hook made no {COMPOSE_FILE}")))?;
    let stack = fenced(context, compose_text, &BTreeMap::new())?;
    let mut files = Vec::with_capacity(hooked.len() + 1);
    for file in &hooked {
        let text = if file.path == COMPOSE_FILE { file.content.clone() } else { substitute(context, file)? };
        files.push(File { path: file.path.clone(), mode: file.mode, text });
    }
    files.push(File { path: ENV_FILE.to_owned(), mode: 0o600, text: env_file(context, &stack)? });
    let plain = hooked.into_iter().map(|file| (file.path, file.content)).collect();
    Ok(Rendered { files, plain, stack })
}

/// The stack as it lies on disk, through the fence again. Its images are those that were pinned when it was rendered: the
/// image set may have changed since.
pub(super) async fn read_stack(context: &StepContext) -> Result<FencedStack, StepError> {
    read_pinned(context, context.image_pins().await?)
}

/// The same with pins that the store may not have.
pub(in crate::lifecycle) fn read_pinned(context: &StepContext, pins: Vec<ImagePin>) -> Result<FencedStack, StepError> {
    let path = context.rendered_folder().join(COMPOSE_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| StepError::file(&path, &error))?;
    let pins = pins.into_iter();
    let pinned = pins.filter_map(|pin| Some((ServiceName::parse(&pin.service).ok()?, pin.reference))).collect();
    fenced(context, &text, &pinned)
}

async fn call_hook(context: &StepContext) -> Result<Vec<RenderedFile>, StepError> {
    let files = context.set.spec.files.iter().map(|file| {
        let mode = u32::from_str_radix(&file.mode, 8).unwrap_or(0o600);
        (file.template.clone(), file.path.clone(), mode)
    });
    let input = RenderInput {
        project: context.project.id.clone(),
        operation: context.operation.id.clone(),
        context: render_context::build(context)?,
        files: files.collect(),
        templates: context.set.templates.clone(),
        choices: context.project.plugins.clone(),
    };
    Ok(context.parts.plugins.render(&context.operation.plugins, input).await?)
}

fn fenced(context: &StepContext, text: &str, pinned: &BTreeMap<ServiceName, String>) -> Result<FencedStack, StepError> {
    let stack = compose::parse(text).map_err(|error| StepError::permanent("compose_invalid", error.to_string()))?;
    fence::check(stack, &rules(context, pinned)?).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(|v| format!("{} ({}): {}", v.path, v.rule, v.message)).collect();
        StepError::permanent("fence", format!("the rendered stack asks for what it may not have: {}", lines.join("; ")))
    })
}

fn rules(context: &StepContext, pinned: &BTreeMap<ServiceName, String>) -> Result<FenceRules, StepError> {
    let spec = &context.set.spec;
    let project = &context.project;
    let layout = render_context::layout(context)?;
    let images = context.parts.templates.images(&project.image_set).ok();
    let image_of = |key: &str| images.as_ref().and_then(|set| set.images.get(key).cloned());
    Ok(FenceRules {
        project: project.id.clone(),
        services: spec.services.iter().map(|service| service.name.clone()).collect(),
        folder: context.folder(),
        files: spec.files.iter().map(|file| file.path.clone()).collect(),
        fixed_addresses: (spec.services.iter())
            .filter_map(|service| Some((service.name.clone(), layout.fixed(service.fixed_address?)?)))
            .collect(),
        publish_address: context.parts.config.publish_address,
        ports: (spec.ports.iter())
            .filter_map(|port| Some((port.service.clone(), port.container, project.port(&port.name)?)))
            .collect(),
        images: (spec.services.iter())
            .filter_map(|service| {
                let pinned = pinned.get(&service.name).cloned();
                Some((service.name.clone(), pinned.or_else(|| image_of(&service.image))?))
            })
            .collect(),
        image_prefixes: context.parts.config.image_prefixes.clone(),
        secrets: (spec.secrets.iter())
            .filter(|secret| secret.kind != SecretKind::OwnerPassword)
            .map(|secret| secret.name.clone())
            .collect(),
        subnet: layout.subnet,
        gateway: layout.gateway,
        ip_range: layout.ip_range,
    })
}

/// Puts values where a file says `${NAME}`. A name that is no secret is an error; an owner's password goes into
/// no file at all (decision 11).
fn substitute(context: &StepContext, file: &RenderedFile) -> Result<String, StepError> {
    let mut text = String::with_capacity(file.content.len());
    let mut rest = file.content.as_str();
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        let end = from.find('}').unwrap_or(0);
        let name = from.get(2..end).unwrap_or_default();
        let spec = context.set.spec.secrets.iter().find(|secret| secret.name == name && secret.kind != SecretKind::OwnerPassword);
        let value = spec.and_then(|spec| context.secrets.get(&spec.name)).ok_or_else(|| {
            StepError::permanent(
                "unknown_reference",
                format!("{} refers to `${{{name}}}`, which is no secret a file may hold", file.path),
            )
        })?;
        text.push_str(value.expose());
        rest = &from[end + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

/// Only what the compose file mentions.
fn env_file(context: &StepContext, stack: &FencedStack) -> Result<String, StepError> {
    let values = stack.services.values().flat_map(|service| service.environment.values());
    let malformed =
        |error: compose::ReferenceError| StepError::permanent("compose_invalid", format!("{COMPOSE_FILE}: a value {error}"));
    let mut names = BTreeSet::new();
    for value in values {
        names.extend(compose::references(value).map_err(malformed)?);
    }
    let mut text = String::new();
    for name in names {
        let value = context.secrets.get(name).ok_or_else(|| {
            StepError::permanent("unknown_reference", format!("{COMPOSE_FILE} refers to `${{{name}}}`, which is no secret"))
        })?;
        text.push_str(&format!("{name}={}\n", value.expose()));
    }
    Ok(text)
}

pub(in crate::lifecycle) fn replace_file(folder: &Path, name: &str, mode: u32, text: &str) -> Result<(), StepError> {
    let (path, temporary) = (folder.join(name), folder.join(format!(".{name}.new")));
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The mode of `open` passes the umask; a container's user must really be able to read the file.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(|error| StepError::file(&path, &error))
}

pub(in crate::lifecycle) fn sync_folder(folder: &Path) -> Result<(), StepError> {
    let synced = std::fs::File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(|error| StepError::file(folder, &error))
}

//! The files of an update. They are rendered into a folder beside those in use, so that whatever is wrong with them shows
//! before anything stops; then put in their place one by one. Those that were in use are kept until the update has proved
//! itself.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use async_trait::async_trait;

use super::folder::remove_tree;
use super::render::{self, replace_file, sync_folder};
use super::snapshot;
use super::{StepContext, StepEffect, StepError};
use crate::backend::Labels;
use crate::domain::Project;
use crate::lifecycle::Parts;

/// The rendered files of the update.
pub(super) const NEXT: &str = ".next";
/// The rendered files before it.
pub(in crate::lifecycle) const PREVIOUS: &str = ".previous";
/// Is in [`PREVIOUS`] once everything else is.
const COMPLETE: &str = ".complete";

pub(super) struct Stage;
pub(super) struct Switch;
pub(super) struct Discarded;

#[async_trait]
impl StepEffect for Stage {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(context.folder().join(NEXT).exists())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        // What an update that was ended by force has left says nothing about this one.
        discard_of(context).await?;
        let rendered = render::make(context).await?;
        let next = context.folder().join(NEXT);
        make_folder(&next)?;
        rendered.write(&next)?;
        Ok(rendered.told())
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        discard_of(context).await
    }
}

#[async_trait]
impl StepEffect for Switch {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(context.folder().join(PREVIOUS).join(COMPLETE).exists())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let (folder, previous) = (context.folder(), context.folder().join(PREVIOUS));
        if !previous.join(COMPLETE).exists() {
            make_folder(&previous)?;
            copy_files(&in_use(context).await?, &folder, &previous)?;
            sync_folder(&previous)?;
            replace_file(&previous, COMPLETE, 0o600, "")?;
            sync_folder(&previous)?;
            sync_folder(&folder)?;
        }
        let next = folder.join(NEXT);
        let names = file_names(&next)?;
        copy_files(&names, &next, &folder)?;
        remove_surplus(&folder, &previous, &next)?;
        Ok(format!("{} files", names.len()))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let (folder, previous) = (context.folder(), context.folder().join(PREVIOUS));
        copy_files(&file_names(&previous)?, &previous, &folder)?;
        remove_surplus(&folder, &folder.join(NEXT), &previous)
    }
}

#[async_trait]
impl StepEffect for Discarded {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!is_left(&context.folder()))
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        discard_of(context).await?;
        Ok("nothing of it is left".to_owned())
    }

    /// What is thrown away does not come back.
    async fn remove(&self, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

async fn discard_of(context: &StepContext) -> Result<(), StepError> {
    discard(&context.parts, &context.project, &context.labels(None, String::new())).await
}

/// Whether a project's folder has something of an update.
pub(in crate::lifecycle) fn is_left(folder: &Path) -> bool {
    [NEXT, PREVIOUS, snapshot::FOLDER, snapshot::COMPLETE].iter().any(|name| folder.join(name).exists())
}

/// Removes what an update has beside the stack and the data. The mark goes before the copy that it vouches for.
pub(in crate::lifecycle) async fn discard(parts: &Parts, project: &Project, labels: &Labels) -> Result<(), StepError> {
    let folder = parts.project_folder(&project.id);
    let mark = folder.join(snapshot::COMPLETE);
    match std::fs::remove_file(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StepError::file(&mark, &error)),
        _ => sync_folder(&folder)?,
    }
    for name in [snapshot::FOLDER, NEXT, PREVIOUS] {
        remove_tree(parts, project, labels, &folder.join(name)).await?;
    }
    Ok(())
}

pub(super) fn make_folder(path: &Path) -> Result<(), StepError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| StepError::file(path, &error))
}

/// The rendered files of the stack that the project has: what somebody else put into the folder is not ours to move.
async fn in_use(context: &StepContext) -> Result<Vec<String>, StepError> {
    let gone = || StepError::permanent("project_gone", "the project is not in the store");
    let present = context.parts.store.project(&context.project.id).await?.ok_or_else(gone)?;
    let set = context.parts.set_of(&present).map_err(|error| StepError::permanent("template_set_gone", error.to_string()))?;
    let rendered = set.spec.files.iter().map(|file| file.path.clone()).chain([render::ENV_FILE.to_owned()]);
    Ok(rendered.filter(|name| context.folder().join(name).is_file()).collect())
}

/// Puts these files into `to`, each by temp, fsync and rename. May be done again at any time.
fn copy_files(names: &[String], from: &Path, to: &Path) -> Result<(), StepError> {
    for name in names {
        let path = from.join(name);
        let read = || Ok((std::fs::read_to_string(&path)?, std::fs::metadata(&path)?.permissions().mode() & 0o7777));
        let (text, mode) = read().map_err(|error| StepError::file(&path, &error))?;
        replace_file(to, name, mode, &text)?;
    }
    sync_folder(to)
}

/// Removes from `folder` what the one stack had and the other has not; what somebody else put there stays.
fn remove_surplus(folder: &Path, had: &Path, has: &Path) -> Result<(), StepError> {
    let stays = file_names(has)?;
    for surplus in file_names(had)?.iter().filter(|name| !stays.contains(name)) {
        let path = folder.join(surplus);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StepError::file(&path, &error)),
            _ => {}
        }
    }
    sync_folder(folder)
}

/// The files directly in a folder, less half-written ones and marks.
fn file_names(folder: &Path) -> Result<Vec<String>, StepError> {
    let wrong = |error: std::io::Error| StepError::file(folder, &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let passing = name == COMPLETE || name == snapshot::COMPLETE || (name.starts_with('.') && name.ends_with(".new"));
        if entry.file_type().map_err(wrong)?.is_file() && !passing {
            names.push(name);
        }
    }
    Ok(names)
}

//! The project's folder: 0700 from its first moment on, never mounted itself (decision 36).

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::backend::{ErrorClass, Labels};
use crate::domain::Project;
use crate::lifecycle::Parts;

pub(super) struct Folder;

#[async_trait]
impl StepEffect for Folder {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(std::fs::symlink_metadata(context.folder()).is_ok())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let folder = context.folder();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| StepError::file(&folder, &error))?;
        Ok("made".to_owned())
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        remove_all(&context.parts, &context.project, &context.labels(None, String::new())).await
    }
}

/// The project's whole folder.
pub(in crate::lifecycle) async fn remove_all(parts: &Parts, project: &Project, labels: &Labels) -> Result<(), StepError> {
    remove_tree(parts, project, labels, &parts.project_folder(&project.id)).await
}

/// Containers leave files of other users behind. A daemon that is root removes them itself, another one asks a helper
/// container, made from the set's helper image, to empty the folder first.
pub(super) async fn remove_tree(parts: &Parts, project: &Project, labels: &Labels, folder: &Path) -> Result<(), StepError> {
    let removed = {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await
    };
    match removed {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {}
        Ok(Err(error)) => {
            let class = if error.kind() == ErrorKind::DirectoryNotEmpty { ErrorClass::Retry } else { ErrorClass::Permanent };
            return Err(StepError { class, ..StepError::file(folder, &error) });
        }
        Err(panic) => return Err(StepError::permanent("folder", panic.to_string())),
    }
    let image = helper_image(parts, project).await?;
    parts.backend.empty_folder(folder, &image, labels).await?;
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StepError::file(folder, &error)),
        _ => Ok(()),
    }
}

/// The image that helper containers of a project are made from, pulled if it is not there.
pub(super) async fn helper_image(parts: &Parts, project: &Project) -> Result<String, StepError> {
    let missing =
        || StepError::permanent("no_helper_image", "the template set names no `helper` service whose image can work on files");
    let set = parts.set_of(project).map_err(|_| missing())?;
    let helper = set.spec.helper.as_ref().and_then(|name| set.spec.service(name)).ok_or_else(missing)?;
    let images = parts.templates.images(&project.image_set).map_err(|_| missing())?;
    let image = images.images.get(&helper.image).cloned().ok_or_else(missing)?;
    if parts.backend.image_digest(&image).await?.is_none() {
        let no_progress = Duration::from_secs(parts.config.deadlines.pull_no_progress_s);
        parts.backend.pull(&image, no_progress, &|_| {}).await?;
    }
    Ok(image)
}

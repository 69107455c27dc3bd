//! The project's folder: 0700 from its first moment on, never mounted itself (decision 36).

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use async_trait::async_trait;

use super::{StepContext, StepEffect, StepError};
use crate::backend::ErrorClass;

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

    /// Containers leave files of other users behind. A daemon that is root removes them itself, another one asks a
    /// helper container, made from the set's helper image, to empty the folder first.
    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let folder = context.folder();
        let removed = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await
        };
        match removed {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {}
            Ok(Err(error)) => {
                let class = if error.kind() == ErrorKind::DirectoryNotEmpty { ErrorClass::Retry } else { ErrorClass::Permanent };
                return Err(StepError { class, ..StepError::file(&folder, &error) });
            }
            Err(panic) => return Err(StepError::permanent("folder", panic.to_string())),
        }
        let image = helper_image(context)?;
        if context.parts.backend.image_digest(&image).await?.is_none() {
            let no_progress = Duration::from_secs(context.parts.config.deadlines.pull_no_progress_s);
            context.parts.backend.pull(&image, no_progress, &|_| {}).await?;
        }
        context.parts.backend.empty_folder(&folder, &image, &context.labels(None, String::new())).await?;
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StepError::file(&folder, &error)),
            _ => Ok(()),
        }
    }
}

fn helper_image(context: &StepContext) -> Result<String, StepError> {
    let missing =
        || StepError::permanent("no_helper_image", "the template set names no `helper` service whose image can remove files");
    let helper = context.set.spec.helper.as_ref().and_then(|name| context.set.spec.service(name)).ok_or_else(missing)?;
    let images = context.parts.templates.images(&context.project.image_set).map_err(|_| missing())?;
    images.images.get(&helper.image).cloned().ok_or_else(missing)
}

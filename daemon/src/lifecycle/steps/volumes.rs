//! The folders of the project's data, and the named volumes over them. The folders exist before a volume is
//! made: a bound named volume is then filled from the image on first use (decision 8).

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use async_trait::async_trait;

use super::containers::remove_left;
use super::{StepContext, StepEffect, StepError};
use crate::backend::VolumeSpec;
use crate::stack::MountSource;

pub(super) struct Volumes;

#[async_trait]
impl StepEffect for Volumes {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        Ok(!context.observed().await?.volumes.is_empty() || context.folder().join("volumes").exists())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let stack = context.stack().await?;
        let folder = context.folder();
        let mut folders: Vec<&str> = stack.volumes.values().map(|volume| volume.folder.as_str()).collect();
        for mount in stack.services.values().flat_map(|service| &service.mounts) {
            match &mount.source {
                MountSource::Folder(path) if path.starts_with("volumes/") => folders.push(path),
                _ => {}
            }
        }
        for path in &folders {
            make_folder(&folder.join(path))?;
        }
        for (key, volume) in &stack.volumes {
            let labels = context.labels(None, String::new());
            context.parts.backend.ensure_volume(&VolumeSpec { key, volume, folder: &folder, labels }).await?;
        }
        Ok(format!("{} volumes", stack.volumes.len()))
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        remove_left(context).await?;
        for volume in context.observed().await?.volumes {
            context.parts.backend.remove_volume(&volume.name).await?;
        }
        Ok(())
    }
}

/// 0755: the containers' own users go in; the project's folder above is 0700.
fn make_folder(path: &Path) -> Result<(), StepError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| StepError::file(path, &error))
}

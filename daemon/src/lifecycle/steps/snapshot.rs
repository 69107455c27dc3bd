//! A copy of a project's data, taken while nothing of it runs: services migrate the database when they start, so an old
//! image cannot read what a newer one has left. The copy is made by a helper container, which sees every owner and
//! attribute whoever the daemon runs as; it shares blocks with the original where the file system can.

use std::path::Path;

use async_trait::async_trait;

use super::folder::helper_image;
use super::render::{replace_file, sync_folder};
use super::stage::make_folder;
use super::{StepContext, StepEffect, StepError};

/// Where the copy is.
pub(super) const FOLDER: &str = ".snapshot";
/// Is there once the copy is whole, beside it: the copy itself holds the data and nothing else.
pub(super) const COMPLETE: &str = ".snapshot.complete";
/// What is copied.
const DATA: &str = "volumes";

pub(super) struct Snapshot;

#[async_trait]
impl StepEffect for Snapshot {
    async fn observe(&self, context: &StepContext) -> Result<bool, StepError> {
        // A copy that is not whole was never needed: nothing has been changed before it is.
        Ok(context.folder().join(COMPLETE).exists())
    }

    async fn ensure(&self, context: &StepContext) -> Result<String, StepError> {
        let folder = context.folder();
        if folder.join(COMPLETE).exists() {
            return Ok("was taken before".to_owned());
        }
        let copy = folder.join(FOLDER);
        make_folder(&copy)?;
        copy_data(context, &folder.join(DATA), &copy).await?;
        replace_file(&folder, COMPLETE, 0o600, context.operation.id.as_str())?;
        sync_folder(&folder)?;
        Ok("the data is copied".to_owned())
    }

    async fn remove(&self, context: &StepContext) -> Result<(), StepError> {
        let folder = context.folder();
        copy_data(context, &folder.join(FOLDER), &folder.join(DATA)).await
    }
}

async fn copy_data(context: &StepContext, from: &Path, to: &Path) -> Result<(), StepError> {
    if !from.exists() {
        return Ok(());
    }
    let image = helper_image(&context.parts, &context.project).await?;
    let labels = context.labels(None, String::new());
    Ok(context.parts.backend.copy_folder(from, to, &image, &labels, context.time_left()).await?)
}

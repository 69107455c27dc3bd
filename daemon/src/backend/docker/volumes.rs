//! Named volumes, each a folder of the project that the local driver binds: the engine then fills it from the image
//! on first use, which it does not do for a plain bind (decision 8).

use std::collections::HashMap;

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;

use super::DockerBackend;
use super::errors::Cause;
use super::{labels, mounts};
use crate::backend::{BackendError, Result, VolumeSpec};

impl DockerBackend {
    pub(super) async fn volume_there(&self, spec: &VolumeSpec<'_>) -> Result<()> {
        let device = mounts::verified_source(spec.folder, &spec.volume.folder).await?;
        let options = HashMap::from([
            ("type".to_owned(), "none".to_owned()),
            ("o".to_owned(), "bind".to_owned()),
            ("device".to_owned(), device.display().to_string()),
        ]);
        if let Some(found) = self.raw_volume(&spec.volume.name).await? {
            return is_as_wanted(&found, spec, &options);
        }
        let request = VolumeCreateRequest {
            name: Some(spec.volume.name.clone()),
            driver: Some("local".to_owned()),
            driver_opts: Some(options.clone()),
            labels: Some(labels::of_volume(&spec.volume.labels, &spec.labels, spec.key)),
            ..VolumeCreateRequest::default()
        };
        let made = self.change("create volume", |docker| async move { docker.create_volume(request).await }).await;
        // Creating a volume that exists succeeds without a word, and a reply can be lost: looking decides either way.
        match (self.raw_volume(&spec.volume.name).await?, made) {
            (Some(found), _) => is_as_wanted(&found, spec, &options),
            (None, Err(failure)) => Err(failure.into()),
            (None, Ok(_)) => {
                Err(BackendError::Busy { what: "create volume".into(), reason: "it was made and is not there".into() })
            }
        }
    }

    pub(super) async fn volume_gone(&self, name: &str) -> Result<()> {
        let what = format!("remove volume {name}");
        let Some(found) = self.raw_volume(name).await? else { return Ok(()) };
        if !labels::is_managed(Some(&found.labels)) {
            return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
        }
        let remove = || async {
            self.change(&what, |docker| async move { docker.remove_volume(name, None::<RemoveVolumeOptions>).await }).await
        };
        let mut removed = remove().await;
        if matches!(&removed, Err(failure) if failure.cause == Cause::Busy) && self.composed_users_gone(&found.labels).await? {
            removed = remove().await;
        }
        match removed {
            Err(failure) if failure.cause != Cause::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn raw_volume(&self, name: &str) -> Result<Option<Volume>> {
        match self.read(&format!("inspect volume {name}"), |docker| async move { docker.inspect_volume(name).await }).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.cause == Cause::NotFound => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// A volume of ours with another device is told, not replaced: no step but a delete removes a volume (I7).
fn is_as_wanted(found: &Volume, spec: &VolumeSpec<'_>, options: &HashMap<String, String>) -> Result<()> {
    if !labels::is_of(Some(&found.labels), &spec.labels) {
        return Err(BackendError::NameTaken { kind: "volume", name: spec.volume.name.clone() });
    }
    if found.options != *options {
        let device = found.options.get("device").map_or("nothing", String::as_str);
        let reason = format!("it is there and bound to {device}: delete the project or remove the volume by hand");
        return Err(BackendError::Rejected { what: format!("create volume {}", spec.volume.name), reason });
    }
    Ok(())
}

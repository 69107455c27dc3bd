//! Mounts in the engine's terms, after a look at their sources.
//!
//! The fence has checked the text of a source; this is the I/O beside it (decision 33). Each part of the path under
//! the project's folder must be there and be no symlink. Between this look and the engine's there is no gap for a
//! container to use: it can write inside `volumes/<word>`, and only `volumes/<word>` itself is a source. Binds go in
//! as `Mounts`, with which the engine refuses a missing source; as `Binds` it would make a directory of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountType, MountVolumeOptions};

use super::labels;
use crate::backend::{BackendError, ContainerSpec, Result};
use crate::stack::{BindMode, MountSource};

/// The absolute path of a source, which is there and is no symlink.
pub async fn verified_source(folder: &Path, relative: &str) -> Result<PathBuf> {
    let refuse = |path: &Path, reason: &str| {
        Err(BackendError::Rejected { what: format!("mount {}", path.display()), reason: reason.to_owned() })
    };
    let mut path = folder.to_owned();
    for part in Path::new(relative).components() {
        let std::path::Component::Normal(part) = part else {
            return refuse(Path::new(relative), "a source is a plain path inside the project's folder");
        };
        path.push(part);
        match tokio::fs::symlink_metadata(&path).await {
            Ok(found) if found.is_symlink() => return refuse(&path, "the source is a symlink: put the real thing there"),
            Ok(_) => {}
            Err(error) => {
                return refuse(&path, &format!("the source cannot be used ({error}): the project's folder is incomplete"));
            }
        }
    }
    Ok(path)
}

/// Every mount of a container. A named volume must be in `spec.volumes`: the engine would make an unknown one up.
pub async fn of_container(spec: &ContainerSpec<'_>) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in &spec.service.mounts {
        let (typ, source, options) = match &mount.source {
            MountSource::Folder(relative) => {
                let path = verified_source(spec.folder, relative).await?;
                (MountType::BIND, path.display().to_string(), None)
            }
            MountSource::Volume(key) => match spec.volumes.get(key) {
                // The engine makes a volume that has gone meanwhile: with our labels it is found again.
                Some(name) => {
                    let labels = Some(labels::of_volume(&BTreeMap::new(), &spec.labels, key));
                    (MountType::VOLUME, name.clone(), Some(MountVolumeOptions { labels, ..MountVolumeOptions::default() }))
                }
                None => {
                    let reason = "the volume is not one of the project's".to_owned();
                    return Err(BackendError::Rejected { what: format!("mount {key}"), reason });
                }
            },
        };
        mounts.push(Mount {
            typ: Some(typ),
            source: Some(source),
            target: Some(mount.target.clone()),
            volume_options: options,
            read_only: Some(mount.mode == BindMode::ReadOnly),
            ..Mount::default()
        });
    }
    Ok(mounts)
}

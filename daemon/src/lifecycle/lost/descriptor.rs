//! What a project's folder says about the project, so that it can be made known again to a store that has lost it
//! ([`super`]): everything that neither the rendered files nor labels tell. Secrets are in it as the store has them,
//! sealed under the master key.
//!
//! It is written by whoever looks at all projects anyway, whenever a row has changed, and not by the steps of one
//! operation: a rename, other limits and another master key have no steps.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::domain::{Bytes, Cpu, InstallationId, OperationId, Project, ProjectRef, ProjectStatus, Resources, Shape, UnixMillis};
use crate::lifecycle::Parts;
use crate::lifecycle::steps::StepError;
use crate::lifecycle::steps::render::{replace_file, sync_folder};
use crate::store::ImagePin;

/// The file in the project's folder. No template set renders a file of this name.
pub(in crate::lifecycle) const FILE: &str = ".project.json";
/// Rises when an older daemon could not understand it any more.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    pub version: u32,
    pub installation: InstallationId,
    pub project: ProjectRef,
    pub name: String,
    pub organization_id: String,
    pub region: String,
    #[serde(flatten)]
    pub shape: Shape,
    pub cpu: Option<Cpu>,
    pub memory: Option<Bytes>,
    pub storage: Option<Bytes>,
    pub ports: BTreeMap<String, u16>,
    pub subnet: String,
    pub generation: i64,
    pub stack_operation: OperationId,
    pub images: Vec<Image>,
    pub created_at: UnixMillis,
    pub activated_at: Option<UnixMillis>,
    pub secrets: BTreeMap<String, Sealed>,
}

/// What a service's container is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Image {
    pub service: String,
    pub reference: String,
    pub digest: String,
}

/// A value that only the master key opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub key_id: String,
    pub value: String,
}

impl Sealed {
    /// The bytes as the store has them; `None` when somebody has changed the text.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.value).ok()
    }
}

impl Descriptor {
    pub fn resources(&self) -> Resources {
        Resources { cpu: self.cpu, memory: self.memory, storage: self.storage }
    }

    pub fn pins(&self) -> Vec<ImagePin> {
        let pin = |image: &Image| {
            let Image { service, reference, digest } = image.clone();
            ImagePin { service, reference, digest }
        };
        self.images.iter().map(pin).collect()
    }

    /// Reads the one in this folder, if it is this project's.
    ///
    /// # Errors
    /// A sentence that says why it cannot be used.
    pub fn read(parts: &Parts, project: &ProjectRef) -> Result<Self, String> {
        let folder = parts.project_folder(project);
        if !folder.is_dir() {
            return Err(format!(
                "its folder {} is not there: its ports, secrets and images were written there and nowhere else",
                folder.display()
            ));
        }
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("its folder has no {FILE}: it was never active, or only under a version of the daemon that wrote none")
            }
            _ => format!("{}: {error}", path.display()),
        })?;
        Self::parse(&text, project, &parts.installation)
    }

    /// The installation that this folder's file names, if that is another one: its containers may work in the folder.
    pub fn stranger(parts: &Parts, project: &ProjectRef) -> Option<InstallationId> {
        let text = std::fs::read_to_string(parts.project_folder(project).join(FILE)).ok()?;
        let read: Self = serde_json::from_str(&text).ok()?;
        Some(read.installation).filter(|installation| *installation != parts.installation)
    }

    fn parse(text: &str, project: &ProjectRef, installation: &InstallationId) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| format!("{FILE} cannot be read: {error}"))?;
        if read.version > VERSION {
            let (found, ours) = (read.version, VERSION);
            return Err(format!("{FILE} is of version {found}, this daemon knows {ours}: use the daemon that wrote it"));
        }
        if read.installation != *installation {
            return Err(format!("{FILE} is of another installation, {}: this one must not touch it", read.installation));
        }
        if read.project != *project {
            return Err(format!("{FILE} is of project {}: put the folder back to where it was", read.project));
        }
        Ok(read)
    }
}

/// What was kept of each project.
#[derive(Default)]
pub(in crate::lifecycle) struct Kept {
    /// Which row its file was last compared with.
    rows: BTreeMap<ProjectRef, UnixMillis>,
    /// Why its file could not be written, as it was last told: rounds are many.
    told: BTreeMap<ProjectRef, String>,
}

/// Keeps the file of a project that stands still. What cannot be written is tried again at the next look.
pub(in crate::lifecycle) async fn keep(parts: &Parts, project: &Project, kept: &mut Kept) {
    if kept.rows.get(&project.id) == Some(&project.updated_at) {
        return;
    }
    match write(parts, &project.id).await {
        Ok(Some(of)) => {
            kept.rows.insert(project.id.clone(), of);
            kept.told.remove(&project.id);
        }
        Ok(None) => {}
        Err(StepError { failure, .. }) => {
            let told = kept.told.insert(project.id.clone(), failure.message.clone());
            if told.as_ref() != Some(&failure.message) {
                tracing::warn!(
                    project.id = %project.id,
                    reason = failure.message,
                    "{FILE} is not up to date: should the store lose the project, it cannot be adopted"
                );
            }
        }
    }
}

/// Writes it if it differs from what is there. Returns which row it stands for; `None` when the project is under way,
/// and its files are not those of its row.
async fn write(parts: &Parts, id: &ProjectRef) -> Result<Option<UnixMillis>, StepError> {
    let Some(project) = parts.store.project(id).await? else { return Ok(None) };
    if !project.status.is_active() && project.status != ProjectStatus::Paused {
        return Ok(None);
    }
    let (folder, Some(stack_operation)) = (parts.project_folder(id), project.stack_operation.clone()) else {
        return Ok(Some(project.updated_at));
    };
    let mut pins = parts.store.image_pins(&stack_operation).await?;
    pins.sort_by(|a, b| a.service.cmp(&b.service));
    let sealed = parts.store.sealed_secrets(id).await?.into_iter();
    let descriptor = Descriptor {
        version: VERSION,
        installation: parts.installation.clone(),
        project: id.clone(),
        shape: project.shape(),
        name: project.name,
        organization_id: project.organization_id,
        region: project.region,
        cpu: project.resources.cpu,
        memory: project.resources.memory,
        storage: project.resources.storage,
        ports: project.ports.into_iter().collect(),
        subnet: project.subnet,
        generation: project.generation,
        stack_operation,
        images: (pins.into_iter()).map(|ImagePin { service, reference, digest }| Image { service, reference, digest }).collect(),
        created_at: project.created_at,
        activated_at: project.activated_at,
        secrets: sealed.map(|(name, key_id, bytes)| (name, Sealed { key_id, value: STANDARD.encode(bytes) })).collect(),
    };
    let text = serde_json::to_string_pretty(&descriptor).map_err(|error| StepError::permanent("folder", error.to_string()))?;
    put(&folder, &text)?;
    Ok(Some(project.updated_at))
}

fn put(folder: &Path, text: &str) -> Result<(), StepError> {
    if std::fs::read_to_string(folder.join(FILE)).is_ok_and(|there| there == text) {
        return Ok(());
    }
    replace_file(folder, FILE, 0o600, text)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_projects_own_file_of_this_installation_is_read() {
        let (installation, project) = ("a".repeat(32), "b".repeat(20));
        let text = |version: u32| {
            format!(
                r#"{{"version": {version}, "installation": "{installation}", "project": "{project}", "name": "n",
                "organization_id": "default", "region": "here", "template_set": "s", "image_set": "i", "cpu": null,
                "memory": "1GiB", "storage": null, "ports": {{"api": 20000}}, "subnet": "10.0.0.0/27", "generation": 2,
                "stack_operation": "op_{}", "images": [], "created_at": 1, "activated_at": 2,
                "secrets": {{"A": {{"key_id": "k", "value": "AAE="}}}}, "of a later version": 1}}"#,
                "c".repeat(24)
            )
        };
        let id = |letter: &str| ProjectRef::parse(&letter.repeat(20)).expect("a ref");
        let of = |letter: &str| InstallationId::parse(&letter.repeat(32)).expect("an id");
        let parse = |text: &str, project, installation| Descriptor::parse(text, &id(project), &of(installation));
        let read = parse(&text(1), "b", "a").expect("read");
        assert_eq!((read.shape.template_set.as_str(), read.secrets["A"].bytes()), ("s", Some(vec![0, 1])));
        let refused = |text: &str, project, installation| parse(text, project, installation).expect_err("refused");
        assert!(refused(&text(2), "b", "a").contains("version 2"));
        assert!(refused(&text(1), "c", "a").contains("of project bbbb"));
        assert!(refused(&text(1), "b", "d").contains("another installation"));
        assert!(refused("{}", "b", "a").contains("cannot be read"));
    }
}

//! The helper: a short-lived container that removes files which containers own, for a daemon that is not root but
//! may use the engine.
//!
//! It is not removed by the engine when it ends, since its exit code and its words are wanted; it is labelled, so
//! that one a killed daemon left behind is found here or by the reaper.

use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::time::Instant;

use super::DockerBackend;
use super::errors::Cause;
use super::labels;
use crate::backend::{BackendError, ContainerState, Labels, Result, keys};

const INSIDE: &str = "/folder";
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);
/// `find` needs a few megabytes, whatever the size of the tree.
const MEMORY_BYTES: i64 = 128 << 20;

impl DockerBackend {
    pub(super) async fn folder_emptied(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()> {
        let what = format!("empty folder {}", folder.display());
        let refuse = |reason: &str| Err(BackendError::Rejected { what: what.clone(), reason: reason.to_owned() });
        match tokio::fs::symlink_metadata(folder).await {
            Ok(found) if found.is_dir() && folder.is_absolute() && folder.components().count() > 3 => {}
            Ok(_) => return refuse("it must be a directory, not a symlink, and at least three levels deep"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return refuse(&error.to_string()),
        }
        self.helpers_gone(labels).await?;
        let name = format!("supamanager-{}-helper", labels.project);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = body(folder, image, labels);
        let made = self.change(&what, |docker| async move { docker.create_container(Some(options), body).await }).await;
        let id = match made {
            Ok(made) => made.id,
            Err(failure) if failure.cause == Cause::NoSuchImage => return Err(failure.about_image(image)),
            Err(failure) if failure.cause == Cause::NameInUse => {
                let ours = self
                    .raw_container(&name)
                    .await?
                    .is_none_or(|found| labels::is_of(found.config.as_ref().and_then(|config| config.labels.as_ref()), labels));
                return if ours { Err(failure.into()) } else { Err(BackendError::NameTaken { kind: "container", name }) };
            }
            Err(failure) => return Err(failure.into()),
        };
        let outcome = self.helper_ended(&id, &what).await;
        // Removed whatever came of it; what could not be removed is told unless something worse happened.
        let removed = self.container_gone(&id).await;
        outcome.and(removed)
    }

    async fn helpers_gone(&self, labels: &Labels) -> Result<()> {
        let filter = labels::filter(&labels.installation, Some(&labels.project), &[(keys::ROLE, "helper")]);
        for found in self.containers_with(&filter).await? {
            self.container_gone(&found.id.unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Polls instead of the engine's wait, whose stream can hang behind a proxy (reliability 2, client time-outs).
    async fn helper_ended(&self, id: &str, what: &str) -> Result<()> {
        self.container_started(id).await?;
        let until = Instant::now() + self.deadlines.empty_folder;
        let mut pause = FIRST_LOOK;
        loop {
            match self.container_now(id).await?.map(|found| found.state) {
                Some(ContainerState::Exited { code: 0, .. }) => return Ok(()),
                Some(ContainerState::Exited { code, .. }) => {
                    let lines = self.last_lines(id, 5).await.unwrap_or_default();
                    let said: Vec<String> = lines.into_iter().map(|line| line.text).collect();
                    let reason = format!("the helper ended with {code}: {}", said.join("; "));
                    return Err(BackendError::Busy { what: what.to_owned(), reason });
                }
                Some(_) => {}
                None => return Err(BackendError::Busy { what: what.to_owned(), reason: "the helper was removed".into() }),
            }
            if Instant::now() > until {
                let deadline_ms = u64::try_from(self.deadlines.empty_folder.as_millis()).unwrap_or(u64::MAX);
                return Err(BackendError::TimedOut { what: what.to_owned(), deadline_ms });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }
}

/// Root, for it has to remove what anybody owns, with nothing else: two capabilities, no network, no other file.
/// `find` is in every Debian and busybox image, does not follow symlinks, and `-xdev` keeps it off other mounts.
fn body(folder: &Path, image: &str, labels: &Labels) -> ContainerCreateBody {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some("0:0".to_owned()),
        entrypoint: Some(words("find")),
        cmd: Some(words(&format!("{INSIDE} -xdev -mindepth 1 -delete"))),
        working_dir: Some("/".to_owned()),
        labels: Some(labels::of_helper(labels)),
        healthcheck: Some(HealthConfig { test: Some(words("NONE")), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(words("ALL")),
            cap_add: Some(words("DAC_OVERRIDE FOWNER")),
            security_opt: Some(words("no-new-privileges")),
            memory: Some(MEMORY_BYTES),
            pids_limit: Some(16),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some([("max-size", "1m"), ("max-file", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            }),
            mounts: Some(vec![Mount {
                typ: Some(MountType::BIND),
                source: Some(folder.display().to_string()),
                target: Some(INSIDE.to_owned()),
                ..Mount::default()
            }]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

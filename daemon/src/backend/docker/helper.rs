//! The helper: a short-lived container that removes or copies files which containers own, for a daemon that is not root
//! but may use the engine.
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

const FOLDER: &str = "/folder";
const FROM: &str = "/from";
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);
/// `find` and `cp` need a few megabytes, whatever the size of the tree; the rest is the kernel's cache of what they read.
const MEMORY_BYTES: i64 = 256 << 20;

/// Not `cp -a` alone: what was in the target goes first, and the copy is on the disk before it is called one. GNU's `cp`
/// shares blocks where it can; busybox's knows no such option, as its `find` knows no `-delete`.
const COPY: &str = "set -eu; rm -rf /folder/* /folder/.[!.]* /folder/..?*; share=; \
    if cp --version 2>/dev/null | grep -q GNU; then share=--reflink=auto; fi; cp -a $share /from/. /folder/; sync";

/// What a helper does.
struct Task<'a> {
    what: String,
    /// Mounted at [`FOLDER`].
    folder: &'a Path,
    /// Mounted at [`FROM`], to be read only.
    from: Option<&'a Path>,
    command: Vec<String>,
    capabilities: &'static str,
    limit: Duration,
}

impl DockerBackend {
    /// `find` is in every Debian and busybox image, does not follow symlinks, and `-xdev` keeps it off other mounts.
    pub(super) async fn folder_emptied(&self, folder: &Path, image: &str, labels: &Labels) -> Result<()> {
        let task = Task {
            what: format!("empty folder {}", folder.display()),
            folder,
            from: None,
            command: words(&format!("find {FOLDER} -xdev -mindepth 1 -delete")),
            capabilities: "DAC_OVERRIDE FOWNER",
            limit: self.deadlines.empty_folder,
        };
        match tokio::fs::symlink_metadata(folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => self.helped(&task, image, labels).await,
        }
    }

    pub(super) async fn folder_copied(
        &self,
        from: &Path,
        to: &Path,
        image: &str,
        labels: &Labels,
        limit: Duration,
    ) -> Result<()> {
        let task = Task {
            what: format!("copy folder {} to {}", from.display(), to.display()),
            folder: to,
            from: Some(from),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), COPY.to_owned()],
            capabilities: "DAC_OVERRIDE FOWNER CHOWN FSETID SETFCAP",
            limit,
        };
        self.helped(&task, image, labels).await
    }

    async fn helped(&self, task: &Task<'_>, image: &str, labels: &Labels) -> Result<()> {
        let what = &task.what;
        for folder in [Some(task.folder), task.from].into_iter().flatten() {
            let wrong = match tokio::fs::symlink_metadata(folder).await {
                Ok(found) if found.is_dir() && folder.is_absolute() && folder.components().count() > 3 => None,
                Ok(_) => Some("it must be a directory, not a symlink, and at least three levels deep".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(reason) = wrong {
                return Err(BackendError::Rejected { what: what.clone(), reason: format!("{}: {reason}", folder.display()) });
            }
        }
        self.helpers_gone(labels).await?;
        let name = format!("supamanager-{}-helper", labels.project);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = body(task, image, labels);
        let made = self.change(what, |docker| async move { docker.create_container(Some(options), body).await }).await;
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
        let outcome = self.helper_ended(&id, what, task.limit).await;
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
    async fn helper_ended(&self, id: &str, what: &str, limit: Duration) -> Result<()> {
        self.container_started(id).await?;
        let until = Instant::now() + limit;
        let mut pause = FIRST_LOOK;
        loop {
            match self.container_now(id).await?.map(|found| found.state) {
                Some(ContainerState::Exited { code: 0, .. }) => return Ok(()),
                Some(ContainerState::Exited { code, .. }) => {
                    let lines = self.last_lines(id, 5, None).await.unwrap_or_default();
                    let said: Vec<String> = lines.into_iter().map(|line| line.text).collect();
                    let reason = format!("the helper ended with {code}: {}", said.join("; "));
                    return Err(BackendError::Busy { what: what.to_owned(), reason });
                }
                Some(_) => {}
                None => return Err(BackendError::Busy { what: what.to_owned(), reason: "the helper was removed".into() }),
            }
            if Instant::now() > until {
                let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                return Err(BackendError::TimedOut { what: what.to_owned(), deadline_ms });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Root, for it has to do with what anybody owns, with nothing else: a few capabilities, no network, no other file.
fn body(task: &Task<'_>, image: &str, labels: &Labels) -> ContainerCreateBody {
    let mount = |source: &Path, target: &str, read_only: bool| Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let from = task.from.map(|from| mount(from, FROM, true));
    ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some("0:0".to_owned()),
        entrypoint: Some(task.command[..1].to_vec()),
        cmd: Some(task.command[1..].to_vec()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels::of_helper(labels)),
        healthcheck: Some(HealthConfig { test: Some(words("NONE")), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(words("ALL")),
            cap_add: Some(words(task.capabilities)),
            security_opt: Some(words("no-new-privileges")),
            memory: Some(MEMORY_BYTES),
            pids_limit: Some(16),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some([("max-size", "1m"), ("max-file", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            }),
            mounts: Some(std::iter::once(mount(task.folder, FOLDER, false)).chain(from).collect()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

//! Containers: ensure, start, stop, remove.
//!
//! A container is ours by its labels; its name only makes a conflict recognisable. Ours with the same hash and
//! generation is adopted, ours with another is replaced, anything else of that name is left alone (I3).

use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectNetworkOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use tokio::time::Instant;

use super::DockerBackend;
use super::errors::Cause;
use super::{create, labels, mounts};
use crate::backend::{BackendError, ContainerSpec, Result, keys};

/// Creates before giving up: for a lost reply, and for a name that a half-made container holds for a moment.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);

impl DockerBackend {
    pub(super) async fn container_there(&self, spec: &ContainerSpec<'_>) -> Result<String> {
        let what = format!("create container {}", spec.service.container_name);
        let mounts = mounts::of_container(spec).await?;
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if let Some(id) = self.only_container(spec).await? {
                return Ok(id);
            }
            if attempt > 0 {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            self.volumes_are_ours(spec).await?;
            let body = create::body(spec, self.image_to_use(spec).await?, mounts.clone());
            let options = CreateContainerOptionsBuilder::new().name(&spec.service.container_name).build();
            match self.change(&what, |docker| async move { docker.create_container(Some(options), body).await }).await {
                Ok(made) => return Ok(made.id),
                Err(failure) if failure.cause == Cause::NoSuchImage => return Err(failure.about_image(&spec.service.image)),
                Err(failure) if failure.cause == Cause::NameInUse => {
                    self.clear_name(spec).await?;
                    last = Some(failure);
                }
                // It may be there: the next look decides.
                Err(failure) if failure.is_reply_lost() => last = Some(failure),
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(last.map_or_else(|| BackendError::Busy { what, reason: "it kept being replaced".into() }, BackendError::from))
    }

    /// The container to keep; others of ours in its place are removed.
    async fn only_container(&self, spec: &ContainerSpec<'_>) -> Result<Option<String>> {
        let service = spec.labels.service.as_ref().ok_or_else(|| BackendError::Rejected {
            what: "create container".to_owned(),
            reason: "the labels name no service".to_owned(),
        })?;
        let filter = labels::filter(&spec.labels.installation, Some(&spec.labels.project), &[(keys::SERVICE, service.as_str())]);
        let mut kept = None;
        for found in self.containers_with(&filter).await? {
            let id = found.id.clone().unwrap_or_default();
            if kept.is_none() && self.is_as_wanted(&found, spec).await? {
                kept = Some(id);
            } else {
                self.container_gone(&id).await?;
            }
        }
        Ok(kept)
    }

    async fn is_as_wanted(&self, found: &ContainerSummary, spec: &ContainerSpec<'_>) -> Result<bool> {
        let read = found.labels.as_ref().and_then(labels::read);
        let same = read.is_some_and(|l| l.spec_hash == spec.labels.spec_hash && l.generation == spec.labels.generation);
        let wanted_name = format!("/{}", spec.service.container_name);
        let named = found.names.as_ref().is_some_and(|names| names.contains(&wanted_name));
        let usable = !matches!(found.state, Some(ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::REMOVING));
        Ok(same && named && usable && self.is_on_network(found, spec.network).await?)
    }

    /// A container remembers its network's id: after the network was made anew it cannot start any more.
    async fn is_on_network(&self, found: &ContainerSummary, network: &str) -> Result<bool> {
        let endpoints = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let Some(remembered) =
            endpoints.and_then(|endpoints| endpoints.get(network)?.network_id.clone()).filter(|id| !id.is_empty())
        else {
            return Ok(true);
        };
        match self
            .read("inspect network", |docker| async move { docker.inspect_network(network, None::<InspectNetworkOptions>).await })
            .await
        {
            Ok(now) => Ok(now.id.as_deref() == Some(&remembered)),
            Err(failure) if failure.cause == Cause::NotFound => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The name is in use: ours is removed, a foreign one is told, nobody's is a half-made one that will go.
    async fn clear_name(&self, spec: &ContainerSpec<'_>) -> Result<()> {
        let name = &spec.service.container_name;
        let Some(holder) = self.raw_container(name).await? else { return Ok(()) };
        let found = holder.config.as_ref().and_then(|config| config.labels.as_ref());
        if !labels::is_of(found, &spec.labels) {
            return Err(BackendError::NameTaken { kind: "container", name: name.clone() });
        }
        let in_place = found.and_then(labels::read).is_some_and(|found| found == spec.labels);
        if in_place { Ok(()) } else { self.container_gone(&holder.id.unwrap_or_default()).await }
    }

    /// A volume that is not there would be made up by the engine, without our labels and without its folder.
    async fn volumes_are_ours(&self, spec: &ContainerSpec<'_>) -> Result<()> {
        let used = spec.service.mounts.iter().filter_map(|mount| match &mount.source {
            crate::stack::MountSource::Volume(key) => spec.volumes.get(key),
            crate::stack::MountSource::Folder(_) => None,
        });
        for name in used {
            let found = self.raw_volume(name).await?;
            if !found.is_some_and(|volume| labels::is_of(Some(&volume.labels), &spec.labels)) {
                let reason = "it is not there, or not ours: the volumes come before the containers".to_owned();
                return Err(BackendError::Rejected { what: format!("mount volume {name}"), reason });
            }
        }
        Ok(())
    }

    /// The reference reads better in `docker ps`, but only the digest is what was decided.
    async fn image_to_use(&self, spec: &ContainerSpec<'_>) -> Result<String> {
        let there = self.local_image(&spec.service.image).await?;
        let same = there.as_ref() == Some(&spec.image_digest);
        Ok(if same { spec.service.image.clone() } else { spec.image_digest.clone() })
    }

    pub(super) async fn container_started(&self, id: &str) -> Result<()> {
        let what = format!("start container {id}");
        Ok(self.change(&what, |docker| async move { docker.start_container(id, None::<StartContainerOptions>).await }).await?)
    }

    pub(super) async fn container_stopped(&self, id: &str, grace_s: u32) -> Result<()> {
        let what = format!("stop container {id}");
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(grace_s).unwrap_or(i32::MAX)).build();
        let deadline = Duration::from_secs(u64::from(grace_s)) + self.deadlines.stop_extra;
        match self.call(&what, deadline, |docker| async move { docker.stop_container(id, Some(options)).await }).await {
            Err(failure) if failure.cause != Cause::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// A removal that is on its way already (409) is waited for, up to the deadline.
    pub(super) async fn container_gone(&self, id: &str) -> Result<()> {
        let what = format!("remove container {id}");
        let until = Instant::now() + self.deadlines.removal;
        let mut pause = PAUSE;
        loop {
            let Some(found) = self.raw_container(id).await? else { return Ok(()) };
            if !labels::is_managed(found.config.as_ref().and_then(|config| config.labels.as_ref())) {
                return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
            }
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let failure = match self.change(&what, |docker| async move { docker.remove_container(id, Some(options)).await }).await
            {
                Ok(()) => continue,
                Err(failure) if failure.cause == Cause::NotFound => return Ok(()),
                Err(failure) => failure,
            };
            let passing = matches!(failure.cause, Cause::Removing | Cause::Busy | Cause::TimedOut);
            if !passing || Instant::now() + pause > until {
                return Err(failure.into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

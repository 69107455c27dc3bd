//! Containers: ensure, start, stop, remove.
//!
//! A container is ours by its labels; its name only makes a conflict recognisable. Ours with the same hash
//! is adopted, ours with another is replaced, what Compose made from our file gives way, anything else of that name is
//! left alone (I3).

use std::collections::{BTreeMap, HashMap};
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
use crate::domain::{ProjectRef, ServiceName};

/// Creates before giving up: for a lost reply, and for a name that a half-made container holds for a moment.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);
/// Docker's own time to stop, for a container that was made without one.
const COMPOSED_GRACE_S: u32 = 10;

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
        let same = read.is_some_and(|labels| labels.spec_hash == spec.labels.spec_hash);
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

    /// The name is in use: ours is removed, and so is one that Compose made from our file, which is drift (decision 16); a
    /// foreign one is told, nobody's is a half-made one that will go.
    async fn clear_name(&self, spec: &ContainerSpec<'_>) -> Result<()> {
        let name = &spec.service.container_name;
        let Some(holder) = self.raw_container(name).await? else { return Ok(()) };
        let found = holder.config.as_ref().and_then(|config| config.labels.as_ref());
        let service = spec.labels.service.as_ref().map(ServiceName::as_str);
        if labels::is_composed(found, &spec.service.labels, &spec.labels.project) && labels::composed_service(found) == service {
            return self.composed_gone(&holder.id.unwrap_or_default(), &spec.labels.project, &spec.service.labels).await;
        }
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
        match self.change(&what, |docker| async move { docker.start_container(id, None::<StartContainerOptions>).await }).await {
            Err(failure) if failure.cause == Cause::TaskLeft => {
                self.left_behind_ended(id).await?;
                Err(failure.into())
            }
            started => Ok(started?),
        }
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

    /// Removes a container that Compose made for this project. It may be in the midst of its work, so it gets the time to
    /// stop that it was made with.
    pub(super) async fn composed_gone(&self, id: &str, project: &ProjectRef, rendered: &BTreeMap<String, String>) -> Result<()> {
        let Some(found) = self.raw_container(id).await? else { return Ok(()) };
        let grace_s = found.config.and_then(|config| config.stop_timeout).and_then(|seconds| u32::try_from(seconds).ok());
        tracing::info!(project.id = %project, name = found.name, "a container that Compose made in the project's folder goes");
        self.container_stopped(id, grace_s.unwrap_or(COMPOSED_GRACE_S)).await?;
        self.gone(id, |found| labels::is_composed(found, rendered, project)).await
    }

    /// Removes what Compose made for the project of something of ours that is to go and is still in use. Returns whether
    /// there was anything.
    pub(super) async fn composed_users_gone(&self, ours: &HashMap<String, String>) -> Result<bool> {
        let Some(project) = ours.get(keys::PROJECT).and_then(|project| ProjectRef::parse(project).ok()) else { return Ok(false) };
        let rendered = BTreeMap::from([(keys::PROJECT.to_owned(), project.to_string())]);
        let mut any = false;
        for found in self.containers_with(&labels::composed_filter(&project)).await? {
            if labels::is_composed(found.labels.as_ref(), &rendered, &project) {
                self.composed_gone(&found.id.unwrap_or_default(), &project, &rendered).await?;
                any = true;
            }
        }
        Ok(any)
    }

    pub(super) async fn container_gone(&self, id: &str) -> Result<()> {
        self.gone(id, labels::is_managed).await
    }

    /// A removal that is on its way already (409) is waited for, up to the deadline.
    async fn gone(&self, id: &str, may: impl Fn(Option<&HashMap<String, String>>) -> bool) -> Result<()> {
        let what = format!("remove container {id}");
        let until = Instant::now() + self.deadlines.removal;
        let mut pause = PAUSE;
        loop {
            let Some(found) = self.raw_container(id).await? else { return Ok(()) };
            if !may(found.config.as_ref().and_then(|config| config.labels.as_ref())) {
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

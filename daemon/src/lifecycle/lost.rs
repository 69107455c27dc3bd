//! Projects that the store has lost: it was put back from an older copy, or made anew, and engine and folder still have
//! what it does not know. Nobody removes them (decision 1). A person looks, and then either has one adopted, from what its
//! folder tells ([`descriptor`]), or purged, which writes it down as being deleted and lets a delete do the rest.

mod descriptor;

use std::collections::BTreeMap;

use self::descriptor::Descriptor;
use super::planner::Whose;
use super::steps::render::{self, ENV_FILE};
use super::steps::stage::PREVIOUS;
use super::{Lifecycle, LifecycleError, create, reaper};
use crate::backend::{ContainerState, Observed, ObservedContainer};
use crate::domain::{
    OperationId, OperationKind, PluginChoices, Project, ProjectName, ProjectRef, ProjectStatus, Secret, ServiceName, Shape,
    TemplateSet,
};
use crate::secrets::ProjectSecrets;
use crate::store::{Adoption, Clash, NewOperation, StoreError};

pub(super) use descriptor::{Kept, keep};

/// What refuses a ref that is not lost.
const KNOWN: &str = "the store knows it: it is not lost, so delete it like any other project";

/// What is left of a project that the store does not know.
#[derive(Debug, Clone)]
pub struct LostProject {
    /// Its ref, from labels or from its folder's name.
    pub id: ProjectRef,
    /// Its name, if its folder tells it.
    pub name: Option<String>,
    /// Slug of its organisation, if its folder tells it.
    pub organization_id: Option<String>,
    /// Its containers.
    pub containers: Vec<LostContainer>,
    /// Its networks: name and subnet.
    pub networks: Vec<(String, Option<String>)>,
    /// The names of its volumes.
    pub volumes: Vec<String>,
    /// Whether its folder is there.
    pub folder: bool,
    /// What keeps it from being adopted; empty when nothing does.
    pub obstacles: Vec<String>,
}

/// A container of a lost project.
#[derive(Debug, Clone)]
pub struct LostContainer {
    /// The service, `None` for a helper.
    pub service: Option<ServiceName>,
    /// Its name.
    pub name: String,
    /// `running`, `restarting`, `created`, `exited`, or the engine's own word.
    pub state: String,
}

impl Lifecycle {
    /// Every lost project, by ref. The engine is listed first and the store asked afterwards, so that a create that is
    /// just beginning is not taken for one.
    ///
    /// # Errors
    /// The engine's or the store's.
    pub async fn lost_projects(&self) -> Result<Vec<LostProject>, LifecycleError> {
        let parts = &self.parts;
        let mut found = reaper::by_project(&parts.backend.list(&parts.installation).await?);
        for project in reaper::folders(parts) {
            found.entry(project).or_default();
        }
        let mut lost = Vec::new();
        for (id, observed) in found {
            if parts.store.project(&id).await?.is_none() {
                lost.push(self.looked_at(&id, &observed).await?);
            }
        }
        Ok(lost)
    }

    /// What is left of this one; `None` when the store knows it, or nothing is left.
    ///
    /// # Errors
    /// The engine's or the store's.
    pub async fn lost_project(&self, id: &ProjectRef) -> Result<Option<LostProject>, LifecycleError> {
        let observed = self.left_of(id).await?;
        let nothing = observed.is_empty() && !self.parts.project_folder(id).is_dir();
        if nothing || self.parts.store.project(id).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(self.looked_at(id, &observed).await?))
    }

    /// Makes a lost project known again, with the ports, keys and images that it has. It counts as active when anything of
    /// it runs, else as paused; what is missing then is put right like anything that happened behind our back.
    ///
    /// # Errors
    /// [`LifecycleError::NotAdoptable`] with everything that is in the way, [`LifecycleError::State`] when the store knows
    /// it. Nothing has changed then.
    pub async fn adopt(&self, id: &ProjectRef, by: &str) -> Result<Project, LifecycleError> {
        self.engine_is_there().await?;
        let parts = &self.parts;
        if let Some(known) = parts.store.project(id).await? {
            return Err(known_already(&known));
        }
        let observed = self.left_of(id).await?;
        let adoption = self.adoption(id, &observed, by).await?.map_err(LifecycleError::NotAdoptable)?;
        let project = &adoption.project;
        match parts.store.adopt(&adoption, parts.clock.now()).await {
            Err(StoreError::Clash(Clash::Port | Clash::Subnet)) => {
                return Err(LifecycleError::NotAdoptable(self.held_by_others(project).await?));
            }
            stored => self.unless_known(id, stored).await?,
        }
        tracing::info!(project.id = %id, status = project.status.as_str(), "adopted a lost project");
        parts.announcer.wake(id);
        parts.wake.notify_one();
        Ok(adoption.project)
    }

    /// Writes a lost project down as being deleted; an operation removes what is left of it.
    ///
    /// # Errors
    /// [`LifecycleError::State`] when the store knows it, [`LifecycleError::NotOurs`] when its folder is another
    /// installation's. Nothing has changed then.
    pub async fn purge(&self, lost: &LostProject, organization_id: &str, by: &str) -> Result<OperationId, LifecycleError> {
        self.engine_is_there().await?;
        let parts = &self.parts;
        if let Some(other) = Descriptor::stranger(parts, &lost.id) {
            return Err(LifecycleError::NotOurs(other));
        }
        let told = Descriptor::read(parts, &lost.id).ok();
        let (regions, _) = parts.store.places().await?;
        let known_region = |told: &Descriptor| regions.contains(&told.region).then(|| told.region.clone());
        let region = told.as_ref().and_then(known_region).or_else(|| regions.first().cloned()).unwrap_or_default();
        let (now, generation) = (parts.clock.now(), self.generation(&self.left_of(&lost.id).await?));
        // Its own set tells in which order to stop and how to empty its folder; another one does for the folder.
        let usual = Shape {
            template_set: parts.config.template_set.clone(),
            image_set: parts.config.image_set.clone(),
            without: Vec::new(),
            plugins: PluginChoices::default(),
        };
        let own = told.as_ref().map(|told| told.shape.clone());
        let shape = own.filter(|shape| self.obstacle_of_shape(shape).is_none()).unwrap_or(usual);
        let project = Project {
            id: lost.id.clone(),
            name: lost.name.clone().unwrap_or_else(|| lost.id.to_string()),
            organization_id: organization_id.to_owned(),
            region,
            status: ProjectStatus::Deleting,
            generation,
            template_set: shape.template_set,
            image_set: shape.image_set,
            without: shape.without,
            plugins: shape.plugins,
            subnet: String::new(),
            ports: Vec::new(),
            resources: Default::default(),
            last_error: None,
            stack_operation: None,
            created_at: told.as_ref().map_or(now, |told| told.created_at),
            updated_at: now,
            number: 0,
            activated_at: None,
            deleted_at: None,
        };
        let operation = self.operation(create::new_operation_id()?, &project, OperationKind::Delete, by);
        let stored = parts.store.accept_purge(&project, &operation, now).await;
        self.unless_known(&lost.id, stored).await?;
        tracing::info!(project.id = %lost.id, op.id = %operation.id, "purging a lost project");
        parts.announcer.status(&lost.id, ProjectStatus::Deleting, "").await;
        self.begin(operation.id.clone(), lost.id.clone());
        Ok(operation.id)
    }

    async fn left_of(&self, id: &ProjectRef) -> Result<Observed, LifecycleError> {
        Ok(self.parts.backend.list_project(&self.parts.installation, id).await?)
    }

    async fn looked_at(&self, id: &ProjectRef, observed: &Observed) -> Result<LostProject, LifecycleError> {
        let told = Descriptor::read(&self.parts, id).ok();
        let containers = observed.containers.iter().map(|container| LostContainer {
            service: container.labels.as_ref().and_then(|labels| labels.service.clone()),
            name: container.name.clone(),
            state: word(&container.state).to_owned(),
        });
        Ok(LostProject {
            id: id.clone(),
            containers: containers.collect(),
            networks: observed.networks.iter().map(|network| (network.name.clone(), network.subnet.clone())).collect(),
            volumes: observed.volumes.iter().map(|volume| volume.name.clone()).collect(),
            folder: self.parts.project_folder(id).is_dir(),
            obstacles: self.adoption(id, observed, "").await?.err().unwrap_or_default(),
            organization_id: told.as_ref().map(|told| told.organization_id.clone()),
            name: told.map(|told| told.name),
        })
    }

    /// What would be written down, or everything that is in the way. Reads, and changes nothing.
    async fn adoption(
        &self,
        id: &ProjectRef,
        observed: &Observed,
        by: &str,
    ) -> Result<Result<Adoption, Vec<String>>, LifecycleError> {
        let parts = &self.parts;
        let told = match Descriptor::read(parts, id) {
            Ok(told) => told,
            Err(reason) => return Ok(Err(vec![reason])),
        };
        let mut obstacles = Vec::new();
        let (regions, organizations) = parts.store.places().await?;
        if !regions.contains(&told.region) {
            obstacles.push(format!("its region `{}` is none of {}: add it to `regions`", told.region, regions.join(", ")));
        }
        if !organizations.contains(&told.organization_id) {
            obstacles.push(format!("its organisation `{}` is not known here", told.organization_id));
        }
        if ProjectName::parse(&told.name).is_err() {
            obstacles.push(format!("{} holds no usable name", descriptor::FILE));
        }
        if parts.project_folder(id).join(PREVIOUS).exists() {
            obstacles.push(format!(
                "an update was under way when it was lost, so its files may be of two stacks: put those of {PREVIOUS} back in \
                 their place and remove that folder"
            ));
        }
        let project = self.project_of(&told, observed);
        obstacles.extend(self.held_by_others(&project).await?);
        if let Some(obstacle) = self.obstacle_of_shape(&told.shape) {
            obstacles.push(obstacle);
            return Ok(Err(obstacles));
        }
        let set = self.set_of(&project)?;
        let secrets = match self.secrets_of(&told, &set.spec) {
            Ok(secrets) => secrets,
            Err(reasons) => {
                obstacles.extend(reasons);
                return Ok(Err(obstacles));
            }
        };
        let mut sealed = Vec::new();
        for (name, value) in secrets.iter() {
            sealed.push((name.to_owned(), parts.key.seal(id, name, value)?));
        }
        // The rendered stack must be what the rest says: the same ports, addresses and images, and nothing beyond.
        let context = self.context(project.clone(), Whose::Present, secrets)?;
        if let Err(error) = render::read_pinned(&context, told.pins()) {
            obstacles.push(error.failure.message);
        }
        if !obstacles.is_empty() {
            return Ok(Err(obstacles));
        }
        let event = serde_json::json!({"status": project.status, "reason": "adopted"}).to_string();
        let operation = self.operation(told.stack_operation.clone(), &project, OperationKind::Create, by);
        let key_id = parts.key.id().to_owned();
        Ok(Ok(Adoption { project, secrets: sealed, key_id, operation, images: told.pins(), event }))
    }

    fn project_of(&self, told: &Descriptor, observed: &Observed) -> Project {
        let runs = |container: &ObservedContainer| match &container.state {
            ContainerState::Running | ContainerState::Restarting => true,
            ContainerState::Other(word) => word == "paused",
            ContainerState::Created | ContainerState::Exited { .. } => false,
        };
        let running = observed.containers.iter().any(runs);
        Project {
            id: told.project.clone(),
            name: told.name.clone(),
            organization_id: told.organization_id.clone(),
            region: told.region.clone(),
            // Healthy is what the probes say, and they have said nothing yet.
            status: if running { ProjectStatus::ActiveUnhealthy } else { ProjectStatus::Paused },
            generation: told.generation.max(self.generation(observed)),
            template_set: told.shape.template_set.clone(),
            image_set: told.shape.image_set.clone(),
            without: told.shape.without.clone(),
            plugins: told.shape.plugins.clone(),
            subnet: told.subnet.clone(),
            ports: told.ports.clone().into_iter().collect(),
            resources: told.resources(),
            last_error: None,
            stack_operation: Some(told.stack_operation.clone()),
            created_at: told.created_at,
            updated_at: self.parts.clock.now(),
            number: 0,
            activated_at: Some(told.activated_at.unwrap_or(told.created_at)),
            deleted_at: None,
        }
    }

    /// The highest that any object was made for.
    fn generation(&self, observed: &Observed) -> i64 {
        let containers = observed.containers.iter().map(|container| &container.labels);
        let networks = observed.networks.iter().map(|network| &network.labels);
        let volumes = observed.volumes.iter().map(|volume| &volume.labels);
        let labels = containers.chain(networks).chain(volumes).flatten();
        labels.map(|labels| labels.generation).max().unwrap_or(1)
    }

    fn obstacle_of_shape(&self, shape: &Shape) -> Option<String> {
        let templates = &self.parts.templates;
        if let Err(error) = templates.of_shape(shape) {
            return Some(format!("its template set cannot be used: {error}"));
        }
        let known = templates.images(&shape.image_set).err()?;
        Some(format!("there is no image set `{}`: use one of {}", shape.image_set, known.join(", ")))
    }

    /// Every value that the set wants: the sealed ones of the descriptor, and those of `.env` where the key has changed.
    fn secrets_of(&self, told: &Descriptor, set: &TemplateSet) -> Result<ProjectSecrets, Vec<String>> {
        let (key, id) = (&self.parts.key, &told.project);
        let opened = told
            .secrets
            .iter()
            .filter_map(|(name, sealed)| Some((name.clone(), key.open(id, name, &sealed.key_id, &sealed.bytes()?).ok()?)));
        let mut values: BTreeMap<String, Secret<String>> = opened.collect();
        let (mut missing, mut reasons) = (Vec::new(), Vec::new());
        let env = std::fs::read_to_string(self.parts.project_folder(id).join(ENV_FILE)).unwrap_or_default();
        let env: BTreeMap<&str, &str> = env.lines().filter_map(|line| line.split_once('=')).collect();
        for name in set.secrets.iter().map(|spec| &spec.name) {
            match (values.get(name), env.get(name.as_str())) {
                (Some(value), Some(other)) if value.expose() != other => {
                    reasons.push(format!("{name} in {ENV_FILE} is not the value the project was made with: put it back"));
                }
                (Some(_), _) => {}
                (None, Some(value)) => {
                    values.insert(name.clone(), Secret::new((*value).to_owned()));
                }
                (None, None) => missing.push(name.as_str()),
            }
        }
        if !missing.is_empty() {
            let under = told.secrets.iter().filter(|(name, _)| missing.contains(&name.as_str()));
            let under: std::collections::BTreeSet<&str> = under.map(|(_, sealed)| sealed.key_id.as_str()).collect();
            let under = under.into_iter().collect::<Vec<_>>().join(", ");
            let key = key.id();
            let way_out = if under.is_empty() || under == key {
                "its folder was damaged".to_owned()
            } else {
                format!("they are sealed under key {under}, and this daemon has key {key}: give it the key it had then")
            };
            reasons.push(format!("no value for {} can be read: {way_out}", missing.join(", ")));
        }
        if reasons.is_empty() { Ok(ProjectSecrets::from_values(values)) } else { Err(reasons) }
    }

    async fn held_by_others(&self, project: &Project) -> Result<Vec<String>, LifecycleError> {
        let ports: Vec<u16> = project.ports.iter().map(|(_, port)| *port).collect();
        let holders = self.parts.store.holders(&project.region, &ports, &project.subnet).await?;
        let said = holders.into_iter().map(|holder| {
            format!(
                "{} belongs to project {} ({}) now: delete that one, or purge this one",
                holder.what, holder.project, holder.name
            )
        });
        Ok(said.collect())
    }

    async fn unless_known(&self, id: &ProjectRef, stored: Result<(), StoreError>) -> Result<(), LifecycleError> {
        match stored {
            Err(StoreError::Clash(Clash::ProjectId)) => {
                let known = self.parts.store.project(id).await?;
                Err(known.map_or_else(|| StoreError::Clash(Clash::ProjectId).into(), |known| known_already(&known)))
            }
            stored => Ok(stored?),
        }
    }

    fn operation(&self, id: OperationId, project: &Project, kind: OperationKind, by: &str) -> NewOperation {
        NewOperation {
            id,
            project: project.id.clone(),
            kind,
            generation: project.generation,
            services: Vec::new(),
            update: None,
            requested_by: by.to_owned(),
            plugins: self.parts.plugins.pins(&project.plugins),
            deadline_at: self.parts.deadline(kind),
        }
    }
}

fn known_already(known: &Project) -> LifecycleError {
    LifecycleError::State { status: known.status.as_str(), way_out: KNOWN }
}

fn word(state: &ContainerState) -> &str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Restarting => "restarting",
        ContainerState::Exited { .. } => "exited",
        ContainerState::Other(word) => word,
    }
}

//! Changing what a stack is made from: another name, template set or image set, services on or off. First a plan, which
//! reads and renders and changes nothing; then an operation that does what the plan with this hash says, or is refused
//! because the world has moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::planner::Whose;
use super::steps::render::Rendered;
use super::steps::{StepContext, images, render};
use super::{Lifecycle, LifecycleError, admission, asking, create};
use crate::disk::{Room, room_for_copy};
use crate::domain::{
    Operation, OperationId, OperationKind, OperationState, PluginChoices, Project, ProjectName, ProjectStatus, Resources,
    ServiceName, Shape, TemplateSet, Update,
};
use crate::ports;
use crate::secrets::{ProjectSecrets, complete};
use crate::stack::diff::{Change, Side, diff};
use crate::store::{Additions, Clash, NewOperation, StoreError};

/// What a caller wants changed; what is left out stays.
#[derive(Default)]
pub struct UpdateRequest {
    /// Another name.
    pub name: Option<ProjectName>,
    /// Another template set.
    pub template_set: Option<String>,
    /// Another image set.
    pub image_set: Option<String>,
    /// Services of the template set, on or off.
    pub services: BTreeMap<String, bool>,
    /// What is chosen of the plugins.
    pub plugins: PluginChoices,
    /// What it may use.
    pub resources: Option<Resources>,
}

/// What an update would do.
pub struct UpdatePlan {
    /// Stands for everything below and for what it was made from: the same hash means the same update.
    pub hash: String,
    /// Containers that are made, made anew or removed.
    pub changes: Vec<Change>,
    /// Fields that are only written down, and limits, which change while everything runs.
    pub stored: Vec<&'static str>,
    /// What the copy of the data takes, when there has to be one.
    pub snapshot: Option<Room>,
    /// Names of ports and secrets that the project gets.
    pub added: Vec<String>,
    shape: Shape,
    update: Option<Update>,
    adds: Additions,
    resources: Option<Resources>,
}

impl Lifecycle {
    /// What an update would do. Reads the engine, renders in memory, changes nothing.
    ///
    /// # Errors
    /// [`LifecycleError`]: what the update itself would be refused for.
    pub async fn plan_update(&self, project: &Project, request: &UpdateRequest) -> Result<UpdatePlan, LifecycleError> {
        let request = &asking::update(&self.parts, project, request).await?;
        let shape = self.wanted_shape(project, request)?;
        let renamed = request.name.as_ref().filter(|name| name.as_str() != project.name).map(|name| name.as_str().to_owned());
        let adds = Additions { name: renamed, ..Additions::default() };
        let mut stored: Vec<&'static str> = adds.name.iter().map(|_| "name").collect();
        let resources = request.resources.filter(|wanted| *wanted != project.resources);
        if let Some(wanted) = &resources {
            admission::admit(&self.parts, &project.region, Some(&project.id), &project.resources, wanted).await?;
            self.set_of(project)?.spec.split(wanted)?;
            stored.push("resources");
        }
        let present = project.shape();
        let mut changed = Vec::new();
        changed.extend((shape.template_set != present.template_set).then_some("template_set"));
        changed.extend((shape.image_set != present.image_set).then_some("image_set"));
        changed.extend((shape.without != present.without).then_some("services"));
        changed.extend((shape.plugins != present.plugins).then_some("plugins"));
        if changed.is_empty() || project.status == ProjectStatus::Failed {
            stored.extend(changed);
            let hash = self.hash(project, &shape, &adds, &[format!("{resources:?}")]);
            let (changes, added) = (Vec::new(), Vec::new());
            return Ok(UpdatePlan { hash, changes, stored, snapshot: None, added, shape, update: None, adds, resources });
        }
        if !OperationKind::Update.allowed_from().contains(&project.status) {
            let (status, way_out) = (project.status.as_str(), OperationKind::Update.way_out());
            return Err(LifecycleError::State { status, way_out });
        }
        self.same_major(&present, &shape)?;
        let mut plan = self.compare(project, shape, adds, resources).await?;
        plan.stored.splice(0..0, stored);
        if plan.changes.is_empty() {
            plan.stored.extend(changed);
        }
        Ok(plan)
    }

    /// Carries out the plan that has this hash. `None` when there is nothing to do but to write it down, which is done.
    ///
    /// # Errors
    /// [`LifecycleError::PlanOutdated`] when the plan of now is another one, [`LifecycleError::PlanMissing`] when
    /// containers change and no hash is given, and what the plan is refused for.
    pub async fn update(
        &self,
        project: &Project,
        request: &UpdateRequest,
        hash: Option<&str>,
        by: &str,
    ) -> Result<Option<OperationId>, LifecycleError> {
        let plan = self.plan_update(project, request).await?;
        match hash {
            Some(hash) if hash != plan.hash => return Err(LifecycleError::PlanOutdated),
            None if !plan.changes.is_empty() => return Err(LifecycleError::PlanMissing),
            _ => {}
        }
        let parts = &self.parts;
        if let Some(resources) = &plan.resources {
            self.resize(project, resources).await?;
        }
        let Some(update) = plan.update.filter(|_| !plan.changes.is_empty()) else {
            let shape = (plan.shape != project.shape()).then_some(&plan.shape);
            parts.store.describe(project, plan.adds.name.as_deref(), shape, parts.clock.now()).await.map_err(
                |error| match error {
                    StoreError::Transition(_) => LifecycleError::PlanOutdated,
                    other => LifecycleError::Store(other),
                },
            )?;
            return Ok(None);
        };
        self.engine_is_there().await?;
        // A copy needs everything to stand still; without one only what is replaced stops.
        let services = if update.snapshot { Vec::new() } else { update.replaced.iter().map(ToString::to_string).collect() };
        let operation = NewOperation {
            id: create::new_operation_id()?,
            project: project.id.clone(),
            kind: OperationKind::Update,
            generation: project.generation + 1,
            services,
            update: Some(update),
            requested_by: by.to_owned(),
            plugins: parts.plugins.pins(&plan.shape.plugins),
            deadline_at: parts.deadline(OperationKind::Update),
        };
        let accept =
            || parts.store.accept_update(&operation, &plan.adds, OperationKind::Update.allowed_from(), parts.clock.now());
        let mut accepted = accept().await;
        let in_the_way = matches!(accepted, Err(StoreError::Clash(Clash::UnfinishedOperation)));
        if in_the_way && self.repair_gives_way(project, OperationKind::Update).await? {
            accepted = accept().await;
        }
        accepted.map_err(|error| match error {
            StoreError::Clash(Clash::UnfinishedOperation) => {
                LifecycleError::State { status: project.status.as_str(), way_out: OperationKind::Update.way_out() }
            }
            // Another generation, another state, or a port that somebody else was faster to take.
            StoreError::Transition(_) | StoreError::Clash(Clash::Port) => LifecycleError::PlanOutdated,
            other => LifecycleError::Store(other),
        })?;
        parts.announcer.status(&project.id, OperationKind::Update.transit(), "").await;
        self.begin(operation.id.clone(), project.id.clone());
        Ok(Some(operation.id))
    }

    /// Stored first: what a kill leaves unchanged, the next look at the limits puts right. What the engine refuses (less
    /// memory than is in use) is taken back.
    async fn resize(&self, project: &Project, resources: &Resources) -> Result<(), LifecycleError> {
        let parts = &self.parts;
        parts.store.set_resources(&project.id, resources, parts.clock.now()).await?;
        if !project.status.is_active() {
            return Ok(());
        }
        let applied = super::resources::apply(parts, project, resources).await;
        if let Err(error) = applied {
            parts.store.set_resources(&project.id, &project.resources, parts.clock.now()).await?;
            super::resources::apply(parts, project, &project.resources).await?;
            return Err(error.into());
        }
        Ok(())
    }

    /// The present shape with what the request names put in.
    fn wanted_shape(&self, project: &Project, request: &UpdateRequest) -> Result<Shape, LifecycleError> {
        let templates = &self.parts.templates;
        let meaning = |field, message| LifecycleError::Meaning { field, code: "unknown_value", message };
        let template_set = request.template_set.clone().unwrap_or_else(|| project.template_set.clone());
        let image_set = request.image_set.clone().unwrap_or_else(|| project.image_set.clone());
        let whole = templates.set(&template_set).map_err(|known| {
            meaning("template_set", format!("`{template_set}` is no template set: use one of {}", known.join(", ")))
        })?;
        templates
            .images(&image_set)
            .map_err(|known| meaning("image_set", format!("`{image_set}` is no image set: use one of {}", known.join(", "))))?;
        let off = without(&whole.spec, &project.without, &request.services).map_err(|message| meaning("services", message))?;
        let plugins = project.plugins.changed_by(&request.plugins);
        create::check_choices(&self.parts, &request.plugins)?;
        let shape = Shape { template_set, image_set, without: off, plugins };
        templates.of_shape(&shape).map_err(|error| meaning("services", error.to_string()))?;
        Ok(shape)
    }

    /// A data folder of one major version cannot be read by another.
    fn same_major(&self, present: &Shape, wanted: &Shape) -> Result<(), LifecycleError> {
        let major = |shape: &Shape| {
            let images = self.parts.templates.images(&shape.image_set).ok().and_then(|set| set.postgres_major);
            images.or_else(|| self.parts.templates.set(&shape.template_set).ok()?.spec.postgres_major)
        };
        match (major(present), major(wanted)) {
            (Some(from), Some(to)) if from != to => Err(LifecycleError::Meaning {
                field: if present.image_set == wanted.image_set { "template_set" } else { "image_set" },
                code: "postgres_major",
                message: format!(
                    "it would go from PostgreSQL {from} to {to}: another major version cannot read the data folder. Create a \
                     project with it and move the data with pg_dump"
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn compare(
        &self,
        project: &Project,
        shape: Shape,
        mut adds: Additions,
        resources: Option<Resources>,
    ) -> Result<UpdatePlan, LifecycleError> {
        let present = self.context(project.clone(), Whose::Present, self.secrets(&project.id).await?)?;
        let mut wanted_project = project.in_shape(&shape);
        let set = self.set_of(&wanted_project)?;
        adds.ports = self.missing_ports(&set.spec, project).await?;
        wanted_project.ports.extend(adds.ports.iter().cloned());
        let (secrets, made) = complete(&set.spec.secrets, self.secrets(&project.id).await?, self.parts.clock.now())?;
        for name in &made {
            if let Some(value) = secrets.get(name) {
                adds.secrets.push((name.clone(), self.parts.key.seal(&project.id, name, value)?));
            }
        }
        adds.key_id = self.parts.key.id().to_owned();
        let wanted = self.context(wanted_project, Whose::Wanted, secrets)?;
        let rendered = render::make(&wanted).await?;
        let (old_stack, old_files) = (present.stack().await?, texts(&present.folder(), &present));
        let pins = present.image_pins().await?;
        let old_digests: BTreeMap<String, String> = pins.into_iter().map(|pin| (pin.reference, pin.digest)).collect();
        let digests = self.digests(&wanted, &rendered).await?;
        let new_files = rendered.files.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        let changes = diff(
            &Side { stack: &old_stack, files: &old_files, digests: &old_digests },
            &Side { stack: &rendered.stack, files: &new_files, digests: &digests },
        );
        let needs_copy = changes.iter().any(|change| change.image);
        let snapshot = if needs_copy { Some(room(&present.folder()).await?) } else { None };
        if let Some(room) = snapshot.filter(|room| !room.is_enough()) {
            return Err(LifecycleError::NoRoom(room));
        }
        let update = Update {
            shape: shape.clone(),
            replaced: changes.iter().map(|change| change.service.clone()).collect(),
            snapshot: needs_copy,
            images: digests,
        };
        let mut facts: Vec<String> = rendered.plain.iter().flat_map(|(path, text)| [path.clone(), text.clone()]).collect();
        facts.extend(changes.iter().map(|change| format!("{change:?}")));
        facts.extend(update.images.iter().map(|(reference, digest)| format!("{reference} {digest}")));
        facts.push(format!("{resources:?}"));
        let hash = self.hash(project, &shape, &adds, &facts);
        let mut added: Vec<String> = adds.ports.iter().map(|(name, port)| format!("port {name} {port}")).collect();
        added.extend(made.iter().map(|name| format!("secret {name}")));
        Ok(UpdatePlan { hash, changes, stored: Vec::new(), snapshot, added, shape, update: Some(update), adds, resources })
    }

    /// What a step of such an operation would work with.
    pub(super) fn context(&self, project: Project, whose: Whose, secrets: ProjectSecrets) -> Result<StepContext, LifecycleError> {
        let now = self.parts.clock.now();
        let operation = Operation {
            id: create::new_operation_id()?,
            project: project.id.clone(),
            kind: OperationKind::Update,
            state: OperationState::Accepted,
            generation: project.generation,
            services: Vec::new(),
            update: None,
            requested_by: String::new(),
            cancelled: None,
            plugins: self.parts.plugins.pins(&project.plugins),
            created_at: now,
            deadline_at: now,
            ended_at: None,
            error: None,
            steps: Vec::new(),
        };
        Ok(StepContext {
            set: self.set_of(&project)?,
            parts: self.parts.clone(),
            project,
            whose,
            operation,
            secrets: Arc::new(secrets),
            step: "plan".to_owned(),
            deadline: Instant::now() + std::time::Duration::from_secs(self.parts.config.deadlines.step_s),
            cancelled: CancellationToken::new(),
            forced: CancellationToken::new(),
        })
    }

    async fn missing_ports(&self, set: &TemplateSet, project: &Project) -> Result<Vec<(String, u16)>, LifecycleError> {
        let config = &self.parts.config;
        let mut taken = self.parts.taken(&project.region).await?.ports;
        let mut chosen = Vec::new();
        for spec in set.ports.iter().filter(|spec| project.port(&spec.name).is_none()) {
            let range = config.port_range(&spec.range).map_err(|message| LifecycleError::Meaning {
                field: "template_set",
                code: "unknown_port_range",
                message,
            })?;
            let avoid = config.avoided_ports();
            let port = ports::choose(&spec.range, range, avoid.as_ref(), &taken, config.publish_address).await?;
            taken.push(port);
            chosen.push((spec.name.clone(), port));
        }
        Ok(chosen)
    }

    /// What each image of the new stack is now, as far as the engine has it; the rest is pulled by the operation.
    async fn digests(&self, wanted: &StepContext, rendered: &Rendered) -> Result<BTreeMap<String, String>, LifecycleError> {
        let kept = images::kept(wanted).await?;
        let mut digests = BTreeMap::new();
        let references: BTreeSet<&String> = rendered.stack.services.values().map(|service| &service.image).collect();
        for reference in references {
            let there = images::on_engine(&self.parts, &kept, reference).await?;
            digests.extend(there.map(|digest| (reference.clone(), digest)));
        }
        Ok(digests)
    }

    fn hash(&self, project: &Project, shape: &Shape, adds: &Additions, facts: &[String]) -> String {
        let stack = project.stack_operation.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
        let name = adds.name.clone().unwrap_or_default();
        let fixed = [project.id.to_string(), project.generation.to_string(), stack, name, format!("{shape:?}")];
        let plugins = self.parts.plugins.pins(&shape.plugins).into_iter().map(|(name, digest)| format!("{name} {digest}"));
        let ports = adds.ports.iter().map(|(name, port)| format!("{name} {port}"));
        let all: Vec<String> = fixed.into_iter().chain(plugins).chain(ports).chain(facts.iter().cloned()).collect();
        let all: Vec<&str> = std::iter::once("update").chain(all.iter().map(String::as_str)).collect();
        self.parts.key.hash(&all)[..32].to_owned()
    }
}

/// The services that are off once `switches` are put in, in the set's order.
pub(super) fn without(
    set: &TemplateSet,
    off: &[ServiceName],
    switches: &BTreeMap<String, bool>,
) -> Result<Vec<ServiceName>, String> {
    let known = || set.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = switches.keys().find(|name| !set.services.iter().any(|service| service.name.as_str() == *name)) {
        return Err(format!("`{unknown}` is no service of the template set `{}`: use {}", set.name, known()));
    }
    let is_off = |name: &ServiceName| switches.get(name.as_str()).map_or_else(|| off.contains(name), |on| !on);
    Ok(set.services.iter().map(|service| service.name.clone()).filter(is_off).collect())
}

/// The rendered files in use; one that cannot be read differs from whatever comes.
fn texts(folder: &Path, context: &StepContext) -> BTreeMap<String, String> {
    let read = |path: &String| Some((path.clone(), std::fs::read_to_string(folder.join(path)).ok()?));
    context.set.spec.files.iter().filter_map(|file| read(&file.path)).collect()
}

async fn room(folder: &Path) -> Result<Room, LifecycleError> {
    let folder = folder.to_owned();
    let looked = tokio::task::spawn_blocking(move || room_for_copy(&folder, &folder.join("volumes"))).await;
    let room = looked.map_err(|panic| StoreError::Database(panic.to_string()))?;
    room.map_err(|error| StoreError::Database(format!("the disk cannot be looked at: {error}")).into())
}

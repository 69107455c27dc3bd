//! Contract 0.1: its types to the host's, and back.

use async_trait::async_trait;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::imports_v0_1::bindings::supamanager::plugin::types;
use super::{Answer, Contract, Decision, Description, GuestError, Outcome, Verdict, Wanted};
use crate::domain::ServiceState;
use crate::plugin_host::hooks::RenderedFile;
use crate::plugin_host::limits::Hook;
use crate::plugin_host::state::CallState;

macro_rules! world {
    ($module:ident, $world:literal) => {
        #[allow(missing_docs)]
        mod $module {
            wasmtime::component::bindgen!({
                path: "../plugin-sdk/wit/v0.1",
                world: $world,
                imports: { default: async | trappable },
                exports: { default: async },
                with: { "supamanager:plugin": crate::plugin_host::adapt::imports_v0_1::bindings::supamanager::plugin },
            });
        }
    };
}

world!(render, "supamanager:plugin/render");
world!(probe, "supamanager:plugin/probe");
world!(post_create, "supamanager:plugin/post-create");
world!(admit, "supamanager:plugin/admit");
world!(before_delete, "supamanager:plugin/before-delete");
world!(after_resume, "supamanager:plugin/after-resume");
world!(notify, "supamanager:plugin/notify");

/// A component with the exports of the hooks it is bound to.
pub struct Plugin {
    render: Option<render::RenderPre<CallState>>,
    probe: Option<probe::ProbePre<CallState>>,
    post_create: Option<post_create::PostCreatePre<CallState>>,
    admit: Option<admit::AdmitPre<CallState>>,
    before_delete: Option<before_delete::BeforeDeletePre<CallState>>,
    after_resume: Option<after_resume::AfterResumePre<CallState>>,
    notify: Option<notify::NotifyPre<CallState>>,
}

impl Plugin {
    pub fn new(linked: InstancePre<CallState>, hooks: &[Hook]) -> wasmtime::Result<Self> {
        let bound = |hook| hooks.contains(&hook).then(|| linked.clone());
        Ok(Self {
            render: bound(Hook::Render).map(render::RenderPre::new).transpose()?,
            probe: bound(Hook::Probe).map(probe::ProbePre::new).transpose()?,
            post_create: bound(Hook::PostCreate).map(post_create::PostCreatePre::new).transpose()?,
            admit: bound(Hook::Admit).map(admit::AdmitPre::new).transpose()?,
            before_delete: bound(Hook::BeforeDelete).map(before_delete::BeforeDeletePre::new).transpose()?,
            after_resume: bound(Hook::AfterResume).map(after_resume::AfterResumePre::new).transpose()?,
            notify: bound(Hook::Notify).map(notify::NotifyPre::new).transpose()?,
        })
    }
}

/// Which hook is called is decided by the bindings a plugin was loaded with.
fn bound<T>(hook: Option<&T>) -> wasmtime::Result<&T> {
    hook.ok_or_else(|| wasmtime::Error::msg("the plugin is not bound to this hook"))
}

#[async_trait]
impl Contract for Plugin {
    async fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<Description> {
        macro_rules! ask_the_first {
            ($($world:ident)*) => {{
                $(if let Some(pre) = &self.$world {
                    let instance = pre.instantiate_async(&mut *store).await?;
                    let types::Description { name, version, summary } = instance.call_describe(store).await?;
                    return Ok(Description { name, version, summary });
                })*
                Err(wasmtime::Error::msg("the plugin is bound to no hook"))
            }};
        }
        ask_the_first!(render probe post_create admit before_delete after_resume notify)
    }

    async fn render(
        &self,
        store: &mut Store<CallState>,
        context: String,
        wanted: Vec<Wanted>,
        so_far: Vec<RenderedFile>,
    ) -> Answer<Vec<RenderedFile>> {
        let instance = bound(self.render.as_ref())?.instantiate_async(&mut *store).await?;
        let wanted: Vec<_> = wanted.into_iter().map(|(template, path, mode)| render::Wanted { template, path, mode }).collect();
        let so_far: Vec<_> = so_far.into_iter().map(render::File::from).collect();
        let answer = instance.call_render(store, &context, &wanted, &so_far).await?;
        Ok(answer.map(|files| files.into_iter().map(RenderedFile::from).collect()).map_err(GuestError::from))
    }

    async fn check(
        &self,
        store: &mut Store<CallState>,
        project: String,
        service: String,
        spec: String,
    ) -> Answer<Option<Verdict>> {
        let instance = bound(self.probe.as_ref())?.instantiate_async(&mut *store).await?;
        let answer = instance.call_check(store, &project, &service, &spec).await?;
        Ok(answer.map(|report| report.map(Verdict::from)).map_err(GuestError::from))
    }

    async fn run(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome> {
        let instance = bound(self.post_create.as_ref())?.instantiate_async(&mut *store).await?;
        let answer = instance.call_run(store, &context).await?;
        Ok(answer.map(|post_create::Outcome { changed, summary }| Outcome { changed, summary }).map_err(GuestError::from))
    }

    async fn before_delete(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome> {
        let instance = bound(self.before_delete.as_ref())?.instantiate_async(&mut *store).await?;
        let answer = instance.call_before_delete(store, &context).await?;
        Ok(answer.map(|summary| Outcome { changed: true, summary }).map_err(GuestError::from))
    }

    async fn after_resume(&self, store: &mut Store<CallState>, context: String) -> Answer<Outcome> {
        let instance = bound(self.after_resume.as_ref())?.instantiate_async(&mut *store).await?;
        let answer = instance.call_after_resume(store, &context).await?;
        Ok(answer.map(|summary| Outcome { changed: true, summary }).map_err(GuestError::from))
    }

    async fn admit(&self, store: &mut Store<CallState>, request: String) -> Answer<Decision> {
        let instance = bound(self.admit.as_ref())?.instantiate_async(&mut *store).await?;
        let answer = instance.call_admit(store, &request).await?;
        let decision = |decision| match decision {
            admit::Decision::Admit => Decision::Admit,
            admit::Decision::Amend(fields) => Decision::Amend(fields),
            admit::Decision::Refuse(words) => Decision::Refuse(words),
        };
        Ok(answer.map(decision).map_err(GuestError::from))
    }

    async fn notify(&self, store: &mut Store<CallState>, message: String) -> Answer<()> {
        let instance = bound(self.notify.as_ref())?.instantiate_async(&mut *store).await?;
        Ok(instance.call_notify(store, &message).await?.map_err(GuestError::from))
    }

    async fn undo(&self, store: &mut Store<CallState>, context: String, outcome: Outcome) -> Answer<()> {
        let instance = bound(self.post_create.as_ref())?.instantiate_async(&mut *store).await?;
        let outcome = post_create::Outcome { changed: outcome.changed, summary: outcome.summary };
        Ok(instance.call_undo(store, &context, &outcome).await?.map_err(GuestError::from))
    }
}

impl From<types::Error> for GuestError {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::InvalidInput(words) => Self::InvalidInput(words),
            types::Error::Denied(words) => Self::Denied(words),
            types::Error::RetryAfter(ms) => Self::RetryAfter(ms),
            types::Error::Failed(words) => Self::Failed(words),
        }
    }
}

impl From<RenderedFile> for render::File {
    fn from(file: RenderedFile) -> Self {
        Self { path: file.path, mode: file.mode, content: file.content }
    }
}

impl From<render::File> for RenderedFile {
    fn from(file: render::File) -> Self {
        Self { path: file.path, mode: file.mode, content: file.content }
    }
}

impl From<probe::Report> for Verdict {
    fn from(report: probe::Report) -> Self {
        let state = match report.state {
            probe::State::Healthy => ServiceState::Healthy,
            probe::State::Starting => ServiceState::Starting,
            probe::State::Unhealthy => ServiceState::Unhealthy,
        };
        Self { state, reason: report.reason, endpoint: report.endpoint }
    }
}

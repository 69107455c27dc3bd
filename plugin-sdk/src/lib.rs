//! What a plugin is written against. A plugin is one type that implements one trait of this crate and is
//! named in one `export_*!` line; `supamanager plugin build` makes a component of it. The bindings below come
//! from `wit/v0.1`, which is frozen: a plugin built against it keeps loading while the host speaks 0.1.
//!
//! Everything also compiles for the machine the author sits at, so that a plugin's own logic has ordinary
//! unit tests; only the imports (the modules [`log`], [`templates`], ...) work nowhere but in a host.

mod bindings;
#[cfg(doctest)]
mod book;
mod export;

pub use bindings::admit::Decision;
pub use bindings::imports::supamanager::plugin::types::{AccessError, Description, Error};
pub use bindings::imports::supamanager::plugin::{
    clock, db_login, egress, engine_health, log, memory, options, progress, service_http, service_tcp, sign, sql, templates,
};
pub use bindings::post_create::Outcome;
pub use bindings::probe::{Report, State};
pub use bindings::render::{File, Wanted};
#[doc(hidden)]
pub use bindings::{admit, after_resume, before_delete, notify, post_create, probe, render};
#[doc(hidden)]
pub use export::{Described, Exported};

/// A plugin of the hook `render`: makes the files of a stack.
pub trait Renderer {
    /// `context` is a JSON object whose secrets are references; `so_far` is what renderers before this one
    /// made. A file of the same path replaces it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a context or template that is wrong, naming the place.
    fn render(context: &str, wanted: Vec<Wanted>, so_far: Vec<File>) -> Result<Vec<File>, Error>;
}

/// A plugin of the hook `probe`: says how one service is doing.
pub trait Prober {
    /// `spec` is the `probe` table of the template set as JSON. `None` passes it to the next plugin.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a spec that is wrong, naming the field. A service that is down is no error.
    fn check(project: &str, service: &str, spec: &str) -> Result<Option<Report>, Error>;
}

/// A plugin of the hook `post-create`: runs once all services are healthy, and again on a resume.
pub trait PostCreator {
    /// `context` is the renderer's JSON object and the set's `sql` statements.
    ///
    /// # Errors
    /// [`Error::RetryAfter`] when a later call may succeed.
    fn run(context: &str) -> Result<Outcome, Error>;

    /// Takes back what [`PostCreator::run`] did, as far as it lies outside the project's own volumes.
    ///
    /// # Errors
    /// As `run`.
    fn undo(context: &str, outcome: Outcome) -> Result<(), Error>;
}

/// A plugin of the hook `admit`: looks at what somebody asks for before anything is written down.
pub trait Admitter {
    /// `request` is a JSON object: `kind`, `organization`, `project` and `wanted`.
    ///
    /// # Errors
    /// Any: the request is not admitted, unless plugin.toml says `on_failure = "ignore"`.
    fn admit(request: &str) -> Result<Decision, Error>;
}

/// A plugin of the hook `before-delete`: runs before anything of a project is taken away, and again on a resume.
pub trait BeforeDelete {
    /// `context` is the renderer's JSON object; one sentence about what was done.
    ///
    /// # Errors
    /// Any: the delete tries again until its deadline, unless plugin.toml says `on_failure = "ignore"`; then it goes on.
    fn before_delete(context: &str) -> Result<String, Error>;
}

/// A plugin of the hook `after-resume`: runs once all services of a resumed project are healthy, and again on a resume.
pub trait AfterResume {
    /// `context` is the renderer's JSON object; one sentence about what was done.
    ///
    /// # Errors
    /// [`Error::RetryAfter`] when a later call may succeed.
    fn after_resume(context: &str) -> Result<String, Error>;
}

/// A plugin of the hook `notify`: hears what the webhook hears, at least once.
pub trait Notifier {
    /// `message` is the webhook's JSON object.
    ///
    /// # Errors
    /// [`Error::RetryAfter`] and [`Error::Failed`] are tried again later, five times in all.
    fn notify(message: &str) -> Result<(), Error>;
}

impl AccessError {
    /// Its words, whatever the case.
    pub fn text(&self) -> &str {
        match self {
            Self::Refused(text) | Self::TimedOut(text) | Self::Denied(text) | Self::Failed(text) => text,
        }
    }
}

//! What a call asks of whoever makes it. Each route says it where it says its handler (`router.rs`), so that there is no
//! route without.

use crate::domain::Role;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever reaches the port may.
    Nothing,
    /// To be known; the answer holds only what the caller may see.
    Known,
    /// This role in the organisation `default`, whose people run the installation.
    Operator(Role),
    /// This role in the organisation that the path names.
    Organization(Role),
    /// This role on the project that the path names.
    Project(Role),
    /// This role on or in something that only the body or the store tells: the handler asks.
    Told(Role),
}

/// A call that is served.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    /// As axum has it, with `{id}` for a project's ref and `{slug}` for an organisation's.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
}

/// A table of routes and the router that serves them, from one text.
macro_rules! routes {
    ($(#[$doc:meta])* $table:ident, $router:ident: $($path:literal { $($method:ident $need:expr => $handler:path),+ $(,)? })*) => {
        $(#[$doc])*
        pub const $table: &[Route] = &[$($(Route { method: stringify!($method), path: $path, need: $need }),+),*];

        fn $router() -> Router<Api> {
            Router::new()$(.route($path, MethodRouter::new()$(.$method($handler))+))*
        }
    };
}

pub(super) use routes;

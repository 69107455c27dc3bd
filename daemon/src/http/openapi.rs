//! `/openapi.json`, made from the handlers so that it cannot drift from them.

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{native, system};

#[derive(OpenApi)]
#[openapi(
    info(title = "supamanager", description = "Your own Supabase backends on your own machines"),
    paths(
        native::create::create,
        native::read::list,
        native::read::get,
        native::read::credentials,
        native::read::health,
        native::read::regions,
        native::change::delete,
        native::change::retry,
        native::logs::logs,
        native::events::events,
        native::operations::list,
        native::operations::get,
        system::healthz,
        system::readyz,
        system::metrics,
        system::openapi,
    ),
    security(("token" = [])),
    modifiers(&Token)
)]
struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The specification.
pub fn document() -> Document {
    Api::openapi()
}

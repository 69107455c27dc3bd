//! `/openapi.json`, made from the handlers so that it cannot drift from them.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::need::Need;
use super::router::NATIVE;
use super::{native, setup, system};
use crate::domain::Role;

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
        native::update::update,
        native::resources::get,
        native::change::delete,
        native::change::retry,
        native::change::pause,
        native::change::resume,
        native::change::restart,
        native::change::apply,
        native::change::cancel,
        native::change::force,
        native::usage::usage,
        native::logs::logs,
        native::exec::exec,
        native::events::events,
        native::lost::list,
        native::lost::adopt,
        native::lost::purge,
        native::operations::list,
        native::operations::get,
        native::notifications::list,
        native::plugins::list,
        native::plugins::get,
        native::plugins::reload,
        native::plugins::rollback,
        native::grants::list,
        native::grants::grant,
        native::grants::revoke,
        native::trials::get,
        native::trials::begin,
        native::trials::install,
        native::trials::end,
        native::trials::promote,
        native::sessions::begin,
        native::sessions::refresh,
        native::sessions::end,
        native::sessions::me,
        native::tokens::list,
        native::tokens::create,
        native::tokens::revoke,
        native::organizations::list,
        native::organizations::create,
        native::organizations::get,
        native::organizations::rename,
        native::organizations::delete,
        native::members::list,
        native::members::give,
        native::members::remove,
        native::members::give_on_project,
        native::members::remove_from_project,
        native::members::invitations,
        native::members::invite,
        native::members::withdraw,
        native::members::accept,
        native::audit::list,
        setup::page,
        setup::finish,
        system::healthz,
        system::readyz,
        system::metrics,
        system::openapi,
    ),
    security(("token" = [])),
    modifiers(&Token, &Everywhere)
)]
struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// What the layers around the handlers answer, which no handler says.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut Document) {
        for (path, item) in &mut document.paths.paths {
            let methods = ["get", "post", "put", "patch", "delete"];
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for (method, operation) in methods.into_iter().zip(operations).filter_map(|(name, one)| Some((name, one.as_mut()?))) {
                let need = NATIVE.iter().find(|route| route.path == path && route.method == method).map(|route| route.need);
                let least = match need {
                    Some(Need::Operator(least) | Need::Organization(least) | Need::Project(least) | Need::Told(least)) => {
                        Some(least)
                    }
                    _ => None,
                };
                if least.is_some_and(|least| least > Role::ReadOnly) || matches!(need, Some(Need::Operator(_))) {
                    refuses(operation, "403", "The caller's role does not reach so far");
                }
                if matches!(need, Some(Need::Organization(_) | Need::Project(_))) {
                    refuses(operation, "404", "It is not there, or the caller may not see it");
                }
                refuses(operation, "429", "Too many requests at once");
                refuses(operation, "431", "Address and headers are too large");
                refuses(operation, "500", "The daemon failed inside; its log says why");
                // Only those that anybody may call have a security of their own.
                if operation.security.is_none() {
                    refuses(operation, "401", "No token, or one that is not known here");
                }
                if operation.request_body.is_some() {
                    refuses(operation, "400", "The body does not fit");
                    refuses(operation, "413", "The body is larger than limits.body_bytes");
                }
            }
        }
    }
}

fn refuses(operation: &mut Operation, status: &str, description: &str) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}

/// The specification.
pub fn document() -> Document {
    Api::openapi()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Method, path and what is said of it.
    fn operations() -> Vec<(String, String, Value)> {
        let document = serde_json::to_value(document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths").clone();
        let of = |(path, item): (String, Value)| {
            let methods = item.as_object().expect("methods").clone();
            methods.into_iter().map(move |(method, operation)| (method, path.clone(), operation)).collect::<Vec<_>>()
        };
        paths.into_iter().flat_map(of).collect()
    }

    #[test]
    fn every_operation_documents_what_it_may_refuse() {
        // They work on the store or on files alone, so that they go when the engine does not.
        const WITHOUT_ENGINE: [&str; 5] = [
            "/platform/projects/{id}/cancel",
            "/platform/projects/{id}/force",
            "/platform/plugins/{name}/rollback",
            "/platform/plugins/{name}/trial",
            "/platform/plugins/{name}/promote",
        ];
        // People are in the store.
        const OF_PEOPLE: [&str; 6] = [
            "/setup",
            "/platform/organizations",
            "/platform/tokens",
            "/platform/sessions",
            "/platform/invitations",
            "/members/{user}",
        ];
        // Reads that ask the engine and have nothing to answer without it.
        const READS_ENGINE: [&str; 3] = ["/platform/projects/{id}/logs", "/platform/lost-projects", "/readyz"];
        let operations = operations();
        assert!(operations.len() >= 20, "{}", operations.len());
        let mut missing = Vec::new();
        for (method, path, operation) in &operations {
            let changes = method != "get";
            let one = path.contains('{');
            let people = OF_PEOPLE.iter().any(|part| path.contains(part));
            let engine = changes && !people && !WITHOUT_ENGINE.contains(&path.as_str()) || READS_ENGINE.contains(&path.as_str());
            let body = operation.get("requestBody").is_some();
            let wanted = [
                ("401", operation.get("security").is_none()),
                ("404", one),
                ("409", changes && one),
                ("400", body),
                ("413", body),
                ("429", true),
                ("431", true),
                ("500", true),
                ("503", engine),
            ];
            let responses = &operation["responses"];
            let absent = wanted.iter().filter(|(status, wanted)| *wanted && responses.get(status).is_none());
            missing.extend(absent.map(|(status, _)| format!("{method} {path} does not say {status}")));
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn what_is_refused_has_the_one_form_of_an_error() {
        for (method, path, operation) in operations() {
            let responses = operation["responses"].as_object().expect("responses").clone();
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                let readiness = path == "/readyz" && status == "503";
                let wanted = if readiness { "#/components/schemas/Readiness" } else { "#/components/schemas/ErrorBody" };
                assert_eq!(schema, wanted, "{method} {path} {status}");
            }
        }
    }
}

//! `GET /v1/projects/{ref}/health`: upstream's names for services, and its three states.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;

use crate::domain::{Project, ProjectStatus, ServiceState};
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult};
use crate::http::gate::There;
use crate::store::Observation;

/// What can be asked for, and the service of a stack that answers for it. Nothing pools connections in one.
const NAMES: [(&str, Option<&str>); 8] = [
    ("auth", Some("auth")),
    ("db", Some("db")),
    ("db_postgres_user", Some("db")),
    ("pooler", None),
    ("realtime", Some("realtime")),
    ("rest", Some("rest")),
    ("storage", Some("storage")),
    ("pg_bouncer", None),
];

/// One service.
#[derive(Serialize)]
pub struct HealthBody {
    name: &'static str,
    healthy: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How the services that are asked for are.
pub async fn health(
    State(api): State<Api>,
    There(project): There,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Vec<HealthBody>>> {
    let asked = asked(query.as_deref().unwrap_or_default())?;
    let seen = api.lifecycle.parts().observations(&project.id).await?;
    Ok(Json(asked.into_iter().map(|(name, service)| one(&project, name, service, &seen)).collect()))
}

/// `services`, comma-joined or repeated: clients do both.
fn asked(query: &str) -> ApiResult<Vec<(&'static str, Option<&'static str>)>> {
    let known = || NAMES.map(|(name, _)| name).join(", ");
    let mut asked = Vec::new();
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if key != "services" {
            continue;
        }
        for wanted in value.replace("%2C", ",").split(',').filter(|name| !name.is_empty()) {
            let found = NAMES.into_iter().find(|(name, _)| *name == wanted);
            asked.push(found.ok_or_else(|| ApiError::shape("services", format!("services must be some of {}", known())))?);
        }
    }
    if asked.is_empty() {
        return Err(ApiError::shape("services", format!("services must be some of {}", known())));
    }
    Ok(asked)
}

fn one(project: &Project, name: &'static str, service: Option<&str>, seen: &[Observation]) -> HealthBody {
    let unhealthy = |error: &str| HealthBody { name, healthy: false, status: "UNHEALTHY", error: Some(error.to_owned()) };
    if project.status == ProjectStatus::Failed {
        let error = project.last_error.as_ref().map_or("the project could not be created", |error| &error.message);
        return unhealthy(error);
    }
    let Some(service) = service else { return unhealthy("the stack has no pooler: connect to the database itself") };
    match seen.iter().find(|seen| seen.service.as_str() == service) {
        Some(seen) if seen.state == ServiceState::Healthy => {
            HealthBody { name, healthy: true, status: "ACTIVE_HEALTHY", error: None }
        }
        Some(seen) if seen.state == ServiceState::Unhealthy => unhealthy(&seen.reason),
        None if project.status.is_active() => unhealthy("this project's stack has no such service"),
        _ => HealthBody { name, healthy: false, status: "COMING_UP", error: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_in_both_ways_that_clients_do() {
        let names = |query| asked(query).ok().map(|asked| asked.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(names("services=auth,rest"), Some(vec!["auth", "rest"]));
        assert_eq!(names("services=auth%2Crest&timeout_ms=5"), Some(vec!["auth", "rest"]));
        assert_eq!(names("services=db&services=storage"), Some(vec!["db", "storage"]));
        for refused in ["", "services=", "services=kong", "timeout_ms=5"] {
            assert_eq!(names(refused), None, "{refused}");
        }
    }
}

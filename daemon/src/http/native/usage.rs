//! What a project used over time.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::dto::UsageBody;
use super::dto_usage::UsageSeriesBody;
use crate::domain::in_steps;
use crate::http::Api;
use crate::http::error::{ApiError, ApiResult, ErrorBody};
use crate::http::gate::Found;
use crate::store::Grain;

/// Points of one answer.
const POINTS_MAX: i64 = 1_000;

/// How far back, and how fine.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct UsageQuery {
    /// How far back, for example `30m`, `1h` or `7d`; an hour when left out, seven days at most.
    window: Option<String>,
    /// Seconds of one point: 60 or more, and 900 or more for a window beyond three hours; the least of that when left out.
    step: Option<i64>,
}

/// Window and step in seconds, and where they are read from.
fn range(query: &UsageQuery) -> Result<(i64, i64, Grain), ApiError> {
    let text = query.window.as_deref().unwrap_or("1h");
    let window = humantime::parse_duration(text).ok().and_then(|window: Duration| i64::try_from(window.as_secs()).ok());
    let window = window
        .filter(|window| (60..=Grain::Coarse.kept_ms() / 1000).contains(window))
        .ok_or_else(|| ApiError::shape("window", "window must lie between 1m and 7d, for example 1h".to_owned()))?;
    let grain = if window * 1000 <= Grain::Fine.kept_ms() { Grain::Fine } else { Grain::Coarse };
    let least = if grain == Grain::Fine { 60 } else { Grain::COARSE_MS / 1000 };
    let step = query.step.unwrap_or(least);
    if step < least || step > window || window / step > POINTS_MAX {
        return Err(ApiError::shape("step", format!("step must lie between {least} and {window} seconds for this window")));
    }
    // Quarters of an hour cannot be cut.
    Ok((window, (step + least - 1) / least * least, grain))
}

/// CPU, memory, storage and network bytes over time, of the project and of each service.
#[utoipa::path(get, path = "/platform/projects/{id}/usage", params(UsageQuery), responses((status = 200, body = UsageSeriesBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn usage(
    State(api): State<Api>,
    Found(project): Found,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> ApiResult<Json<UsageSeriesBody>> {
    let Query(query) = query.map_err(|error| ApiError::shape("query", error.body_text()))?;
    let (window_s, step_s, grain) = range(&query)?;
    let parts = api.lifecycle.parts();
    let points = parts.store.usage_series(&project.id, grain, parts.clock.now() - window_s * 1000).await?;
    let points = in_steps(points, step_s * 1000);
    let now = parts.store.usage(&project.id).await?.map(UsageBody::from);
    // The endpoint is what the port `api` publishes.
    let set = parts.set_of(&project).ok();
    let gateway = set.as_ref().and_then(|set| set.spec.ports.iter().find(|port| port.name == "api").map(|port| &port.service));
    Ok(Json(UsageSeriesBody::new(project.id.to_string(), (window_s, step_s), now, &points, gateway)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_grain_and_a_step_that_fits() {
        let ask = |window: &str, step: Option<i64>| {
            range(&UsageQuery { window: Some(window.to_owned()), step }).ok().map(|(window, step, _)| (window, step))
        };
        assert_eq!(range(&UsageQuery { window: None, step: None }).ok(), Some((3600, 60, Grain::Fine)));
        assert_eq!((ask("3h", None), ask("4h", None)), (Some((10_800, 60)), Some((14_400, 900))));
        assert_eq!((ask("7d", Some(1000)), ask("1h", Some(90))), (Some((604_800, 1800)), Some((3600, 120))));
        for (window, step) in
            [("8d", None), ("30s", None), ("soon", None), ("1h", Some(59)), ("1h", Some(3601)), ("1d", Some(60))]
        {
            assert_eq!(ask(window, step), None, "{window} {step:?}");
        }
    }
}

//! `GET /platform/projects/{id}/resources`: what a project was promised, and what really holds it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::dto::ResourcesBody;
use crate::clock::rfc3339;
use crate::domain::{Bytes, Limits, Project, Resources, per_cent};
use crate::http::Api;
use crate::http::error::{ApiResult, ErrorBody};
use crate::http::gate::Found;
use crate::lifecycle::HeldService;
use crate::store::Budget;

/// What a project was promised and what holds it.
#[derive(Serialize, ToSchema)]
pub struct HoldingBody {
    /// The project.
    pub id: String,
    /// As stored.
    pub asked: ResourcesBody,
    /// What the kernel holds all services together to; null while nothing of it runs or can be read.
    pub effective: Option<EffectiveBody>,
    /// Service -> what holds its container alone; null while the engine is away.
    pub services: Option<BTreeMap<String, EffectiveBody>>,
    /// How full the storage is; null before it was first measured.
    pub storage: Option<StorageBody>,
}

/// What holds something. `none` is no limit.
#[derive(Serialize, ToSchema)]
pub struct EffectiveBody {
    /// Cores.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// Processes and threads; null is no limit.
    pub pids: Option<u64>,
    /// Where it was read: `group` (the project's control group), `kernel` (the container's own, or their sum), or `engine`
    /// (what the engine was asked for: it does not run, or not on this host).
    pub read_from: &'static str,
}

/// How full a project's storage is.
#[derive(Serialize, ToSchema)]
pub struct StorageBody {
    /// Bytes in the project's folder.
    pub used_bytes: i64,
    /// Bytes it may hold; null is no limit.
    pub limit_bytes: Option<u64>,
    /// Whole per cent of the limit.
    pub percent: Option<u64>,
    /// `ok`, `warned` (from 80 %), or `frozen` (from 95 % until below 90 %).
    pub state: &'static str,
    /// Whether what the state asks for has been done: the next look tries again.
    pub settled: bool,
    /// Whether all of the folder could be read; otherwise it is at least so much.
    pub complete: bool,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339.
    pub observed_at: String,
}

/// What a project was promised, and what the kernel really holds it to.
#[utoipa::path(get, path = "/platform/projects/{id}/resources", responses((status = 200, body = HoldingBody), (status = 404, body = ErrorBody)))]
pub async fn get(State(api): State<Api>, Found(project): Found) -> ApiResult<Json<HoldingBody>> {
    let held = api.lifecycle.held(&project.id).await.ok();
    let budget = api.lifecycle.parts().store.budget(&project.id).await?;
    Ok(Json(HoldingBody {
        id: project.id.to_string(),
        asked: (&project.resources).into(),
        effective: held.as_deref().and_then(together),
        services: held.map(|held| held.iter().map(|service| (service.service.to_string(), alone(service))).collect()),
        storage: budget.map(|budget| storage(&project, &budget)),
    }))
}

fn alone(service: &HeldService) -> EffectiveBody {
    match service.held.kernel {
        Some(bounds) => body(bounds.limits, bounds.pids, "kernel"),
        None => body(service.held.asked.limits, service.held.asked.pids, "engine"),
    }
}

/// The group's when there is one, else the sum of what each has, as long as each has a limit.
fn together(held: &[HeldService]) -> Option<EffectiveBody> {
    if let Some(bounds) = held.iter().find_map(|service| service.held.group) {
        return Some(body(bounds.limits, bounds.pids, "group"));
    }
    let bounds: Option<Vec<_>> = held.iter().map(|service| service.held.kernel).collect();
    let bounds = bounds.filter(|bounds| !bounds.is_empty())?;
    let cpu: Option<u64> = bounds.iter().map(|bounds| Some(bounds.limits.cpu?.as_millis())).sum();
    let memory: Option<u64> = bounds.iter().map(|bounds| Some(bounds.limits.memory?.get())).sum();
    let limits = Limits { cpu: cpu.map(crate::domain::Cpu::millis), memory: memory.map(Bytes::new) };
    Some(body(limits, bounds.iter().map(|bounds| bounds.pids).sum(), "kernel"))
}

fn body(limits: Limits, pids: Option<u64>, read_from: &'static str) -> EffectiveBody {
    let words = ResourcesBody::from(&Resources { cpu: limits.cpu, memory: limits.memory, storage: None });
    EffectiveBody { cpu: words.cpu.unwrap_or_default(), memory: words.memory.unwrap_or_default(), pids, read_from }
}

fn storage(project: &Project, budget: &Budget) -> StorageBody {
    let limit = project.resources.storage.map(Bytes::get);
    StorageBody {
        used_bytes: budget.used_bytes,
        limit_bytes: limit,
        percent: limit.map(|limit| per_cent(u64::try_from(budget.used_bytes).unwrap_or_default(), limit)),
        state: budget.state.as_str(),
        settled: budget.settled,
        complete: budget.complete,
        since: rfc3339(budget.changed_at),
        observed_at: rfc3339(budget.observed_at),
    }
}

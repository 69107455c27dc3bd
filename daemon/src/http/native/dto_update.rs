//! The shapes of an update on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto::ResourcesBody;
use crate::domain::PluginChoices;
use crate::lifecycle::{Change, UpdatePlan};

/// `PATCH /platform/projects/{id}`: what is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBody {
    /// Another name: 1 to 256 characters.
    pub name: Option<String>,
    /// Another template set.
    pub template_set: Option<String>,
    /// Another image set.
    pub image_set: Option<String>,
    /// Service of the template set -> on or off.
    #[serde(default)]
    pub services: BTreeMap<String, bool>,
    /// Plugin -> `false`, `true`, or the options it runs with.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    pub plugins: PluginChoices,
    /// What it may use; changed while everything runs.
    pub resources: Option<ResourcesBody>,
}

/// What an update would do.
#[derive(Serialize, ToSchema)]
pub struct PlanBody {
    /// Send it in `If-Match` to have exactly this done.
    pub hash: String,
    /// Containers that change.
    pub changes: Vec<ChangeBody>,
    /// Fields that are only written down.
    pub stored: Vec<&'static str>,
    /// Ports and secrets the project gets, by name.
    pub added: Vec<String>,
    /// The copy of the data that is taken first, when an image changes; everything stops for it.
    pub snapshot: Option<SnapshotBody>,
}

/// One service that changes.
#[derive(Serialize, ToSchema)]
pub struct ChangeBody {
    /// The service.
    pub service: String,
    /// create, recreate or remove.
    pub action: &'static str,
    /// Why, a phrase each.
    pub reasons: Vec<String>,
}

/// Room for a copy of the data.
#[derive(Serialize, ToSchema)]
pub struct SnapshotBody {
    /// Bytes it may take.
    pub needed_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
}

impl PlanBody {
    /// As it is shown.
    pub fn of(plan: &UpdatePlan) -> Self {
        let change = |change: &Change| ChangeBody {
            service: change.service.to_string(),
            action: change.action.as_str(),
            reasons: change.reasons.clone(),
        };
        Self {
            hash: plan.hash.clone(),
            changes: plan.changes.iter().map(change).collect(),
            stored: plan.stored.clone(),
            added: plan.added.clone(),
            snapshot: plan.snapshot.map(|room| SnapshotBody { needed_bytes: room.needed_bytes, free_bytes: room.free_bytes }),
        }
    }
}

/// The answer to an update.
#[derive(Serialize, ToSchema)]
pub struct UpdatedBody {
    /// The ref.
    pub id: String,
    /// Its name now.
    pub name: String,
    /// Where it stands now.
    pub status: &'static str,
    /// The operation to watch; null when there was nothing to do but to write it down.
    pub operation_id: Option<String>,
}

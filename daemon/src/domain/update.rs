//! What a stack is made from, and what an update is to make of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PluginChoices, ServiceName};

/// What a project's stack is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Name of the template set.
    pub template_set: String,
    /// Name of the image set.
    pub image_set: String,
    /// Services of the template set that are off, in their order.
    #[serde(default)]
    pub without: Vec<ServiceName>,
    /// What was chosen of the plugins.
    #[serde(default)]
    pub plugins: PluginChoices,
}

/// What an update was accepted for. It is written down with the operation, so that one resumed after a kill does what
/// the plan said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// What the stack is made from afterwards.
    pub shape: Shape,
    /// Services whose containers are made, made anew, or removed.
    pub replaced: Vec<ServiceName>,
    /// Whether the data is copied before, because an image changes: services migrate the database when they start.
    pub snapshot: bool,
    /// Image reference -> digest, as far as the engine had them when the plan was made.
    pub images: BTreeMap<String, String>,
}

/// The step after which an update does not go back: the copy of the old data is thrown away in it.
pub const POINT_OF_NO_RETURN: &str = "discard";

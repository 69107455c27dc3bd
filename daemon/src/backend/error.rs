//! What can go wrong with an engine, in terms of what the caller can do about it.

/// What the caller can do (decision 29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same call may succeed later.
    Retry,
    /// Something else holds what was wanted.
    Conflict,
    /// There is no room.
    Capacity,
    /// Trying again changes nothing.
    Permanent,
}

/// A failed call. No text of it holds a secret: engines do not echo environments.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// No engine answers.
    #[error("the container engine cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the container engine did not finish `{what}` within {deadline_ms} ms")]
    TimedOut {
        /// The call.
        what: String,
        /// Its limit.
        deadline_ms: u64,
    },
    /// It is still busy with the same object (409 removal in progress, 5xx).
    #[error("the container engine is busy with `{what}`: {reason}")]
    Busy {
        /// The call.
        what: String,
        /// Its words.
        reason: String,
    },
    /// An engine that was killed in the midst of a start left a task of this container behind: it never starts again, and
    /// another has to be made in its place. Nothing of it runs any more.
    #[error("a killed engine left `{what}` half done, the container has to be made again: {reason}")]
    TaskLeft {
        /// The call.
        what: String,
        /// Its words.
        reason: String,
    },
    /// The image does not exist or may not be pulled.
    #[error("image `{image}` cannot be had: {reason}")]
    ImageUnavailable {
        /// The reference.
        image: String,
        /// Its words.
        reason: String,
    },
    /// A host port is held by somebody else.
    #[error("host port {port} is taken: {reason}")]
    PortTaken {
        /// The port, 0 when the engine did not say.
        port: u16,
        /// Its words.
        reason: String,
    },
    /// A name is held by an object that is not ours.
    #[error("the {kind} name `{name}` is taken by something that is not ours: rename or remove it")]
    NameTaken {
        /// container, network or volume.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The subnet overlaps with another network.
    #[error("subnet {subnet} cannot be used: {reason}")]
    SubnetTaken {
        /// The subnet.
        subnet: String,
        /// Its words.
        reason: String,
    },
    /// The engine's disk is full.
    #[error("the engine's disk is full: {0}")]
    DiskFull(String),
    /// The object is gone.
    #[error("{what} is not there")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A command was begun inside a container, and how it ended is not known: what it does may have happened.
    #[error("how `{what}` ended is not known: {reason}")]
    Unfinished {
        /// The call.
        what: String,
        /// Why.
        reason: String,
    },
    /// Everything else: the request itself is wrong.
    #[error("the container engine refused `{what}`: {reason}")]
    Rejected {
        /// The call.
        what: String,
        /// Its words.
        reason: String,
    },
}

impl BackendError {
    /// What the caller can do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Busy { .. } | Self::TaskLeft { .. } => ErrorClass::Retry,
            Self::PortTaken { .. } | Self::NameTaken { .. } => ErrorClass::Conflict,
            Self::SubnetTaken { .. } | Self::DiskFull(_) => ErrorClass::Capacity,
            // Asking again would do it twice.
            Self::Unfinished { .. } => ErrorClass::Permanent,
            Self::ImageUnavailable { .. } | Self::NotFound { .. } | Self::Rejected { .. } => ErrorClass::Permanent,
        }
    }

    /// A stable word for the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "engine_unreachable",
            Self::TimedOut { .. } => "engine_timeout",
            Self::Busy { .. } => "engine_busy",
            Self::TaskLeft { .. } => "task_left",
            Self::ImageUnavailable { .. } => "image_unavailable",
            Self::PortTaken { .. } => "port_taken",
            Self::NameTaken { .. } => "name_taken",
            Self::SubnetTaken { .. } => "subnet_taken",
            Self::DiskFull(_) => "disk_full",
            Self::NotFound { .. } => "not_found",
            Self::Unfinished { .. } => "exec_unfinished",
            Self::Rejected { .. } => "engine_refused",
        }
    }
}

//! What the engine says when it refuses, read into causes. It has status codes for few of them and typed codes for
//! none, so some texts have to be matched: here and nowhere else, each with a test and where it was seen.

use std::time::Duration;

use bollard::errors::Error;

use crate::backend::BackendError;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// No engine, or it went away in the middle: the effect may have happened.
    Unreachable,
    /// No answer in time: the effect may have happened.
    TimedOut,
    /// The object is not there.
    NotFound,
    /// The image is not there.
    NoSuchImage,
    /// The name is held by another object.
    NameInUse,
    /// The object is being removed by somebody else.
    Removing,
    /// A host port is held; 0 when the text does not say which.
    PortTaken(u16),
    /// The subnet overlaps with another network's.
    SubnetTaken,
    /// No space left.
    DiskFull,
    /// A killed engine left a task with this container's name.
    TaskLeft,
    /// Trying again may help.
    Busy,
    /// The request itself is wrong.
    Refused,
}

/// A failed call, before it is told to the caller.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    what: String,
    reason: String,
    deadline_ms: u64,
}

impl Failure {
    /// Nothing came back in time.
    pub fn timed_out(what: &str, deadline: Duration) -> Self {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Self { cause: Cause::TimedOut, what: what.to_owned(), reason: String::new(), deadline_ms }
    }

    /// Reads bollard's error.
    pub fn read(what: &str, error: Error) -> Self {
        let (cause, reason) = match error {
            Error::DockerResponseServerError { status_code, message } => (cause(status_code, &message), message),
            // An error item inside a 200.
            Error::DockerStreamError { error } => (cause(500, &error), error),
            Error::DockerContainerWaitError { error, .. } => (Cause::Busy, error),
            Error::RequestTimeoutError => (Cause::TimedOut, String::new()),
            Error::SocketNotFoundError(path) => (Cause::Unreachable, format!("there is no socket at {path}")),
            Error::IOError { err } => (Cause::Unreachable, err.to_string()),
            Error::HyperResponseError { err } => (Cause::Unreachable, chain(&err)),
            Error::HyperLegacyError { err } => (Cause::Unreachable, chain(&err)),
            other => (Cause::Refused, other.to_string()),
        };
        Self { cause, what: what.to_owned(), reason: reason.trim().chars().take(500).collect(), deadline_ms: 0 }
    }

    /// Whether the effect may have happened although the call failed.
    pub fn is_reply_lost(&self) -> bool {
        matches!(self.cause, Cause::Unreachable | Cause::TimedOut)
    }

    /// The same failure of a call about an image.
    pub fn about_image(self, image: &str) -> BackendError {
        // An engine repeats a registry's words behind a 500 of its own: these will not change by asking again.
        const FINAL: [&str; 8] = [
            "manifest unknown",
            "not found",
            "denied",
            "unauthorized",
            "no matching manifest",
            "invalid",
            "connection refused",
            "no such host",
        ];
        let reason = self.reason.to_ascii_lowercase();
        let passing = self.cause == Cause::Busy && !FINAL.iter().any(|words| reason.contains(words));
        match self.cause {
            Cause::Unreachable | Cause::TimedOut | Cause::DiskFull => self.into(),
            _ if passing => self.into(),
            _ => BackendError::ImageUnavailable { image: image.to_owned(), reason: self.reason },
        }
    }

    /// The same failure of a call about a subnet.
    pub fn about_subnet(self, subnet: &str) -> BackendError {
        match self.cause {
            Cause::SubnetTaken => BackendError::SubnetTaken { subnet: subnet.to_owned(), reason: self.reason },
            _ => self.into(),
        }
    }
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        let Failure { cause, what, reason, deadline_ms } = failure;
        match cause {
            Cause::Unreachable => Self::Unreachable(reason),
            Cause::TimedOut => Self::TimedOut { what, deadline_ms },
            Cause::NotFound => Self::NotFound { what: format!("{what}: {reason}") },
            Cause::NoSuchImage => Self::ImageUnavailable { image: what, reason },
            Cause::PortTaken(port) => Self::PortTaken { port, reason },
            Cause::DiskFull => Self::DiskFull(reason),
            Cause::NameInUse | Cause::Removing | Cause::Busy => Self::Busy { what, reason },
            Cause::TaskLeft => Self::TaskLeft { what, reason },
            Cause::SubnetTaken | Cause::Refused => Self::Rejected { what, reason },
        }
    }
}

/// hyper says "client error (Connect)" and keeps the reason one level down.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn cause(status: u16, message: &str) -> Cause {
    let text = message.to_ascii_lowercase();
    let says = |words: &str| text.contains(words);
    if says("no space left on device") || says("disk quota exceeded") {
        return Cause::DiskFull;
    }
    // The second when a network of the very same subnet is there, the third when only the bridge driver notices.
    if says("pool overlaps with other one") || says("failed to allocate gateway") || says("networks have overlapping ipv4") {
        return Cause::SubnetTaken;
    }
    if says("port is already allocated") || (says("address already in use") && host_port(message).is_some()) {
        return Cause::PortTaken(host_port(message).unwrap_or(0));
    }
    if says("removal of container") && says("already in progress") || says("is marked for removal") {
        return Cause::Removing;
    }
    // Containerd knows the task, or runc the container, that the engine was about to make when it was killed.
    let left =
        [says("task ") && says("already exists"), says("id already in use"), says("container with given id already exists")];
    if left.contains(&true) {
        return Cause::TaskLeft;
    }
    match status {
        404 if says("no such image") => Cause::NoSuchImage,
        404 => Cause::NotFound,
        409 if says("is already in use by container") => Cause::NameInUse,
        409 if says("network with name") && says("already exists") => Cause::NameInUse,
        409 => Cause::Busy,
        403 if says("has active endpoints") => Cause::Busy,
        // A fixed address whose former holder has not let go yet.
        403 if says("address already in use") => Cause::Busy,
        429 => Cause::Busy,
        // The engine answers 500 to programs that do not exist, too: asking again changes nothing.
        500 if says("oci runtime create failed") || says("failed to initialize logging driver") => Cause::Refused,
        500..=599 => Cause::Busy,
        _ => Cause::Refused,
    }
}

/// The host port in the engine's words about a binding that failed.
fn host_port(message: &str) -> Option<u16> {
    const BEFORE: [&str; 5] = ["Bind for ", "bind host port for ", "bind host port ", "listen tcp4 ", "listen tcp "];
    let after = BEFORE.iter().find_map(|words| message.split_once(words).map(|(_, rest)| rest))?;
    let token = after.split_whitespace().next()?;
    let rest = match token.split_once("]:") {
        Some((_, rest)) => rest,
        None if token.starts_with("::") => token.trim_start_matches(':'),
        None => token.split_once(':')?.1,
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// The exit code in a listing's status, `Exited (137) 3 minutes ago`: listings have no field for it.
pub fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

/// Whether a listing's status says that the container was started within the last minute, or is about to be:
/// `Up Less than a second`, `Up 3 seconds (health: starting)`, `Restarting (1) 2 seconds ago`.
pub fn is_fresh(status: &str) -> bool {
    status.starts_with("Restarting (") || status.strip_prefix("Up ").is_some_and(|since| since.contains("second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_is_understood() {
        let cases = [
            // 20.10 [tried in tests/docker]
            (
                500,
                "driver failed programming external connectivity on endpoint x (1f): Bind for 127.0.0.1:54000 failed: port is already allocated",
                Cause::PortTaken(54000),
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint x (1f): Error starting userland proxy: listen tcp4 127.0.0.1:54001: bind: address already in use",
                Cause::PortTaken(54001),
            ),
            (403, "Pool overlaps with other one on this address space", Cause::SubnetTaken),
            (403, "failed to allocate gateway (10.199.39.33): Address already in use", Cause::SubnetTaken),
            (
                403,
                "cannot create network 1f (br-1f): conflicts with network 2f (br-2f): networks have overlapping IPv4",
                Cause::SubnetTaken,
            ),
            (
                409,
                "Conflict. The container name \"/a\" is already in use by container \"1f\". You have to remove (or rename) that container to be able to reuse that name.",
                Cause::NameInUse,
            ),
            (409, "removal of container 1f is already in progress", Cause::Removing),
            (409, "container is marked for removal and cannot be started", Cause::Removing),
            (404, "No such image: nothing:1", Cause::NoSuchImage),
            (404, "No such container: 1f", Cause::NotFound),
            (404, "network 1f not found", Cause::NotFound),
            (403, "error while removing network: network a id 1f has active endpoints", Cause::Busy),
            (409, "remove a: volume is in use - [1f]", Cause::Busy),
            (403, "Address already in use", Cause::Busy),
            (400, "invalid mount config for type \"bind\": bind source path does not exist: /x", Cause::Refused),
            (400, "OCI runtime create failed: exec: \"x\": executable file not found in $PATH: unknown", Cause::Refused),
            (500, "failed to initialize logging driver: dial tcp 10.0.0.1:24224: connect: connection refused", Cause::Refused),
            (500, "open /var/lib/docker/x: no space left on device", Cause::DiskFull),
            (503, "anything", Cause::Busy),
            // 20.10 [tried], and runc's own words
            (409, "task 1f300a3c: already exists", Cause::TaskLeft),
            (409, "id already in use", Cause::TaskLeft),
            (400, "OCI runtime create failed: container with given ID already exists: unknown", Cause::TaskLeft),
            // 23 to 29, from moby's sources
            (409, "network with name a already exists", Cause::NameInUse),
            (400, "invalid pool request: Pool overlaps with other one on this address space", Cause::SubnetTaken),
            (
                500,
                "failed to set up container networking: driver failed programming external connectivity on endpoint x (1f): failed to bind host port for 127.0.0.1:54002:172.18.0.2:80/tcp: address already in use",
                Cause::PortTaken(54002),
            ),
            (500, "failed to bind host port 0.0.0.0:54003/tcp: address already in use", Cause::PortTaken(54003)),
            (500, "Bind for [::]:54004 failed: port is already allocated", Cause::PortTaken(54004)),
            (500, "Bind for :::54005 failed: port is already allocated", Cause::PortTaken(54005)),
            (500, "port is already allocated", Cause::PortTaken(0)),
        ];
        for (status, message, want) in cases {
            assert_eq!(cause(status, message), want, "{message}");
        }
    }

    #[test]
    fn exit_codes_are_read_from_a_listing() {
        assert_eq!(exit_code("Exited (137) 3 minutes ago"), Some(137));
        assert_eq!(exit_code("Up 3 minutes"), None);
    }

    #[test]
    fn what_was_just_started_is_read_from_a_listing() {
        for fresh in ["Up Less than a second", "Up 1 second", "Up 59 seconds (health: starting)", "Restarting (1) 5 minutes ago"]
        {
            assert!(is_fresh(fresh), "{fresh}");
        }
        for old in ["Up About a minute", "Up 3 hours", "Up 2 minutes (Paused)", "Exited (0) 3 seconds ago", "Created", ""] {
            assert!(!is_fresh(old), "{old}");
        }
    }
}

//! Limits: what one project may take from its host.

use super::{Findings, Subject};

/// The largest need known is analytics' (Erlang, two schedulers and their threads: about 60 per core); PostgreSQL has
/// one process per connection. An operator with larger stacks may raise it here.
const MAX_PIDS: i64 = 4_096;
/// The kernel's own default ceiling (`fs.nr_open`).
const MAX_OPEN_FILES: i64 = 1 << 20;
/// Stopping all ten services one after the other stays under an hour.
const MAX_STOP_GRACE_S: u32 = 300;

/// Without a limit a fork bomb inside takes every process id of the host.
pub fn pids_limit(subject: &Subject<'_>, out: &mut Findings) {
    if !subject.service.pids_limit.is_some_and(|limit| (1..=MAX_PIDS).contains(&limit)) {
        out.add("pids_limit", subject.path("pids_limit"), format!("must be set, from 1 to {MAX_PIDS}"));
    }
}

/// Soft not above hard, hard not above the kernel's.
pub fn open_files(subject: &Subject<'_>, out: &mut Findings) {
    for limit in &subject.service.ulimits {
        if !(1..=limit.hard).contains(&limit.soft) || limit.hard > MAX_OPEN_FILES {
            let path = subject.path(&format!("ulimits.{}", limit.name));
            out.add(
                "open_files",
                path,
                format!("has soft {} and hard {}: write 1 <= soft <= hard <= {MAX_OPEN_FILES}", limit.soft, limit.hard),
            );
        }
    }
}

/// How long a stop may take.
pub fn stop_grace(subject: &Subject<'_>, out: &mut Findings) {
    if subject.service.stop_grace_s.is_some_and(|grace| grace > MAX_STOP_GRACE_S) {
        out.add("stop_grace", subject.path("stop_grace_period"), format!("must be at most {MAX_STOP_GRACE_S}s"));
    }
}

/// An empty entrypoint or command means something else to Compose (the image's own) than to the engine.
pub fn arguments(subject: &Subject<'_>, out: &mut Findings) {
    let lists = [("entrypoint", &subject.service.entrypoint), ("command", &subject.service.command)];
    for (key, list) in lists {
        if list.as_ref().is_some_and(|words| words.first().is_none_or(String::is_empty)) {
            out.add("arguments", subject.path(key), "is empty: leave the key out to use the image's own");
        }
    }
}

//! What an engine that was killed in the midst of a start leaves behind. Containerd keeps the task, so the container never
//! starts again (409, for ever); and when the task had begun, its process runs on, unknown to the engine that comes back:
//! a second database on the same data, if another container took its place as it is (20.10, tried).

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::DockerBackend;
use crate::backend::{BackendError, Result};

/// Looks at processes that were killed: the kernel takes a moment.
const LOOKS: u32 = 40;
/// Between two of them: two seconds in all.
const PAUSE: Duration = Duration::from_millis(50);

impl DockerBackend {
    /// Ends what still runs in the control group of a container that the engine says it cannot start. On an engine of
    /// another host nothing can be seen, and the engine's word is all there is.
    pub(super) async fn left_behind_ended(&self, id: &str) -> Result<()> {
        let (Some(groups), Some(found)) = (self.local_groups(), self.raw_container(id).await?) else { return Ok(()) };
        let parent = found.host_config.and_then(|config| config.cgroup_parent).unwrap_or_default();
        let mut left = Vec::new();
        for _ in 0..LOOKS {
            left = groups.processes_of(&parent, id);
            if left.is_empty() {
                return Ok(());
            }
            for process in left.iter().filter_map(|process| Pid::from_raw(*process)) {
                match kill_process(process, Signal::KILL) {
                    Err(Errno::PERM) => return Err(runs_on(id, &left, "and this daemon may not end them")),
                    killed => {
                        tracing::info!(container = id, process = %process.as_raw_nonzero(), ?killed, "left by a killed engine")
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(runs_on(id, &left, "although they were killed"))
    }
}

fn runs_on(id: &str, left: &[i32], why: &str) -> BackendError {
    let reason = format!("processes {left:?} of a start that a killed engine left run on, {why}: kill -9 them");
    BackendError::Busy { what: format!("start container {id}"), reason }
}

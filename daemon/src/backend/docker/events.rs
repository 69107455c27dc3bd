//! Events only wake (reliability 2): they are dropped under load and lost in a restart, so nothing is read from them
//! but that something happened, and silence wakes the caller as well after a while. What happens between two
//! subscriptions is not missed: the next one asks for everything after the last event that was heard.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;

use super::DockerBackend;
use super::errors::Cause;
use super::labels;
use crate::backend::Result;
use crate::domain::InstallationId;

const SECOND_NS: i64 = 1_000_000_000;

/// Not `exec_*`: every health check is one, and ten services would wake the daemon all the time.
const ACTIONS: [&str; 9] = ["create", "start", "die", "destroy", "oom", "pause", "unpause", "rename", "health_status"];

impl DockerBackend {
    pub(super) async fn next_event(&self, installation: &InstallationId) -> Result<()> {
        let mut filter: HashMap<String, Vec<String>> = labels::filter(installation, None, &[]);
        filter.insert("type".to_owned(), vec!["container".to_owned()]);
        filter.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
        let mut options = EventsOptionsBuilder::new().filters(&filter);
        let heard = self.heard_ns.load(Ordering::Relaxed);
        if heard > 0 {
            // The engine's own time of that event, so no clock has to agree with another.
            options = options.since(&format!("{}.{:09}", (heard + 1) / SECOND_NS, (heard + 1) % SECOND_NS));
        }
        let options = options.build();
        // An engine that cannot be reached is an error; a stream that was open and is cut is news.
        self.read("subscribe to events", |docker| async move { docker.ping().await }).await?;
        let first = self.call("events", self.deadlines.quiet_events, |docker| async move {
            let mut stream = std::pin::pin!(docker.events(Some(options)));
            stream.next().await.transpose()
        });
        match first.await {
            Ok(Some(event)) => {
                let at = event.time_nano.or_else(|| Some(event.time?.saturating_mul(SECOND_NS)));
                self.heard_ns.fetch_max(at.unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            }
            // Cut, or quiet for long: the caller looks for itself.
            Ok(None) => Ok(()),
            Err(failure) if matches!(failure.cause, Cause::TimedOut | Cause::Unreachable) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

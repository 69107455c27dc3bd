//! Events only wake (reliability 2): they are dropped under load and lost in a restart, so nothing is read from them
//! but that something happened, and silence wakes the caller as well after a while.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;

use super::DockerBackend;
use super::labels;
use crate::backend::Result;
use crate::domain::InstallationId;

/// Not `exec_*`: every health check is one, and ten services would wake the daemon all the time.
const ACTIONS: [&str; 9] = ["create", "start", "die", "destroy", "oom", "pause", "unpause", "rename", "health_status"];

impl DockerBackend {
    pub(super) async fn next_event(&self, installation: &InstallationId) -> Result<()> {
        let mut filter: HashMap<String, Vec<String>> = labels::filter(installation, None, &[]);
        filter.insert("type".to_owned(), vec!["container".to_owned()]);
        filter.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
        let options = EventsOptionsBuilder::new().filters(&filter).build();
        // An engine that cannot be reached is an error; a stream that was open and is cut is news.
        self.read("subscribe to events", |docker| async move { docker.ping().await }).await?;
        let first = self.call("events", self.deadlines.quiet_events, |docker| async move {
            let mut stream = std::pin::pin!(docker.events(Some(options)));
            stream.next().await;
            Ok(())
        });
        // Whatever ended the wait, the caller looks for itself.
        let _ = first.await;
        Ok(())
    }
}

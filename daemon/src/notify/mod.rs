//! The operator's webhook and the plugins of the hook `notify`: told when a project comes to stand somewhere else, when it
//! nears its budget, and when the disk fills. Messages are rows first ([`crate::store::News`]); [`sender`] brings them to each
//! until it has taken them.

mod backoff;
mod sender;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::{self, SECRET_FORM, signing_key};
use crate::domain::{NoticeKind, ProjectRef, Secret};
use crate::plugin_host::PluginHost;
use crate::store::{News, Store, StoreError};

pub use sender::run;

/// Where messages are posted.
struct Webhook {
    url: String,
    key: Secret<Vec<u8>>,
}

/// What is told, and to whom, as it was configured.
pub struct Settings {
    webhook: Option<Webhook>,
    kinds: Vec<NoticeKind>,
    window_ms: i64,
    retry: Duration,
    tries: u32,
    give_up: Duration,
    deadline: Duration,
}

impl Settings {
    /// Reads the secret's file, if there is one.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn load(config: &config::Notify) -> Result<Self, String> {
        Ok(Self {
            webhook: if config.url.is_empty() { None } else { Some(Webhook::load(config)?) },
            kinds: config.events.iter().filter_map(|word| NoticeKind::from_word(word)).collect(),
            window_ms: i64::try_from(config.window_s.saturating_mul(1000)).unwrap_or(i64::MAX / 4),
            retry: Duration::from_secs(config.retry_s),
            tries: config.tries,
            give_up: Duration::from_secs(config.give_up_s),
            deadline: Duration::from_secs(config.deadline_s),
        })
    }

    /// What is to be told, and in so long the same news of the same project once, in milliseconds. Nothing, while nobody
    /// listens.
    pub fn wanted(&self, plugins: &PluginHost) -> (&[NoticeKind], i64) {
        let somebody = self.webhook.is_some() || !plugins.listeners().is_empty();
        (if somebody { &self.kinds } else { &[] }, self.window_ms)
    }
}

impl Webhook {
    fn load(config: &config::Notify) -> Result<Self, String> {
        let secret = if config.secret.is_empty() {
            let read = std::fs::read_to_string(&config.secret_file);
            read.map_err(|error| format!("notify.secret_file {}: {error}", config.secret_file.display()))?
        } else {
            config.secret.clone()
        };
        let key = signing_key(&secret).ok_or_else(|| format!("the webhook's secret: {SECRET_FORM}"))?;
        Ok(Self { url: config.url.clone(), key: Secret::new(key) })
    }
}

/// Whoever has news tells it here. Cheap to clone; while nobody listens it does nothing.
#[derive(Clone)]
pub struct Notifier {
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
}

impl Notifier {
    /// A notifier over the store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, wake: Arc::default() }
    }

    /// Tells something that is not a project's status: those are written with the status itself. `state` is a word for how
    /// it is now, for example `high` or `ok`: the same word of the same project within the window is told once. `reason` is
    /// a sentence, which may have figures. `None` for the project is the machine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tell(
        &self,
        kind: NoticeKind,
        project: Option<&ProjectRef>,
        state: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let news = News { kind, project, from: "", to: state, reason };
        if self.store.write_news(&news, self.clock.now()).await? {
            self.wake.notify_one();
        }
        Ok(())
    }
}

//! Brings what waits in the outbox to each who is to hear it. A message is claimed before it is sent, with the time of its repetition: a daemon that
//! is killed in between sends it again, under the same id. Who is known to have taken it is not told again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::RngExt;
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::backoff::{asked_for, is_over, pause};
use super::sign::signature;
use super::{Notifier, Settings, Webhook};
use crate::clock::rfc3339;
use crate::domain::{Notice, NoticeState, ProjectRef};
use crate::plugin_host::PluginHost;
use crate::plugin_host::hooks::HookError;
use crate::store::StoreError;
use crate::telemetry::Metrics;
use crate::web;

/// Messages under way at once.
const AT_ONCE: usize = 4;
/// Messages read at once.
const PAGE: u32 = 50;
/// Between two looks at the outbox that nobody asked for.
const EVERY: Duration = Duration::from_secs(2);
/// Between two looks however much happens.
const AT_MOST: Duration = Duration::from_millis(100);

/// Sends until the stop token falls. `news` wakes it: a status is written by whoever changes it.
pub async fn run(
    notifier: Notifier,
    settings: Settings,
    plugins: Arc<PluginHost>,
    mut news: broadcast::Receiver<ProjectRef>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let tls = settings.webhook.as_ref().is_some_and(|webhook| web::is_tls(&webhook.url));
    let client = if tls { web::client().no_proxy().pool_max_idle_per_host(0) } else { web::plain() };
    let client = client.timeout(settings.deadline).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "the webhook has no HTTP client: nothing is told");
            return;
        }
    };
    let sender = Sender { notifier, settings, plugins, client, metrics };
    let mut wanted = sender.settings.wanted(&sender.plugins).0;
    loop {
        let round = async {
            // A plugin that came or went while the daemon runs.
            let now = sender.settings.wanted(&sender.plugins);
            if now.0 != wanted {
                match sender.notifier.store.want_notices(now.0, now.1).await {
                    Ok(()) => wanted = now.0,
                    Err(error) => tracing::warn!(%error, "it cannot be written down what is to be told"),
                }
            }
            if let Err(error) = sender.send_due().await {
                tracing::warn!(%error, "the webhook's outbox cannot be read");
            }
            tokio::time::sleep(AT_MOST).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = sender.notifier.wake.notified() => {}
                // Falling behind is news too.
                _ = news.recv() => {}
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

struct Sender {
    notifier: Notifier,
    settings: Settings,
    plugins: Arc<PluginHost>,
    client: reqwest::Client,
    metrics: Metrics,
}

impl Sender {
    async fn send_due(&self) -> Result<(), StoreError> {
        // What waits is for somebody who is away for a moment.
        if self.settings.webhook.is_none() && self.plugins.listeners().is_empty() {
            return Ok(());
        }
        let due = self.notifier.store.due_notices(self.notifier.clock.now(), PAGE).await?;
        let sent = stream::iter(due).map(|notice| self.send(notice));
        let outcomes: Vec<Result<(), StoreError>> = sent.buffer_unordered(AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    async fn send(&self, notice: Notice) -> Result<(), StoreError> {
        let (store, settings, clock) = (&self.notifier.store, &self.settings, &self.notifier.clock);
        let tries = u32::try_from(notice.tries).unwrap_or(u32::MAX).saturating_add(1);
        let pause = pause(settings.retry, tries, rand::rng().random());
        let after = |wait: Duration| clock.now().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 4));
        let again_at = after(settings.deadline + pause);
        let Some(mut notice) = store.claim_notice(&notice.id, again_at).await? else { return Ok(()) };
        let Err(Untaken { error, not_before }) = self.tell_each(&mut notice, tries).await else {
            self.metrics.notice(notice.kind.as_str(), "sent");
            return store.notice_is(&notice.id, NoticeState::Sent, (&notice.taken_by, ""), again_at).await;
        };
        let age = Duration::from_millis(u64::try_from(clock.now() - notice.created_at).unwrap_or(0));
        if is_over(tries, age, settings.tries, settings.give_up) {
            self.metrics.notice(notice.kind.as_str(), "failed");
            tracing::warn!(notice.id, tries, error, "a message was given up; GET /platform/notifications?state=failed has it");
            return store.notice_is(&notice.id, NoticeState::Failed, (&notice.taken_by, &error), again_at).await;
        }
        self.metrics.notice(notice.kind.as_str(), "repeated");
        tracing::debug!(notice.id, tries, error, "a message was not taken");
        let pause = asked_for(pause, not_before);
        store.notice_is(&notice.id, NoticeState::Waiting, (&notice.taken_by, &error), after(pause)).await
    }

    /// Everybody who has not taken it; the first reason why somebody did not.
    async fn tell_each(&self, notice: &mut Notice, tries: u32) -> Result<(), Untaken> {
        let mut told = Ok(());
        if let Some(webhook) = self.settings.webhook.as_ref().filter(|_| !has_taken(notice, WEBHOOK)) {
            match post(webhook, &self.settings, &self.client, notice, self.notifier.clock.now() / 1000).await {
                Ok(()) => notice.taken_by.push(WEBHOOK.to_owned()),
                Err(error) => told = Err(Untaken { error, not_before: Duration::ZERO }),
            }
        }
        for plugin in self.plugins.listeners() {
            let taker = format!("plugin:{plugin}");
            if has_taken(notice, &taker) {
                continue;
            }
            let telling = self.plugins.notify(&plugin, notice.project.as_ref(), body(notice));
            let told_it = tokio::time::timeout(self.settings.deadline, telling).await;
            let late = || Untaken {
                error: format!("plugin `{plugin}` did not answer within {} s", self.settings.deadline.as_secs()),
                not_before: Duration::ZERO,
            };
            match told_it.map_err(|_| late()).and_then(|told| told.or_else(unwanted)) {
                Ok(()) => notice.taken_by.push(taker),
                // The webhook hears nothing newer of the project while this waits.
                Err(Untaken { error, .. }) if tries >= PLUGIN_TRIES => {
                    tracing::warn!(notice.id, plugin.id = plugin, error, "a plugin did not take a message and is not told again");
                    notice.taken_by.push(taker);
                }
                Err(untaken) => told = Err(untaken.after(told)),
            }
        }
        told
    }
}

/// Why somebody did not take a message, and for how long nobody is to come back with it.
struct Untaken {
    error: String,
    not_before: Duration,
}

impl Untaken {
    /// The first reason is told; the longest time counts, because a message is tried as a whole.
    fn after(self, before: Result<(), Self>) -> Self {
        match before {
            Ok(()) => self,
            Err(first) => Self { not_before: first.not_before.max(self.not_before), ..first },
        }
    }
}

/// What a plugin does not want to hear today it does not want to hear tomorrow.
fn unwanted(error: HookError) -> Result<(), Untaken> {
    let not_before = match error {
        HookError::InvalidInput { .. } | HookError::Denied { .. } => return Ok(()),
        HookError::RetryAfter { after_ms, .. } => Duration::from_millis(after_ms),
        _ => Duration::ZERO,
    };
    Err(Untaken { error: error.to_string(), not_before })
}

/// Tries of one message at a plugin.
const PLUGIN_TRIES: u32 = 5;
/// The webhook among those who take messages.
const WEBHOOK: &str = "webhook";

fn has_taken(notice: &Notice, taker: &str) -> bool {
    notice.taken_by.iter().any(|name| name == taker)
}

/// Taken is what is answered with 2xx; the answer itself is not read. No word of the address: it may hold a key.
async fn post(
    webhook: &Webhook,
    settings: &Settings,
    client: &reqwest::Client,
    notice: &Notice,
    at_s: i64,
) -> Result<(), String> {
    let body = body(notice);
    let request = client
        .post(&webhook.url)
        .header("content-type", "application/json")
        .header("user-agent", "supamanager")
        .header("webhook-id", &notice.id)
        .header("webhook-timestamp", at_s.to_string())
        .header("webhook-signature", signature(webhook.key.expose(), &notice.id, at_s, body.as_bytes()))
        .body(body);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err(format!("it did not answer within {} s", settings.deadline.as_secs())),
        Err(error) if error.is_connect() => Err("it refuses connections".to_owned()),
        Err(error) => Err(error.without_url().to_string()),
    }
}

/// The same bytes at every try.
fn body(notice: &Notice) -> String {
    json!({
        "id": notice.id,
        "kind": notice.kind.as_str(),
        "project": notice.project,
        "name": notice.name,
        "from": notice.from,
        "to": notice.to,
        "reason": notice.reason,
        "at": rfc3339(notice.at),
        "folded": notice.folded,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::NoticeKind;

    #[test]
    fn a_body_has_the_documented_fields() {
        let notice = Notice {
            id: "msg_1".to_owned(),
            kind: NoticeKind::Status,
            project: Some(ProjectRef::parse(&"a".repeat(20)).expect("a ref")),
            name: "My App".to_owned(),
            from: "CREATING".to_owned(),
            to: "ACTIVE_HEALTHY".to_owned(),
            reason: String::new(),
            at: 0,
            folded: 2,
            state: NoticeState::Waiting,
            tries: 1,
            due_at: 5,
            taken_by: Vec::new(),
            error: "a secret".to_owned(),
            created_at: 0,
        };
        let expected = json!({"id": "msg_1", "kind": "status", "project": "a".repeat(20), "name": "My App", "from": "CREATING",
            "to": "ACTIVE_HEALTHY", "reason": "", "at": "1970-01-01T00:00:00.000Z", "folded": 2});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body(&notice)).expect("JSON"), expected);
        assert_eq!(body(&notice), body(&notice.clone()));
    }
}

//! What is watched of projects, and whom it is told: the tables `[usage]` and `[notify]`.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::domain::NoticeKind;

/// What is wrong with a value: key, value, what is expected.
type Wrong = (&'static str, String, &'static str);

/// Sampling what projects use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Seconds between two samples of one project, 10 to 900.
    pub every_s: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { every_s: 60 }
    }
}

impl Usage {
    pub(super) fn wrong(&self) -> Option<Wrong> {
        let fits = (10..=900).contains(&self.every_s);
        (!fits).then(|| ("usage.every_s", self.every_s.to_string(), "expected 10 to 900"))
    }
}

/// The operator's webhook.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Where messages are posted; empty means nowhere.
    pub url: String,
    /// What they are signed with: `whsec_` and 24 to 64 bytes in base64.
    pub secret: String,
    /// A file that holds the secret, instead of `secret`.
    pub secret_file: PathBuf,
    /// What is told: `status`, `budget`, `disk`.
    pub events: Vec<String>,
    /// Seconds in which the same news of the same project is told once.
    pub window_s: u64,
    /// Seconds before the first repetition; they double, up to an hour.
    pub retry_s: u64,
    /// Tries of one message.
    pub tries: u32,
    /// Seconds after which a message is given up.
    pub give_up_s: u64,
    /// Seconds for one try.
    pub deadline_s: u64,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: String::new(),
            secret_file: PathBuf::new(),
            events: NoticeKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect(),
            window_s: 300,
            retry_s: 5,
            tries: 30,
            give_up_s: 24 * 3600,
            deadline_s: 10,
        }
    }
}

/// Without the secret, and without the path of the address: it is often one too.
impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("on", &!self.url.is_empty()).field("events", &self.events).finish_non_exhaustive()
    }
}

impl Notify {
    pub(super) fn wrong(&self) -> Option<Wrong> {
        let unknown = self.events.iter().find(|event| NoticeKind::from_word(event).is_none());
        if let Some(unknown) = unknown {
            return Some(("notify.events", unknown.clone(), "expected status, budget or disk"));
        }
        let positive = [
            ("notify.window_s", self.window_s),
            ("notify.retry_s", self.retry_s),
            ("notify.tries", u64::from(self.tries)),
            ("notify.give_up_s", self.give_up_s),
            ("notify.deadline_s", self.deadline_s),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some((key, "0".to_owned(), "must be at least 1"));
        }
        if self.url.is_empty() {
            return None;
        }
        let fits = reqwest::Url::parse(&self.url).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        if !fits {
            return Some(("notify.url", "...".to_owned(), "expected https://HOST/PATH or http://HOST/PATH"));
        }
        match (self.secret.is_empty(), self.secret_file.as_os_str().is_empty()) {
            (true, true) => {
                Some(("notify.secret", String::new(), "a webhook is signed: give notify.secret or notify.secret_file"))
            }
            (false, false) => Some(("notify.secret_file", self.secret_file.display().to_string(), "notify.secret is given too")),
            (false, true) if signing_key(&self.secret).is_none() => Some(("notify.secret", "...".to_owned(), SECRET_FORM)),
            _ => None,
        }
    }
}

/// What a signing secret must be.
pub const SECRET_FORM: &str = "expected whsec_ and 24 to 64 bytes in base64: `echo whsec_$(openssl rand -base64 32)` makes one";

/// The bytes of a signing secret; `None` when it has another form.
pub fn signing_key(secret: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.trim().strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_needs_an_address_and_a_secret_of_the_right_form() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let right = Notify { url: "http://hooks.example/x".to_owned(), secret: secret.to_owned(), ..Notify::default() };
        assert_eq!(right.wrong(), None);
        assert!(!format!("{right:?}").contains("MfKQ") && !format!("{right:?}").contains("hooks"));
        assert_eq!(Notify::default().wrong(), None, "no webhook is fine");
        let key = |notify: Notify| notify.wrong().map(|(key, ..)| key);
        let tls = Notify { url: "https://hooks.example/x".to_owned(), ..right.clone() };
        assert_eq!(tls.wrong(), None);
        for url in ["https://", "hooks.example", "http://", "ftp://x/"] {
            assert_eq!(key(Notify { url: url.to_owned(), ..right.clone() }), Some("notify.url"), "{url}");
        }
        for secret in ["", "whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"] {
            assert_eq!(key(Notify { secret: secret.to_owned(), ..right.clone() }), Some("notify.secret"), "{secret}");
        }
        assert_eq!(key(Notify { secret_file: "/a".into(), ..right.clone() }), Some("notify.secret_file"));
        assert_eq!(key(Notify { events: vec!["weather".to_owned()], ..right.clone() }), Some("notify.events"));
        assert_eq!(key(Notify { tries: 0, ..right }), Some("notify.tries"));
        assert_eq!(Usage { every_s: 9 }.wrong().map(|(key, ..)| key), Some("usage.every_s"));
    }
}

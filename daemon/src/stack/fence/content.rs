//! What runs inside: image, variables, user, checks.

use std::collections::BTreeSet;

use super::{Findings, Subject};
use crate::stack::{ImageReference, compose};

/// Images are code: only those of the chosen image set, or of a place the operator allowed.
pub fn image_not_allowed(subject: &Subject<'_>, out: &mut Findings) {
    let path = subject.path("image");
    let image = match ImageReference::parse(&subject.service.image) {
        Ok(image) => image,
        Err(reason) => return out.add("image_not_allowed", path, reason),
    };
    let rules = subject.rules;
    let of_the_set = rules.images.iter().filter(|(name, _)| name == subject.name);
    let same = |text: &str| ImageReference::parse(text).is_ok_and(|allowed| allowed == image);
    let allowed =
        of_the_set.into_iter().any(|(_, text)| same(text)) || rules.image_prefixes.iter().any(|prefix| image.is_under(prefix));
    if !allowed {
        let message = format!(
            "is `{image}`, which is not the image set's for `{}`: use services.{}.image, or allow its prefix in the configuration",
            subject.name, subject.name
        );
        out.add("image_not_allowed", path, message);
    }
}

/// A variable is `NAME=value` on the wire, so the name must not hold what ends it.
pub fn variable_name(subject: &Subject<'_>, out: &mut Findings) {
    for key in subject.service.environment.keys() {
        let head = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let body = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !head || !body || key.len() > 128 {
            out.add(
                "variable_name",
                subject.path(&format!("environment.{key}")),
                "is not a variable's name: use letters, digits and _",
            );
        }
    }
}

/// A service sees the secrets that its set declares for files, never the owner's password or a guess.
pub fn undeclared_secret(subject: &Subject<'_>, out: &mut Findings) {
    for (key, value) in &subject.service.environment {
        let path = subject.path(&format!("environment.{key}"));
        match compose::references(value) {
            Err(error) => out.add("undeclared_secret", path, error.to_string()),
            Ok(names) => {
                // Once each: a value has room for 8 000 references.
                let names: BTreeSet<&str> = names.into_iter().collect();
                for name in names.into_iter().filter(|name| !subject.rules.secrets.iter().any(|known| known == name)) {
                    let message = format!(
                        "refers to `{name}`: declare it as a [[secret]] in set.toml (an owner's password is never given to a container)"
                    );
                    out.add("undeclared_secret", path.clone(), message);
                }
            }
        }
    }
}

/// A user or uid, with an optional group. Root inside a container is allowed: db's entrypoint needs it.
pub fn user(subject: &Subject<'_>, out: &mut Findings) {
    let word = |text: &str| {
        !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    if let Some(user) = subject.service.user.as_deref() {
        let mut parts = user.split(':');
        let fits = parts.next().is_some_and(word) && parts.next().is_none_or(word) && parts.next().is_none();
        if !fits {
            out.add("user", subject.path("user"), format!("is {user:?}: write a name or number, or user:group"));
        }
    }
}

/// A signal's name or number.
pub fn stop_signal(subject: &Subject<'_>, out: &mut Findings) {
    if let Some(signal) = subject.service.stop_signal.as_deref() {
        let name = signal.strip_prefix("SIG").is_some_and(|rest| {
            (2..=10).contains(&rest.len())
                && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-'))
        });
        let number = signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
        if !name && !number {
            out.add(
                "stop_signal",
                subject.path("stop_signal"),
                format!("is {signal:?}: write a name such as SIGINT, or a number up to 64"),
            );
        }
    }
}

/// Each check is an exec on the host: hundreds of containers checked every second would be a load of its own.
pub fn healthcheck(subject: &Subject<'_>, out: &mut Findings) {
    let Some(check) = &subject.service.healthcheck else { return };
    let path = |rest: &str| subject.path(&format!("healthcheck.{rest}"));
    let words = check.test.len();
    let test_fits = match check.test.first().map(String::as_str) {
        Some("NONE") => words == 1,
        Some("CMD") => words >= 2,
        Some("CMD-SHELL") => words == 2,
        _ => false,
    };
    if !test_fits {
        out.add("healthcheck", path("test"), "must begin with CMD and a program, with CMD-SHELL and one line, or be [NONE]");
    }
    if !(1_000..=3_600_000).contains(&check.interval_ms) {
        out.add("healthcheck", path("interval"), "must be between 1s and 1h");
    }
    if !(100..=600_000).contains(&check.timeout_ms) {
        out.add("healthcheck", path("timeout"), "must be between 100ms and 10m");
    }
    if !(1..=100).contains(&check.retries) {
        out.add("healthcheck", path("retries"), "must be between 1 and 100");
    }
    if check.start_period_ms > 3_600_000 {
        out.add("healthcheck", path("start_period"), "must be at most 1h");
    }
}

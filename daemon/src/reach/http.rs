//! One HTTP exchange with a service: what may be sent, and what may come back.

use std::net::Ipv4Addr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::Wire;
use crate::plugin_host::hooks::{AccessError, ServiceRequest, ServiceResponse};
use crate::secrets::ProjectSecrets;
use crate::stack::compose::resolve;

/// A header that would let the caller choose another database of the meta service (stack-facts 3.8).
const STRIPPED: &str = "x-connection-encrypted";

/// Fills the references of the request's headers in, and takes secrets out of the answer.
pub(super) async fn exchange(
    wire: &dyn Wire,
    address: Ipv4Addr,
    request: ServiceRequest,
    secrets: &ProjectSecrets,
) -> Result<ServiceResponse, AccessError> {
    if !request.path.starts_with('/') {
        return Err(AccessError::Denied(format!("path `{}` must begin with /", request.path)));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        if name.eq_ignore_ascii_case(STRIPPED) {
            continue;
        }
        let denied = || AccessError::Denied(format!("header `{name}` is malformed"));
        let filled =
            resolve(value, |name| secrets.get(name)).map_err(|error| AccessError::Denied(format!("header `{name}` {error}")))?;
        let mut value = HeaderValue::from_str(filled.expose()).map_err(|_| denied())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| denied())?, value);
    }
    // A byte more than is passed on, which tells whether there was more.
    let limit = request.body_limit;
    let request = ServiceRequest { body_limit: limit + 1, ..request };
    let mut answer = wire.http(address, request, headers).await?;
    for (_, value) in &mut answer.headers {
        *value = secrets.redact(value);
    }
    let cut = answer.body.len() > limit;
    answer.body.truncate(limit);
    answer.body = scrubbed(&answer.body, cut, secrets);
    Ok(answer)
}

/// The body without secrets. It may hold bytes that are no text, between which text is looked through; where its end is
/// missing, as much of it goes as may be the first part of a secret.
fn scrubbed(body: &[u8], cut: bool, secrets: &ProjectSecrets) -> Vec<u8> {
    let mut clean = Vec::with_capacity(body.len());
    let mut pieces = body.utf8_chunks().peekable();
    while let Some(piece) = pieces.next() {
        let last = cut && pieces.peek().is_none();
        clean.extend_from_slice(secrets.redact_piece(piece.valid(), false, last).as_bytes());
        if !last {
            clean.extend_from_slice(piece.invalid());
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn secrets() -> ProjectSecrets {
        let values = [("JWT_SECRET", "0123456789abcdef"), ("DB_PASS", "p\u{e9}p\u{e9}-secret")];
        ProjectSecrets::from_values(
            values.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned()))).collect(),
        )
    }

    #[test]
    fn bytes_that_are_no_text_hide_no_secret() {
        let body = b"\xff{\"key\": \"0123456789abcdef\"}\xfe\xfd0123456789abcdef";
        assert_eq!(scrubbed(body, false, &secrets()), b"\xff{\"key\": \"[JWT_SECRET]\"}\xfe\xfd[JWT_SECRET]");
        assert_eq!(scrubbed(b"\0\x80plain", false, &secrets()), b"\0\x80plain", "what is none is left as it is");
    }

    #[test]
    fn a_body_that_is_cut_ends_before_what_may_be_the_beginning_of_a_secret() {
        let whole = format!("{} 0123456789abcdef", "a".repeat(200));
        for end in whole.len() - 16..whole.len() {
            let kept = scrubbed(&whole.as_bytes()[..end], true, &secrets());
            assert!(!kept.windows(3).any(|three| three == b"012"), "cut at {end}");
            assert!(kept.len() > 60, "cut at {end}: {} bytes are left", kept.len());
        }
        // In the middle of a letter of two bytes: the half of it goes too.
        let half = format!("{} p\u{e9}", "a".repeat(200));
        let kept = scrubbed(&half.as_bytes()[..half.len() - 1], true, &secrets());
        assert!(kept.iter().all(|byte| *byte == b'a' || *byte == b' '), "{kept:?}");
    }
}

//! One HTTP exchange with a service.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::plugin_host::hooks::{AccessError, ServiceRequest, ServiceResponse};
use crate::secrets::ProjectSecrets;
use crate::stack::compose::resolve;

/// A header that would let the caller choose another database of the meta service (stack-facts 3.8).
const STRIPPED: &str = "x-connection-encrypted";

pub(super) async fn exchange(
    client: &reqwest::Client,
    address: Ipv4Addr,
    request: ServiceRequest,
    secrets: &ProjectSecrets,
) -> Result<ServiceResponse, AccessError> {
    let place = format!("{}:{}", request.service, request.port);
    if !request.path.starts_with('/') {
        return Err(AccessError::Denied(format!("path `{}` must begin with /", request.path)));
    }
    let method = request.method.parse().map_err(|_| AccessError::Denied(format!("`{}` is no method", request.method)))?;
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
    let deadline = request.deadline;
    let url = format!("http://{address}:{}{}", request.port, request.path);
    let call = client.request(method, url).headers(headers).body(request.body).timeout(deadline).send();
    let answer = call.await.map_err(|error| failure(&place, deadline.as_millis(), &error))?;
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), secrets.redact(value.to_str().ok()?))));
    let headers = headers.collect();
    let mut body = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| failure(&place, deadline.as_millis(), &error))?;
        let room = request.body_limit.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    let body = match String::from_utf8(body) {
        Ok(text) => secrets.redact(&text).into_bytes(),
        Err(binary) => binary.into_bytes(),
    };
    Ok(ServiceResponse { status, headers, body })
}

/// reqwest's own text holds the address, which is nobody's business.
fn failure(place: &str, deadline_ms: u128, error: &reqwest::Error) -> AccessError {
    if error.is_timeout() {
        AccessError::TimedOut(format!("{place} did not answer within {deadline_ms} ms"))
    } else if error.is_connect() {
        AccessError::Refused(format!("{place} refuses connections"))
    } else {
        AccessError::Failed(format!("{place} broke off"))
    }
}

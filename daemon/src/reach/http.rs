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
    let mut answer = wire.http(address, request, headers).await?;
    for (_, value) in &mut answer.headers {
        *value = secrets.redact(value);
    }
    answer.body = match String::from_utf8(answer.body) {
        Ok(text) => secrets.redact(&text).into_bytes(),
        Err(binary) => binary.into_bytes(),
    };
    Ok(answer)
}

//! The way of plugins to hosts outside. Which host a plugin may reach was decided before; here is decided where its name may
//! lead: never into this machine or a private network, whatever a name server says, unless the operator gave the address. The
//! address that was looked at is the one that is connected to.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::wire;
use crate::plugin_host::hooks::{AccessError, Egress, OutsideRequest, ServiceResponse};
use crate::web;

/// Headers that belong to the connection, and the one that could say another host than the one that is granted.
const OURS: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization"];

/// The network beyond this machine.
pub struct Outside;

#[async_trait]
impl Egress for Outside {
    async fn send(&self, request: OutsideRequest) -> Result<ServiceResponse, AccessError> {
        let OutsideRequest { url, address, method, headers, body, deadline, body_limit } = request;
        let host = url.host_str().unwrap_or_default().to_owned();
        let place = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        let method = method.parse().map_err(|_| AccessError::Denied(format!("`{method}` is no method")))?;
        let headers = headers_of(&headers)?;
        let addresses = match address {
            Some(address) => vec![SocketAddr::new(address, 0)],
            None => resolve(&host, &place).await?,
        };
        let failed = |error: &reqwest::Error| match distrust(error) {
            Some(words) => AccessError::Failed(format!("{place} is not trusted: {words}")),
            None => wire::failure(&place, deadline.as_millis(), error),
        };
        let client = web::client().no_proxy().pool_max_idle_per_host(0).resolve_to_addrs(&host, &addresses).build();
        let client = client.map_err(|error| failed(&error))?;
        let call = client.request(method, url).headers(headers).body(body).timeout(deadline).send();
        wire::read(call.await.map_err(|error| failed(&error))?, body_limit, failed).await
    }
}

/// What is wrong with a certificate, if that is what failed: to a client it is a connection like any that does not come about.
fn distrust(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if words.contains("certificate") {
            return Some(words);
        }
        cause = error.source();
    }
    None
}

fn headers_of(wanted: &[(String, String)]) -> Result<HeaderMap, AccessError> {
    let mut headers = HeaderMap::new();
    for (name, value) in wanted {
        let wrong = || AccessError::Denied(format!("the header `{}` cannot be sent", name.escape_debug()));
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        if OURS.contains(&name.as_str()) {
            return Err(wrong());
        }
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// The public addresses of a name.
async fn resolve(host: &str, place: &str) -> Result<Vec<SocketAddr>, AccessError> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| AccessError::Refused(format!("{place}: there is no such name")))?.collect();
    let public: Vec<SocketAddr> =
        found.iter().copied().filter(|address| is_public(address.ip()) && !is_ours(address.ip())).collect();
    if public.is_empty() {
        return Err(AccessError::Denied(format!(
            "{place} leads into a private network: the operator can name its address, `{place}=ADDRESS` under plugin_egress"
        )));
    }
    Ok(public)
}

/// Whether an address is this machine's own, which a firewall before it does not see: only then can it be bound.
fn is_ours(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Whether an address is one of the internet's (<https://www.iana.org/assignments/iana-ipv4-special-registry> and the one of
/// IPv6). What carries an IPv4 address inside is judged by that.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), address.segments()) {
            (Some(inner), _) => is_public_v4(inner),
            (None, [0x64, 0xff9b, 0, 0, 0, 0, high, low]) => is_public_v4(joined(high, low)),
            (None, [0x2002, high, low, ..]) => is_public_v4(joined(high, low)),
            (None, segments) => is_public_v6(segments),
        },
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let inner = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [169, 254, ..] | [192, 168, ..] | [192, 0, 0 | 2, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [172, second, ..] => (16..32).contains(&second),
        [first, ..] => first >= 224,
    };
    !inner
}

/// Global unicast is 2000::/3; of it, documentation, tunnels and benchmarks are not somebody's own host.
fn is_public_v6([first, second, ..]: [u16; 8]) -> bool {
    let special = first == 0x2001 && (second < 0x200 || second == 0xdb8);
    first & 0xe000 == 0x2000 && !special && !(first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_internet_or_nowhere() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(inner.parse().unwrap()), "{inner}");
        }
        for public in
            ["1.1.1.1", "100.63.0.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101", "2001:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_denied_and_a_header_says_no_other_host() {
        assert!(
            matches!(resolve("localhost", "localhost:443").await, Err(AccessError::Denied(words)) if words.contains("plugin_egress"))
        );
        for (name, value) in [("Host", "a"), ("transfer-encoding", "chunked"), ("a b", "c"), ("a", "b\r\nc: d")] {
            assert!(matches!(headers_of(&[(name.to_owned(), value.to_owned())]), Err(AccessError::Denied(_))), "{name}");
        }
        assert!(headers_of(&[("Authorization".to_owned(), "Bearer x".to_owned())]).is_ok());
    }
}

//! Hosts outside that a plugin may reach, one by one: `HOST` is https on port 443, `HOST:PORT` that port over https or http,
//! and `HOST[:PORT]=ADDRESS`, for the operator alone, says where the host is, which may be a private network.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EgressHost {
    host: String,
    port: Option<u16>,
    address: Option<IpAddr>,
}

impl EgressHost {
    /// Reads an entry.
    ///
    /// # Errors
    /// A sentence saying what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no host: expected hooks.example.org, hooks.example.org:8443 or name:port=address");
        let (place, address) = match text.split_once('=') {
            Some((place, address)) => (place, Some(address.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        // The reader of URLs decides what a host is, so that both sides of a comparison were read alike.
        let url = Url::parse(&format!("https://{place}/")).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        let (named, port) = match place.rsplit_once(':') {
            Some((named, port)) if !port.ends_with(']') => (named, Some(port.parse().map_err(|_| wrong())?)),
            _ => (place, None),
        };
        if !named.eq_ignore_ascii_case(&host) || port == Some(0) {
            return Err(wrong());
        }
        let literal = host.trim_matches(['[', ']']).parse().ok();
        Ok(Self { host, port, address: address.or(literal) })
    }

    /// Where the operator says it is.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn admits(&self, url: &Url) -> bool {
        let port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.scheme() == "https" && url.port().is_none(),
        };
        port && url.host_str() == Some(&self.host)
    }
}

impl TryFrom<String> for EgressHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<EgressHost> for String {
    fn from(host: EgressHost) -> Self {
        host.to_string()
    }
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let is_literal = |address: IpAddr| self.host.trim_matches(['[', ']']).parse() == Ok(address);
        match self.address {
            Some(address) if !is_literal(address) => write!(f, "={address}"),
            _ => Ok(()),
        }
    }
}

/// What the operator lets plugins reach, by plugin.
///
/// # Errors
/// A sentence naming the plugin and the entry that is none.
pub fn of_plugins(entries: BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Vec<EgressHost>>, String> {
    let of_one = |(plugin, hosts): (String, Vec<String>)| {
        let hosts: Result<Vec<EgressHost>, String> = hosts.iter().map(|host| EgressHost::parse(host)).collect();
        hosts.map(|hosts| (plugin.clone(), hosts)).map_err(|problem| format!("plugin_egress of `{plugin}`: {problem}"))
    };
    entries.into_iter().map(of_one).collect()
}

/// The URL that a guest wrote, when one of the hosts is its host, and the address that entry gives.
///
/// # Errors
/// A sentence without the URL's path, which is often a secret.
pub fn allowed(text: &str, hosts: &[EgressHost]) -> Result<(Url, Option<IpAddr>), String> {
    let mut url = Url::parse(text).map_err(|error| format!("`url`: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("`url` begins with {}: expected https or http", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url` holds a user name or a password: put them into a header".to_owned());
    }
    url.set_fragment(None);
    match hosts.iter().find(|host| host.admits(&url)) {
        Some(host) => Ok((url, host.address)),
        None => {
            let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
            let known: Vec<String> = hosts.iter().map(EgressHost::to_string).collect();
            let known = if known.is_empty() { "no host is granted".to_owned() } else { format!("granted: {}", known.join(", ")) };
            Err(format!(
                "{} to {place} is not granted to this plugin, by `egress` of plugin.toml or `plugin_egress`; {known}",
                url.scheme()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[&str]) -> Vec<EgressHost> {
        entries.iter().map(|entry| EgressHost::parse(entry).unwrap()).collect()
    }

    #[test]
    fn an_entry_is_read_and_written_alike() {
        for text in ["hooks.example.org", "hooks.example.org:8443", "relay:8080=10.0.0.5", "10.0.0.5:9000", "[::1]:9000", "x=::1"]
        {
            assert_eq!(EgressHost::parse(text).map(String::from).as_deref(), Ok(text));
        }
        for text in ["", "a b", "https://a", "a/b", "a:0", "a:99999", "a=b", "u@a", "*.example.org/x", "a?b", "a#b", ":80"] {
            assert!(EgressHost::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_listed_is_reached_and_over_tls_unless_a_port_is_named() {
        let hosts = hosts(&["hooks.example.org", "relay:8080=10.0.0.5", "10.0.0.5:9000"]);
        let address = |url: &str| allowed(url, &hosts).map(|(_, address)| address.map(|address| address.to_string()));
        assert_eq!(address("https://hooks.example.org/a?b#c"), Ok(None));
        assert_eq!(address("https://HOOKS.example.org:443/"), Ok(None));
        assert_eq!(address("http://relay:8080/x"), Ok(Some("10.0.0.5".to_owned())));
        assert_eq!(address("http://10.0.0.5:9000/x"), Ok(Some("10.0.0.5".to_owned())));
        for url in [
            "http://hooks.example.org/",
            "https://hooks.example.org:8443/",
            "https://hooks.example.org./",
            "https://evil.hooks.example.org/",
            "https://hooks.example.org.evil/",
            "https://hooks.example.org@evil/",
            "https://u:p@hooks.example.org/",
            "https://evil/#hooks.example.org",
            "https://evil\\@hooks.example.org/",
            "http://relay/",
            "http://0x0a000005:9001/",
            "file:///etc/passwd",
            "hooks.example.org",
        ] {
            let refused = allowed(url, &hosts);
            assert!(refused.is_err(), "{url}: {refused:?}");
        }
        let words = allowed("https://evil.example/T000/SECRET", &hosts).unwrap_err();
        assert!(!words.contains("SECRET") && words.contains("evil.example:443") && words.contains("relay:8080"), "{words}");
    }
}

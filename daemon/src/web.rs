//! The one place that makes HTTP clients. TLS is rustls with ring, which needs no other tool to be built, and trusts whom the
//! system trusts (`SSL_CERT_FILE` names another list). Nobody follows a redirect: it would lead where nobody looked.

use std::sync::Once;

use reqwest::ClientBuilder;
use reqwest::redirect::Policy;

/// For https and http.
pub fn client() -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    // Somebody who linked this crate may have chosen another one already, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().redirect(Policy::none())
}

/// For http on the engine's host and in its networks: it trusts no certificate, so that it also works where the system has no
/// list of authorities, passes by every proxy, and keeps no connection to an address that another project may get next.
pub fn plain() -> ClientBuilder {
    client().tls_certs_only([]).no_proxy().pool_max_idle_per_host(0)
}

/// Whether an address asks for TLS, however it is written.
pub fn is_tls(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "https")
}

//! How fedgate speaks HTTP to others: Prometheus's `http_config` keys, shared by scrapes and HTTP discovery.
//!
//! Prometheus writes these keys inline beside a job's own; serde cannot flatten and refuse unknown keys at once, so the
//! owning structs repeat them and offer one as [`HttpClientConfig`].

use std::path::PathBuf;

use serde::Deserialize;

use super::scrape::HttpHeader;
use super::text::{Secret, UrlText};

/// The keys of Prometheus's `http_config` in one place: what a client needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password; excludes `authorization`.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; excludes `basic_auth`.
    pub authorization: Option<Authorization>,
    /// How the server's certificate is verified and which one is shown to it.
    pub tls_config: TlsClientConfig,
    /// Proxy for every request: `http://`, `https://` or `socks5://`.
    pub proxy_url: Option<UrlText>,
    /// Hosts, domains and networks that are reached without the proxy, with commas between.
    pub no_proxy: String,
    /// Whether 3xx answers are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated over TLS.
    pub enable_http2: bool,
    /// Further request headers, by name.
    pub http_headers: std::collections::BTreeMap<String, HttpHeader>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        HttpClientConfig {
            basic_auth: None,
            authorization: None,
            tls_config: TlsClientConfig::default(),
            proxy_url: None,
            no_proxy: String::new(),
            follow_redirects: true,
            enable_http2: true,
            http_headers: Default::default(),
        }
    }
}

/// HTTP basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user's name; excludes `username_file`.
    pub username: String,
    /// File that holds the user's name, read again at each request.
    pub username_file: Option<PathBuf>,
    /// The password; `password_file` keeps it out of this file.
    pub password: Option<Secret>,
    /// File that holds the password, read again at each request.
    pub password_file: Option<PathBuf>,
}

/// An `Authorization` header of any type but Basic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The scheme's name. Default `Bearer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows the scheme; `credentials_file` keeps it out of this file.
    pub credentials: Option<Secret>,
    /// File that holds the credentials, read again at each request.
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { kind: "Bearer".to_owned(), credentials: None, credentials_file: None }
    }
}

/// TLS as a client: whom to trust, what to show. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsClientConfig {
    /// PEM file of the CAs to trust. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate and its chain; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client certificate's key; needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Name that the certificate must have. Default: the URL's host, which is what is sent as SNI in any case.
    pub server_name: Option<String>,
    /// Trust any certificate. Default false; refused for `push`.
    pub insecure_skip_verify: bool,
    /// Lowest version to accept: `TLS12` or `TLS13`. Default `TLS12`; `push` always speaks 1.3.
    pub min_version: Option<TlsVersion>,
}

/// A version of TLS, in Prometheus's spelling. Older ones than 1.2 are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "TLS12")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "TLS13")]
    Tls13,
}

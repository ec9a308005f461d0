//! TLS of the readers' listener, in the keys of exporter-toolkit's web configuration file.

use std::path::PathBuf;

use serde::Deserialize;

use super::client::TlsVersion;

/// `tls_server_config`: certificate, key and what is asked of clients. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTlsConfig {
    /// PEM file of the server's certificate and chain. Required.
    pub cert_file: PathBuf,
    /// PEM file of its key. Required.
    pub key_file: PathBuf,
    /// Whether clients show a certificate. Default `NoClientCert`.
    pub client_auth_type: ClientAuthType,
    /// PEM file of the CAs that sign the clients' certificates; needed where they are verified.
    pub client_ca_file: Option<PathBuf>,
    /// Lowest version to accept: `TLS12` or `TLS13`. Default `TLS12`.
    pub min_version: Option<TlsVersion>,
}

/// What the readers' listener asks of clients. exporter-toolkit's types that ask without verifying are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuthType {
    /// Nothing.
    #[default]
    NoClientCert,
    /// A certificate may be shown, and is verified then.
    VerifyClientCertIfGiven,
    /// A certificate must be shown, and is verified.
    RequireAndVerifyClientCert,
}

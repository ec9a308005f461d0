//! What a listener's TLS is made of, as its configuration names it.
//!
//! The two listeners say it in different sections: the push listener in `push.tls_config`, which leaves no choice, and the
//! readers' in exporter-toolkit's keys. From here on both are the same.

use std::path::PathBuf;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::config::{ClientAuthType, ListenerTlsConfig, PushTlsConfig, TlsVersion};

/// Who must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody is asked.
    None,
    /// Who shows one is verified; others come in without an identity.
    IfGiven,
    /// Everybody.
    Required,
}

/// Which versions a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.3 only: both ends are ours.
    V13,
    /// 1.2 as well: the other end is whatever scrapes the site.
    V12AndV13,
}

impl TlsVersions {
    /// From the lowest version that a configuration allows.
    pub(super) fn at_least(lowest: Option<TlsVersion>) -> TlsVersions {
        match lowest {
            Some(TlsVersion::Tls13) => TlsVersions::V13,
            Some(TlsVersion::Tls12) | None => TlsVersions::V12AndV13,
        }
    }

    pub(super) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            TlsVersions::V13 => &ALL[..1],
            TlsVersions::V12AndV13 => &ALL,
        }
    }
}

/// Where a listener's TLS stands on disk.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// The server's certificate, then its intermediates.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// CAs that client certificates come from; needed unless `client_auth` is `None`.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of those CAs, one after the other.
    pub revocation_list: Option<PathBuf>,
    /// Who must show a certificate.
    pub client_auth: ClientAuth,
    /// Which versions are spoken.
    pub versions: TlsVersions,
}

impl ServerFiles {
    /// The push listener: mutual TLS 1.3, always.
    pub fn of_push(config: &PushTlsConfig) -> ServerFiles {
        ServerFiles {
            certificate: config.cert_file.clone(),
            key: config.key_file.clone(),
            client_ca: Some(config.client_ca_file.clone()),
            revocation_list: config.crl_file.clone(),
            client_auth: ClientAuth::Required,
            versions: TlsVersions::V13,
        }
    }

    /// The readers' listener.
    pub fn of_readers(config: &ListenerTlsConfig) -> ServerFiles {
        ServerFiles {
            certificate: config.cert_file.clone(),
            key: config.key_file.clone(),
            client_ca: config.client_ca_file.clone(),
            revocation_list: None,
            client_auth: match config.client_auth_type {
                ClientAuthType::NoClientCert => ClientAuth::None,
                ClientAuthType::VerifyClientCertIfGiven => ClientAuth::IfGiven,
                ClientAuthType::RequireAndVerifyClientCert => ClientAuth::Required,
            },
            versions: TlsVersions::at_least(config.min_version),
        }
    }
}

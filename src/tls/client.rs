//! What a client needs to speak TLS: whom it trusts, and who it says it is.
//!
//! Two users with two needs: the push to a gateway (TLS 1.3, our own CA, a client certificate) and scrapes of whatever
//! serves metrics (TLS 1.2 as well, the system's roots unless a CA is named). Like the server's, a configuration is one
//! reading of the files; [`ClientTls::read`] again and compare digests to see whether to go over to a new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::TlsError;
use super::identity::Identity;
use super::pem::{PemFile, Validity, digest};
use super::server::{alpn, key_fault};
use super::server_files::TlsVersions;
use super::server_verifier::verifier;
use crate::config::TlsClientConfig;
use crate::model::Timestamp;

/// Where a client's TLS stands on disk, with Prometheus's meaning of each key of `tls_config`.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// CAs of the server; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate, then its intermediates; goes with `key`.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have; `None`: the URL's host.
    pub server_name: Option<String>,
    /// Take any server for the right one.
    pub insecure_skip_verify: bool,
    /// Which versions are spoken.
    pub versions: TlsVersions,
    /// Offer HTTP/2.
    pub h2: bool,
}

impl ClientFiles {
    /// The push to a gateway: TLS 1.3, whatever the section says.
    pub fn of_push(config: &TlsClientConfig) -> ClientFiles {
        ClientFiles { versions: TlsVersions::V13, ..ClientFiles::of(config, true) }
    }

    /// Scrapes and service discovery.
    pub fn of(config: &TlsClientConfig, h2: bool) -> ClientFiles {
        ClientFiles {
            ca: config.ca_file.clone(),
            certificate: config.cert_file.clone(),
            key: config.key_file.clone(),
            server_name: config.server_name.clone(),
            insecure_skip_verify: config.insecure_skip_verify,
            versions: TlsVersions::at_least(config.min_version),
            h2,
        }
    }
}

impl ClientFiles {
    /// The files that can change.
    pub fn paths(&self) -> Vec<&Path> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten().map(PathBuf::as_path).collect()
    }
}

/// One reading of a client's files.
#[derive(Clone)]
pub struct ClientTls {
    digest: blake3::Hash,
    config: Arc<ClientConfig>,
    own: Option<OwnCertificate>,
}

/// What a client shows.
#[derive(Clone)]
struct OwnCertificate {
    path: PathBuf,
    identity: Arc<Identity>,
    validity: Validity,
}

impl ClientTls {
    /// Reads the files. A certificate outside its validity is no error here: [`ClientTls::check_validity`].
    pub fn read(files: &ClientFiles) -> Result<ClientTls, TlsError> {
        let ca = files.ca.as_deref().map(PemFile::read).transpose()?;
        let pair = read_pair(files)?;
        let all = ca.iter().chain(pair.iter().flat_map(|(certificate, key)| [certificate, key]));
        let digest = digest(all);
        let builder = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(files.versions.supported())?
            .dangerous()
            .with_custom_certificate_verifier(verifier(files, ca.as_ref())?);
        let (mut config, own) = match &pair {
            None => (builder.with_no_client_auth(), None),
            Some((certificate, key)) => {
                let chain = certificate.certificates()?;
                let own = OwnCertificate::of(certificate, &chain[0])?;
                let config = builder
                    .with_client_auth_cert(chain, key.key()?)
                    .map_err(|error| key_fault(error, &certificate.path, &key.path))?;
                (config, Some(own))
            }
        };
        config.alpn_protocols = alpn(files.h2);
        config.resumption = Resumption::disabled();
        Ok(ClientTls { digest, config: Arc::new(config), own })
    }

    /// Whether both were read from files with the same content.
    pub fn is_same(&self, other: &ClientTls) -> bool {
        self.digest == other.digest
    }

    /// The names and dates of the certificate that this client shows.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.own.as_ref().map(|own| &own.identity)
    }

    /// Whether our own certificate counts at `now`.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), TlsError> {
        self.own.as_ref().map_or(Ok(()), |own| own.validity.check(&own.path, now))
    }

    /// For clients that take a whole configuration.
    pub(crate) fn config(&self) -> ClientConfig {
        (*self.config).clone()
    }

    /// A handshake over an open stream, and who the server showed to be. In TLS 1.3 the server judges our certificate
    /// only after this: its refusal comes with the first read.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<(TlsStream<S>, Identity)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let server = shown.map_or_else(|| Err("no certificate".to_owned()), Identity::of).map_err(io::Error::other)?;
        Ok((stream, server))
    }
}

impl OwnCertificate {
    fn of(file: &PemFile, leaf: &CertificateDer<'_>) -> Result<OwnCertificate, TlsError> {
        let refused = |reason| TlsError::BadCertificate { path: file.path.clone(), reason };
        Ok(OwnCertificate {
            path: file.path.clone(),
            identity: Arc::new(Identity::of(leaf).map_err(refused)?),
            validity: Validity::of(file, leaf)?,
        })
    }
}

fn read_pair(files: &ClientFiles) -> Result<Option<(PemFile, PemFile)>, TlsError> {
    match (&files.certificate, &files.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((PemFile::read(certificate)?, PemFile::read(key)?))),
        (Some(path), None) | (None, Some(path)) => Err(TlsError::HalfPair { path: path.clone() }),
    }
}

pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::BadServerName { name: name.to_owned() })
}

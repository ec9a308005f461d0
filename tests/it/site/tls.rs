//! A connection that shows a client's certificate, without any of what is tested.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http;

/// Connects to `localhost`, whose certificate `ca` has signed, with a certificate and its key.
pub(super) fn connect(port: u16, ca: &Path, own: &[PathBuf; 2]) -> StreamOwned<ClientConnection, TcpStream> {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let certificate = |path: &Path| CertificateDer::from_pem_slice(&read(path)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).expect("an authority's certificate");
    let key = PrivateKeyDer::from_pem_slice(&read(&own[1])).expect("a key");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&own[0])], key)
        .expect("a certificate with its key");
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    StreamOwned::new(connection, http::connect(port))
}

//! The demo's throwaway certificates: a CA of its own in a temporary folder that only this user can read, removed when
//! the demo ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::cli::start::StartError;
use crate::config::{PushTlsConfig, TlsClientConfig};
use crate::runtime::clock;
use crate::tls::ca::{Authority, Issued};

/// Whose certificates these are; `.internal` is reserved for names that mean nothing outside.
const TRUST_DOMAIN: &str = "demo.internal";

/// The identity of a cluster's collector.
pub(super) fn identity(cluster: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/collector/{cluster}")
}

/// Everything that was issued; dropping it removes the folder.
pub(super) struct Keys {
    folder: Folder,
    ca: Authority,
    gateway: Issued,
    collectors: HashMap<String, Issued>,
}

impl Keys {
    /// Makes the CA, the gateway's certificate and one for each cluster's collector.
    pub(super) fn make<'a>(clusters: impl Iterator<Item = &'a str>) -> Result<Keys, StartError> {
        let folder = Folder::new()?;
        let now = clock::now();
        let ca = Authority::init(&folder.0, TRUST_DOMAIN, now)?;
        let gateway = ca.issue_gateway(&["127.0.0.1".to_owned(), "localhost".to_owned()], now)?;
        let issue = |cluster: &str| Ok((cluster.to_owned(), ca.issue_collector(cluster, &[], now)?));
        let collectors = clusters.map(issue).collect::<Result<_, StartError>>()?;
        Ok(Keys { folder, ca, gateway, collectors })
    }

    /// Where they lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// What the push listener shows and trusts.
    pub(super) fn gateway(&self) -> PushTlsConfig {
        PushTlsConfig {
            cert_file: self.gateway.certificate.clone(),
            key_file: self.gateway.key.clone().unwrap_or_default(),
            client_ca_file: self.ca.certificate_path(),
            crl_file: Some(self.ca.revocation_list_path()),
        }
    }

    /// What a cluster's collector shows and trusts.
    pub(super) fn collector(&self, cluster: &str) -> TlsClientConfig {
        let issued = &self.collectors[cluster];
        TlsClientConfig {
            ca_file: Some(self.ca.certificate_path()),
            cert_file: Some(issued.certificate.clone()),
            key_file: issued.key.clone(),
            ..TlsClientConfig::default()
        }
    }
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        let random = getrandom::u64().map_err(std::io::Error::other)?;
        Ok(Folder(std::env::temp_dir().join(format!("fedgate-demo-{random:016x}"))))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the demo's certificates are not removed");
        }
    }
}

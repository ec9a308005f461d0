//! Whom we believe: CA files as roots, and the verifier of client certificates with its revocation lists.
//!
//! With a list configured, a certificate whose issuer no list covers is refused: a list that got lost must not let the
//! revoked in. A list past its next update is enforced as it is: stopping every cluster because one file is old would
//! serve nobody but the attacker.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertRevocationListError, RootCertStore};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::error::TlsError;
use super::pem::PemFile;
use super::server_files::ClientAuth;
use crate::model::Timestamp;

/// How clients are verified.
pub(super) struct ClientCas {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of the lists should have a successor.
    pub(super) next_update: Option<Timestamp>,
}

impl ClientCas {
    pub(super) fn read(
        auth: ClientAuth,
        ca: Option<&PemFile>,
        lists: Option<&PemFile>,
    ) -> Result<Option<ClientCas>, TlsError> {
        if auth == ClientAuth::None {
            return Ok(None);
        }
        let ca = ca.ok_or(TlsError::NoClientCa)?;
        let (anchors, roots) = trust(ca)?;
        let crls = lists.map(PemFile::revocation_lists).transpose()?.unwrap_or_default();
        let next_update = match lists {
            Some(file) => check_revocation_lists(file, &crls, ca, &anchors)?,
            None => None,
        };
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
            .with_crls(crls)
            .only_check_end_entity_revocation();
        if auth == ClientAuth::IfGiven {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|fault| verifier_fault(&fault, lists.unwrap_or(ca)))?;
        Ok(Some(ClientCas { verifier, next_update }))
    }
}

fn verifier_fault(fault: &VerifierBuilderError, file: &PemFile) -> TlsError {
    let path = file.path.clone();
    match fault {
        VerifierBuilderError::InvalidCrl(fault) => TlsError::BadRevocationList { path, reason: crl_fault(fault) },
        other => TlsError::BadCertificate { path, reason: other.to_string() },
    }
}

fn crl_fault(fault: &CertRevocationListError) -> String {
    rustls::Error::InvalidCertRevocationList(fault.clone()).to_string()
}

/// A CA file's certificates, and as roots.
pub(super) fn trust(file: &PemFile) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), TlsError> {
    let anchors = file.certificates()?;
    let mut roots = RootCertStore::empty();
    for anchor in &anchors {
        let refused =
            |fault: rustls::Error| TlsError::BadCertificate { path: file.path.clone(), reason: fault.to_string() };
        roots.add(anchor.clone()).map_err(refused)?;
    }
    Ok((anchors, roots))
}

/// Each list must be signed by one of the CAs; a forged or foreign one would otherwise be found out only when it makes
/// every handshake fail. Returns the earliest time at which a list should have a successor.
fn check_revocation_lists(
    file: &PemFile,
    lists: &[CertificateRevocationListDer<'_>],
    ca: &PemFile,
    anchors: &[CertificateDer<'_>],
) -> Result<Option<Timestamp>, TlsError> {
    let mut due = None;
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|fault| TlsError::BadRevocationList { path: file.path.clone(), reason: fault.to_string() })?;
        let signed = anchors.iter().any(|anchor| {
            X509Certificate::from_der(anchor).is_ok_and(|(_, anchor)| {
                anchor.subject().as_raw() == list.issuer().as_raw()
                    && list.verify_signature(anchor.public_key()).is_ok()
            })
        });
        if !signed {
            let (path, ca, found) = (file.path.clone(), ca.path.clone(), list.issuer().to_string());
            return Err(TlsError::ForeignRevocationList { path, ca, found });
        }
        let next = list.next_update().map(|time| Timestamp(time.timestamp().saturating_mul(1000)));
        due = [due, next].into_iter().flatten().min();
    }
    Ok(due)
}

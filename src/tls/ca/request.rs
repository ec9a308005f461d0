//! Certificate requests (PKCS #10): the key, once its holder has shown to hold it.

use std::path::Path;

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::{CaError, files};

/// Bits below which an RSA key is refused.
const RSA_BITS_MIN: usize = 2048;

/// The public key of the request in a PEM file; everything else that it asks for is left aside.
pub(super) fn public_key(path: &Path) -> Result<SubjectPublicKeyInfo, CaError> {
    let text = files::read(path)?;
    key_of(&text).map_err(|reason| CaError::BadRequest { path: path.to_owned(), reason })
}

fn key_of(text: &str) -> Result<SubjectPublicKeyInfo, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "expected a block BEGIN CERTIFICATE REQUEST".to_owned())?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|fault| fault.to_string())?;
    request.verify_signature().map_err(|_| "its signature is not by the key in it".to_owned())?;
    let key = &request.certification_request_info.subject_pki;
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < RSA_BITS_MIN => {
            return Err(format!("its RSA key has {} bits, expected at least {RSA_BITS_MIN}", rsa.key_size()));
        }
        _ => {}
    }
    SubjectPublicKeyInfo::from_der(key.raw)
        .map_err(|_| "its key is of a kind that is not known here, expected ECDSA, Ed25519 or RSA".to_owned())
}

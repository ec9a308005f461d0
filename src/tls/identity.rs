//! Who a verified certificate says its holder is.
//!
//! Only the subject alternative names count, URIs before DNS names; a common name is free text and names nobody. Which
//! cluster an identity belongs to is the inventory's business: this module gives the candidates in order.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::serial::Serial;
use crate::model::Timestamp;

/// A peer, as the certificate that it proved to hold describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `uniformResourceIdentifier` names, in the certificate's order.
    pub uris: Vec<String>,
    /// `dNSName` names, in the certificate's order.
    pub dns: Vec<String>,
    /// Unique among the issuer's certificates.
    pub serial: Serial,
    /// After it the holder is refused, on open connections too.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

impl Identity {
    /// Reads the names out of a DER certificate, which somebody else has verified.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Identity, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|fault| fault.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|fault| fault.to_string())?;
        let mut identity = Identity {
            uris: Vec::new(),
            dns: Vec::new(),
            serial: Serial::from_octets(parsed.raw_serial()),
            not_after: Timestamp(parsed.validity().not_after.timestamp().saturating_mul(1000)),
            fingerprint: super::sha256(certificate),
        };
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => identity.dns.push((*dns).to_owned()),
                _ => {}
            }
        }
        Ok(identity)
    }

    /// The names to look up in the inventory, the first that is known wins.
    pub fn candidates(&self) -> impl Iterator<Item = &str> {
        self.uris.iter().chain(&self.dns).map(String::as_str)
    }
}

/// The first name, or the serial of one that has none: for logs.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.candidates().next() {
            Some(name) => f.write_str(name),
            None => write!(f, "certificate {} without names", self.serial),
        }
    }
}

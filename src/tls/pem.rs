//! Certificates, keys and revocation lists out of PEM files, each fault with its file.
//!
//! Files are read whole, once per check, and judged from memory: so what is verified is what is used, even while somebody
//! writes to them. Change is seen by content, not by time stamp: links swapped under us (as Kubernetes does with secrets)
//! and copies that keep their times are seen too, and the files are small.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::TlsError;
use crate::model::Timestamp;

/// Bytes of one file; a revocation list of half a million entries fits.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// A file's content with the path that messages name.
pub(super) struct PemFile {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
}

impl PemFile {
    pub(super) fn read(path: &Path) -> Result<PemFile, TlsError> {
        let refused = |source| TlsError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(refused)?;
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refused)? as u64;
        if read > FILE_BYTES_MAX {
            return Err(TlsError::TooLarge { path: path.to_owned(), bytes: read, max: FILE_BYTES_MAX });
        }
        Ok(PemFile { path: path.to_owned(), bytes })
    }

    /// At least one certificate, in the file's order.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Vec<CertificateDer<'static>> = self.blocks()?;
        if found.is_empty() {
            return Err(TlsError::NoCertificate { path: self.path.clone() });
        }
        found.iter().try_for_each(|one| Validity::of(self, one).map(drop))?;
        Ok(found)
    }

    /// The first private key (PKCS #8, PKCS #1 or SEC 1).
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey { path: self.path.clone() }),
            Err(fault) => Err(self.bad_pem(&fault)),
        }
    }

    /// At least one revocation list.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let found: Vec<CertificateRevocationListDer<'static>> = self.blocks()?;
        if found.is_empty() {
            return Err(TlsError::NoRevocationList { path: self.path.clone() });
        }
        Ok(found)
    }

    fn blocks<T: PemObject>(&self) -> Result<Vec<T>, TlsError> {
        T::pem_slice_iter(&self.bytes).collect::<Result<_, _>>().map_err(|fault| self.bad_pem(&fault))
    }

    fn bad_pem(&self, fault: &pem::Error) -> TlsError {
        TlsError::BadPem { path: self.path.clone(), reason: fault.to_string() }
    }
}

/// A hash over all contents: equal means that nothing is to be done.
pub(super) fn digest<'a>(files: impl IntoIterator<Item = &'a PemFile>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(&(file.bytes.len() as u64).to_le_bytes()).update(&file.bytes);
    }
    hasher.finalize()
}

/// From when to when a certificate counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Validity {
    pub(super) fn of(file: &PemFile, certificate: &CertificateDer<'_>) -> Result<Validity, TlsError> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|fault| TlsError::BadCertificate { path: file.path.clone(), reason: fault.to_string() })?;
        let millis = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
        let validity = parsed.validity();
        Ok(Validity {
            not_before: millis(validity.not_before.timestamp()),
            not_after: millis(validity.not_after.timestamp()),
        })
    }

    /// The message for a certificate that does not count at `now`.
    pub(super) fn check(self, path: &Path, now: Timestamp) -> Result<(), TlsError> {
        let path = || path.to_owned();
        if now > self.not_after {
            return Err(TlsError::Expired { path: path(), not_after: self.not_after });
        }
        if now < self.not_before {
            return Err(TlsError::NotYetValid { path: path(), not_before: self.not_before, now });
        }
        Ok(())
    }
}

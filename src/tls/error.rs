//! What can be wrong with certificates on disk, exactly enough that the message says which file to mend.

use std::io;
use std::path::PathBuf;

use crate::model::Timestamp;

/// A fault of our own files; faults of peers are [`HandshakeRefusal`](super::HandshakeRefusal).
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum TlsError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: has {bytes} bytes, expected at most {max}", path.display())]
    TooLarge { path: PathBuf, bytes: u64, max: u64 },
    #[error("{}: bad PEM: {reason}", path.display())]
    BadPem { path: PathBuf, reason: String },
    #[error("{}: no certificate found, expected a block BEGIN CERTIFICATE", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{}: no private key found, expected a block BEGIN PRIVATE KEY", path.display())]
    NoKey { path: PathBuf },
    #[error("{}: no revocation list found, expected a block BEGIN X509 CRL", path.display())]
    NoRevocationList { path: PathBuf },
    #[error("{}: bad certificate: {reason}", path.display())]
    BadCertificate { path: PathBuf, reason: String },
    #[error("{}: bad private key: {reason}", path.display())]
    BadKey { path: PathBuf, reason: String },
    #[error("{}: the key does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("{}: bad revocation list: {reason}", path.display())]
    BadRevocationList { path: PathBuf, reason: String },
    #[error("{}: the revocation list of {found:?} is not signed by a CA of {}", path.display(), ca.display())]
    ForeignRevocationList { path: PathBuf, ca: PathBuf, found: String },
    #[error("{}: the certificate expired at {}", path.display(), utc(*not_after))]
    Expired { path: PathBuf, not_after: Timestamp },
    #[error(
        "{}: the certificate is not valid before {}, but the clock says {}: is the clock right?",
        path.display(), utc(*not_before), utc(*now)
    )]
    NotYetValid { path: PathBuf, not_before: Timestamp, now: Timestamp },
    #[error("server_name {name:?} is no DNS name and no IP address")]
    BadServerName { name: String },
    #[error("a certificate without its key, or a key without its certificate: {} stands alone", path.display())]
    HalfPair { path: PathBuf },
    #[error("client certificates are asked for, but no CA to check them is given")]
    NoClientCa,
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// A time of a certificate as people write it; certificates count whole seconds.
pub(crate) fn utc(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.0.div_euclid(1000)).map_or_else(|_| time.to_string(), |time| time.to_string())
}

//! Why a handshake or a request on an open connection was refused, as one short word for the `reason` label.
//!
//! The words are promises: alerts and dashboards name them.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What a peer did wrong, or what is wrong with its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HandshakeRefusal {
    /// Spoke plain HTTP on the TLS port.
    #[error("plain HTTP on a TLS port")]
    Plaintext,
    /// Offered only versions of TLS that are switched off here.
    #[error("no version of TLS in common")]
    TlsVersion,
    /// Showed no certificate though one is required.
    #[error("no client certificate")]
    NoCertificate,
    /// The certificate's issuer is no CA of ours.
    #[error("the certificate's issuer is unknown here")]
    UnknownCa,
    /// The certificate is past its end.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate's start lies ahead: mostly a wrong clock.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// The certificate stands in the revocation list.
    #[error("the certificate is revoked")]
    Revoked,
    /// A revocation list is configured, but none covers the certificate's issuer.
    #[error("no revocation list covers the certificate's issuer")]
    UnknownRevocation,
    /// The certificate is unusable for another reason (purpose, signature, encoding).
    #[error("the certificate is not acceptable")]
    BadCertificate,
    /// The certificate has other names than the one that was dialled.
    #[error("the certificate is for another name")]
    WrongName,
    /// The peer did not accept our certificate.
    #[error("the peer refused our certificate")]
    RefusedByPeer,
    /// The peer went away before it was done.
    #[error("the connection closed during the handshake")]
    Closed,
    /// Anything else that is not TLS as it should be.
    #[error("the handshake failed")]
    Failed,
}

impl HandshakeRefusal {
    /// All, for those who register a counter for each.
    pub const ALL: [HandshakeRefusal; 13] = [
        HandshakeRefusal::Plaintext,
        HandshakeRefusal::TlsVersion,
        HandshakeRefusal::NoCertificate,
        HandshakeRefusal::UnknownCa,
        HandshakeRefusal::Expired,
        HandshakeRefusal::NotYetValid,
        HandshakeRefusal::Revoked,
        HandshakeRefusal::UnknownRevocation,
        HandshakeRefusal::BadCertificate,
        HandshakeRefusal::WrongName,
        HandshakeRefusal::RefusedByPeer,
        HandshakeRefusal::Closed,
        HandshakeRefusal::Failed,
    ];

    /// The value of the `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            HandshakeRefusal::Plaintext => "tls_plaintext",
            HandshakeRefusal::TlsVersion => "tls_version",
            HandshakeRefusal::NoCertificate => "certificate_missing",
            HandshakeRefusal::UnknownCa => "certificate_unknown_ca",
            HandshakeRefusal::Expired => "certificate_expired",
            HandshakeRefusal::NotYetValid => "certificate_not_yet_valid",
            HandshakeRefusal::Revoked => "certificate_revoked",
            HandshakeRefusal::UnknownRevocation => "certificate_unknown_revocation",
            HandshakeRefusal::BadCertificate => "certificate_bad",
            HandshakeRefusal::WrongName => "certificate_wrong_name",
            HandshakeRefusal::RefusedByPeer => "tls_refused_by_peer",
            HandshakeRefusal::Closed => "tls_closed",
            HandshakeRefusal::Failed => "tls_failed",
        }
    }

    /// What TLS made of a client's failed request, found among the causes of its error; `None` where TLS did not fail.
    pub fn of_causes(error: &(dyn std::error::Error + 'static)) -> Option<HandshakeRefusal> {
        let causes = std::iter::successors(Some(error), |error| error.source());
        // An `io::Error` names the cause of what it wraps as its own, and so hides what it wraps.
        let wrapped = |cause: &'_ (dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(HandshakeRefusal::of),
            None => cause.downcast_ref::<Error>().map(HandshakeRefusal::of),
        };
        causes.into_iter().find_map(wrapped)
    }

    /// What the peer's alert says about the certificate that we showed it. An alert is coarse: a certificate that is not
    /// valid yet is told as expired, one without a revocation list as of an unknown CA.
    pub fn told_by_peer(error: &io::Error) -> Option<HandshakeRefusal> {
        let Some(Error::AlertReceived(alert)) = error.get_ref()?.downcast_ref::<Error>() else {
            return None;
        };
        Some(match alert {
            AlertDescription::CertificateRequired => HandshakeRefusal::NoCertificate,
            AlertDescription::CertificateRevoked => HandshakeRefusal::Revoked,
            AlertDescription::CertificateExpired => HandshakeRefusal::Expired,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => HandshakeRefusal::UnknownCa,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => HandshakeRefusal::BadCertificate,
            AlertDescription::ProtocolVersion => HandshakeRefusal::TlsVersion,
            _ => HandshakeRefusal::RefusedByPeer,
        })
    }

    /// What the TLS library's error means; it travels inside an I/O error.
    pub(super) fn of_io(error: &io::Error) -> HandshakeRefusal {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => HandshakeRefusal::of(error),
            None => HandshakeRefusal::Closed,
        }
    }

    pub(super) fn of(error: &Error) -> HandshakeRefusal {
        match error {
            Error::InvalidCertificate(fault) => HandshakeRefusal::of_certificate(fault),
            Error::NoCertificatesPresented => HandshakeRefusal::NoCertificate,
            Error::PeerIncompatible(fault) => HandshakeRefusal::of_incompatible(fault),
            Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => HandshakeRefusal::TlsVersion,
            Error::AlertReceived(AlertDescription::ProtocolVersion) => HandshakeRefusal::TlsVersion,
            Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
                HandshakeRefusal::Closed
            }
            Error::AlertReceived(_) => HandshakeRefusal::RefusedByPeer,
            _ => HandshakeRefusal::Failed,
        }
    }

    fn of_incompatible(fault: &PeerIncompatible) -> HandshakeRefusal {
        match fault {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => HandshakeRefusal::TlsVersion,
            _ => HandshakeRefusal::Failed,
        }
    }

    fn of_certificate(fault: &CertificateError) -> HandshakeRefusal {
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => HandshakeRefusal::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                HandshakeRefusal::NotYetValid
            }
            CertificateError::Revoked => HandshakeRefusal::Revoked,
            // Another CA under the name of one of ours.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => HandshakeRefusal::UnknownCa,
            CertificateError::UnknownRevocationStatus => HandshakeRefusal::UnknownRevocation,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                HandshakeRefusal::WrongName
            }
            _ => HandshakeRefusal::BadCertificate,
        }
    }
}

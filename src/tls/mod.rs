//! Certificates: who a peer is, whether it still may be, and where our own come from.
//!
//! Everything that touches TLS passes here, so the cryptographic provider is chosen once (`provider`: ring) and no other
//! module names `rustls`. A listener holds a [`ServerTls`]: certificate, key, client CA and revocation list, read again
//! whenever one of the files changes. What was true at the handshake is not believed for ever: each request on an open
//! connection asks [`ServerTls::admit`], which runs the handshake's own verification once more when the files changed
//! since. So revocation, a withdrawn CA and expiry all end an open connection, by one rule and without a restart.
//!
//! | fault | at start | when a file changes | while running |
//! |---|---|---|---|
//! | unreadable, no PEM, key of another certificate | error | the old stays, counted and logged | – |
//! | revocation list not signed by a client CA | error | the old stays | – |
//! | revocation list missing though configured | error | the old stays | – |
//! | revocation list past its next update | warning | taken | enforced as it is; shown as a metric |
//! | own certificate outside its validity | warning | the old stays, if that one is valid | peers refuse it |
//! | client's issuer not covered by any list | – | – | refused: silence is no proof |

pub mod ca;
mod client;
mod error;
mod identity;
mod pem;
mod refusal;
mod serial;
mod server;
mod server_files;
mod server_verifier;
mod trust;

pub use client::{ClientFiles, ClientTls};
pub use error::TlsError;
pub use identity::Identity;
pub use refusal::HandshakeRefusal;
pub use serial::{Serial, SerialError};
pub use server::{Accepted, Peer, Refresh, ServerTls};
pub use server_files::{ClientAuth, ServerFiles, TlsVersions};

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// ring, made the process's default at the first call, so that libraries which ask for the default find the same one.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        // An `Err` means that the process has a default already; ours is used wherever we build a configuration.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Arc::new(rustls::crypto::ring::default_provider())
    });
    PROVIDER.clone()
}

/// SHA-256, the digest by which operators compare certificates (`openssl x509 -fingerprint -sha256`).
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().expect("a TLS 1.3 suite").common.hash_provider.hash(bytes);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

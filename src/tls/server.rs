//! A listener's TLS: configuration, client verification and revocation, replaced whole when a file changes.
//!
//! Invariant: every connection is judged by one generation of files, and none outlives the generation that would refuse
//! it. There is no resumption: a resumed session would carry over the client's chain without looking at it again, and so
//! pass by the revocation list; collectors keep their connections open, so handshakes are few.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::error::{TlsError, utc};
use super::identity::Identity;
use super::pem::{PemFile, Validity, digest};
use super::refusal::HandshakeRefusal;
use super::server_files::ServerFiles;
use super::trust::ClientCas;
use crate::model::Timestamp;
use crate::runtime::clock;

/// How often the files are looked at. A revoked collector is out after this at the latest.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// First byte of every TLS connection: a handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Everything built from one reading of the files.
struct Generation {
    number: u64,
    digest: blake3::Hash,
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    validity: Validity,
    revocation_next_update: Option<Timestamp>,
}

/// What a check of the files led to.
#[derive(Debug)]
pub enum Refresh {
    /// No file has changed.
    Unchanged,
    /// New connections, and the next request of each open one, are judged by the new files.
    Replaced,
    /// The new files are bad: the old stay in force.
    Kept(TlsError),
}

/// A listener's TLS, shared by its accept loop and all its connections.
pub struct ServerTls {
    /// Held while files are read, so that two refreshes never race; written by [`ServerTls::reconfigure`].
    files: Mutex<ServerFiles>,
    /// Read by every handshake and request; replaced under the lock of `files`.
    current: ArcSwap<Generation>,
    /// Refreshes that kept the old files since the start.
    failures: AtomicU64,
}

/// The verified other end of one connection.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub identity: Arc<Identity>,
    chain: Vec<CertificateDer<'static>>,
    /// The generation that found the chain good; written by whichever request finds a newer one.
    verified: AtomicU64,
}

/// A connection after its handshake.
pub struct Accepted {
    /// Ready for HTTP.
    pub stream: tokio_rustls::server::TlsStream<TcpStream>,
    /// Present when the client showed a certificate.
    pub peer: Option<Peer>,
    /// The client chose HTTP/2.
    pub is_h2: bool,
}

impl ServerTls {
    /// Reads the files; certificates outside their validity are warned of, everything else that is wrong is an error.
    pub fn load(files: ServerFiles, now: Timestamp) -> Result<ServerTls, TlsError> {
        let generation = Generation::read(&files, 1)?;
        if let Err(fault) = generation.validity.check(&files.certificate, now) {
            tracing::warn!(%fault, "peers will refuse this listener's certificate");
        }
        generation.warn_of_old_revocations(&files, now);
        Ok(ServerTls {
            files: Mutex::new(files),
            current: ArcSwap::from_pointee(generation),
            failures: AtomicU64::new(0),
        })
    }

    /// Reads the files again. To be called every few seconds, off the threads that serve requests.
    pub fn refresh(&self, now: Timestamp) -> Refresh {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&files, now)
    }

    /// Refreshes every few seconds until `stop`; to be spawned once a listener.
    pub async fn watch(self: Arc<ServerTls>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL)).await.is_some() {
            let tls = self.clone();
            // Reading waits for disks. A panic in it was reported by the panic hook; the old files stay.
            let _ = tokio::task::spawn_blocking(move || tls.refresh(clock::now())).await;
        }
    }

    /// Goes over to other files, or keeps the old ones if those are bad.
    pub fn reconfigure(&self, files: ServerFiles, now: Timestamp) -> Refresh {
        let mut current = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.replace(&files, now);
        if !matches!(outcome, Refresh::Kept(_)) {
            *current = files;
        }
        outcome
    }

    fn replace(&self, files: &ServerFiles, now: Timestamp) -> Refresh {
        match self.next_generation(files, now) {
            Ok(None) => Refresh::Unchanged,
            Ok(Some(next)) => {
                next.warn_of_old_revocations(files, now);
                tracing::info!(certificate = %files.certificate.display(), "TLS files read again");
                self.current.store(Arc::new(next));
                Refresh::Replaced
            }
            Err(fault) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%fault, "TLS files not taken, the old ones stay in force");
                Refresh::Kept(fault)
            }
        }
    }

    fn next_generation(&self, files: &ServerFiles, now: Timestamp) -> Result<Option<Generation>, TlsError> {
        let current = self.current.load();
        let next = Generation::read(files, current.number + 1)?;
        if next.digest == current.digest {
            return Ok(None);
        }
        let judged = next.validity.check(&files.certificate, now);
        if current.validity.check(&files.certificate, now).is_ok() {
            judged?;
        }
        Ok(Some(next))
    }

    /// Waits for the client's handshake; the caller bounds the time.
    pub async fn accept(&self, mut stream: TcpStream) -> Result<Accepted, HandshakeRefusal> {
        refuse_plaintext(&mut stream).await?;
        let generation = self.current.load_full();
        let accepted = TlsAcceptor::from(generation.config.clone()).accept(stream).await;
        let stream = accepted.map_err(|error| HandshakeRefusal::of_io(&error))?;
        let (_, session) = stream.get_ref();
        let is_h2 = session.alpn_protocol() == Some(ALPN_H2);
        let peer = match session.peer_certificates() {
            Some(chain) if generation.verifier.is_some() => Some(Peer::of(chain, generation.number)?),
            _ => None,
        };
        Ok(Accepted { stream, peer, is_h2 })
    }

    /// Whether `peer` may still ask: its certificate has not ended, and the newest CA and revocation files accept it.
    ///
    /// Costs two loads unless the files changed since the peer's last request; then one verification.
    pub fn admit(&self, peer: &Peer, now: Timestamp) -> Result<(), HandshakeRefusal> {
        if now > peer.identity.not_after {
            return Err(HandshakeRefusal::Expired);
        }
        let generation = self.current.load();
        if peer.verified.load(Ordering::Relaxed) == generation.number {
            return Ok(());
        }
        if let Some(verifier) = &generation.verifier {
            let since_epoch = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
            verifier
                .verify_client_cert(&peer.chain[0], &peer.chain[1..], UnixTime::since_unix_epoch(since_epoch))
                .map_err(|error| HandshakeRefusal::of(&error))?;
        }
        peer.verified.store(generation.number, Ordering::Relaxed);
        Ok(())
    }

    /// When our own certificate ends.
    pub fn certificate_not_after(&self) -> Timestamp {
        self.current.load().validity.not_after
    }

    /// When the oldest revocation list should have a successor; `None` without lists.
    pub fn revocation_next_update(&self) -> Option<Timestamp> {
        self.current.load().revocation_next_update
    }

    /// Refreshes since the start that found bad files.
    pub fn refresh_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

const ALPN_H2: &[u8] = b"h2";
const ALPN_H1: &[u8] = b"http/1.1";

/// The protocols of HTTP that both sides know, the better first.
pub(super) fn alpn(h2: bool) -> Vec<Vec<u8>> {
    let all = [ALPN_H2, ALPN_H1];
    all[usize::from(!h2)..].iter().map(|name| name.to_vec()).collect()
}

/// Somebody who types `http://` instead of `https://` should learn so, and not see a closed connection.
async fn refuse_plaintext(stream: &mut TcpStream) -> Result<(), HandshakeRefusal> {
    const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
        connection: close\r\n\r\nthis port speaks HTTPS only, the request came as plain HTTP\n";
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] == HANDSHAKE_RECORD => Ok(()),
        Ok(1) => {
            // What is unread when a socket closes makes a reset of the answer.
            let _ = stream.try_read(&mut [0; 4096]);
            let _ = stream.write_all(ANSWER).await;
            let _ = stream.shutdown().await;
            Err(HandshakeRefusal::Plaintext)
        }
        _ => Err(HandshakeRefusal::Closed),
    }
}

impl Peer {
    fn of(chain: &[CertificateDer<'_>], generation: u64) -> Result<Peer, HandshakeRefusal> {
        let leaf = chain.first().ok_or(HandshakeRefusal::NoCertificate)?;
        let identity = Identity::of(leaf).map_err(|_| HandshakeRefusal::BadCertificate)?;
        let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
        Ok(Peer { identity: Arc::new(identity), chain, verified: AtomicU64::new(generation) })
    }
}

impl Generation {
    fn read(files: &ServerFiles, number: u64) -> Result<Generation, TlsError> {
        let certificate = PemFile::read(&files.certificate)?;
        let key = PemFile::read(&files.key)?;
        let ca = files.client_ca.as_deref().map(PemFile::read).transpose()?;
        let lists = files.revocation_list.as_deref().map(PemFile::read).transpose()?;
        let digest = digest([Some(&certificate), Some(&key), ca.as_ref(), lists.as_ref()].into_iter().flatten());
        let chain = certificate.certificates()?;
        let validity = Validity::of(&certificate, &chain[0])?;
        let clients = ClientCas::read(files.client_auth, ca.as_ref(), lists.as_ref())?;
        let revocation_next_update = clients.as_ref().and_then(|clients| clients.next_update);
        let verifier = clients.map(|clients| clients.verifier);
        let config = server_config(files, chain, &key, verifier.clone())?;
        Ok(Generation { number, digest, config: Arc::new(config), verifier, validity, revocation_next_update })
    }

    fn warn_of_old_revocations(&self, files: &ServerFiles, now: Timestamp) {
        let path = files.revocation_list.as_deref().unwrap_or(Path::new(""));
        if let Some(due) = self.revocation_next_update.filter(|due| *due < now) {
            tracing::warn!(path = %path.display(), due = utc(due), "revocation list is out of date, still enforced");
        }
    }
}

fn server_config(
    files: &ServerFiles,
    chain: Vec<CertificateDer<'static>>,
    key: &PemFile,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(super::provider()).with_protocol_versions(files.versions.supported())?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let built = builder.with_single_cert(chain, key.key()?);
    let mut config = built.map_err(|error| key_fault(error, &files.certificate, &files.key))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn(true);
    Ok(config)
}

/// Says which of the two files a key's fault is about.
pub(super) fn key_fault(error: rustls::Error, certificate: &Path, key: &Path) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(fault) => {
            TlsError::BadCertificate { path: certificate.to_owned(), reason: fault.to_string() }
        }
        other => TlsError::BadKey { path: key.to_owned(), reason: other.to_string() },
    }
}

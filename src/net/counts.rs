//! What a listener accepted and refused, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tls::HandshakeRefusal;

/// Why a connection, or a request on it, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many connections are open as may be.
    Connections,
    /// As many of this address.
    ConnectionsOfAddress,
    /// The handshake took too long.
    HandshakeTimeout,
    /// The handshake failed, or the peer is no longer welcome on its open connection.
    Tls(HandshakeRefusal),
    /// A request's headers took too long.
    HeaderTimeout,
    /// A request's body took too long.
    BodyTimeout,
    /// The peer did not take its answer.
    WriteTimeout,
    /// The peer broke the rules of HTTP, or a bound of HTTP/2.
    Protocol,
    /// The system could not accept (out of file descriptors, mostly).
    Accept,
    /// Serving the connection panicked: our fault.
    Panic,
}

const OWN: [Refusal; 9] = [
    Refusal::Connections,
    Refusal::ConnectionsOfAddress,
    Refusal::HandshakeTimeout,
    Refusal::HeaderTimeout,
    Refusal::BodyTimeout,
    Refusal::WriteTimeout,
    Refusal::Protocol,
    Refusal::Accept,
    Refusal::Panic,
];
const REASONS: usize = OWN.len() + HandshakeRefusal::ALL.len();

impl Refusal {
    /// The value of the `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Connections => "too_many_connections",
            Refusal::ConnectionsOfAddress => "too_many_connections_of_address",
            Refusal::HandshakeTimeout => "handshake_timeout",
            Refusal::Tls(refusal) => refusal.as_str(),
            Refusal::HeaderTimeout => "header_timeout",
            Refusal::BodyTimeout => "body_timeout",
            Refusal::WriteTimeout => "write_timeout",
            Refusal::Protocol => "protocol",
            Refusal::Accept => "accept_failed",
            Refusal::Panic => "panic",
        }
    }

    fn all() -> impl Iterator<Item = Refusal> {
        OWN.into_iter().chain(HandshakeRefusal::ALL.into_iter().map(Refusal::Tls))
    }

    fn index(self) -> usize {
        Refusal::all().position(|other| other == self).expect("`all` lists every refusal")
    }
}

/// One listener's counters; only ever grow, but for `open`.
#[derive(Debug)]
pub struct ServerCounts {
    accepted: AtomicU64,
    open: AtomicU64,
    refused: [AtomicU64; REASONS],
}

impl Default for ServerCounts {
    fn default() -> Self {
        let refused = [const { AtomicU64::new(0) }; REASONS];
        ServerCounts { accepted: AtomicU64::new(0), open: AtomicU64::new(0), refused }
    }
}

impl ServerCounts {
    /// Connections taken since the start, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Every reason with its count, zeros included.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::all().zip(&self.refused).map(|(refusal, count)| (refusal.as_str(), count.load(Ordering::Relaxed)))
    }

    /// The count of one reason.
    pub fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refused[refusal.index()].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.refused[refusal.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_open(&self, open: usize) {
        self.open.store(open as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_and_a_counter_of_its_own() {
        let words: HashSet<&str> = Refusal::all().map(Refusal::as_str).collect();
        assert_eq!(words.len(), REASONS);
        let counts = ServerCounts::default();
        counts.count(Refusal::Tls(HandshakeRefusal::Revoked));
        let shown: Vec<_> = counts.refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(shown, [("certificate_revoked", 1)]);
    }
}

//! The bounds of a listener, each with the reason for its value.

use std::time::Duration;

use crate::config::{GatewayHttpConfig, PushLimits};

/// What one listener allows its peers.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Open connections; further ones are closed at once.
    pub connections: usize,
    /// Open connections of one address (of one /64 for IPv6).
    pub connections_per_address: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From a request's first byte (of the first request: from the connection's start) to the end of its headers.
    pub header: Duration,
    /// From the end of a request's headers to the end of its body.
    pub body: Duration,
    /// Without a request.
    pub idle: Duration,
    /// During which a reader does not take a byte of its answer.
    pub stalled_write: Duration,
    /// That requests under way have once the listener is told to stop.
    pub drain: Duration,
}

/// Requests in flight on one HTTP/2 connection; a collector has one, a reader a handful.
pub(super) const H2_STREAMS: u32 = 64;
/// Bytes of a request's headers; sites put long `match[]` selectors into the request line.
pub(super) const HEADER_BYTES: u32 = 64 << 10;
/// Bytes that may be on their way up on one HTTP/2 connection: a body of the default limit without waiting.
pub(super) const H2_WINDOW_BYTES: u32 = 4 << 20;
/// Streams that a client opened and reset before we looked at them (rapid reset, CVE-2023-44487).
pub(super) const H2_PENDING_RESETS: usize = 20;
/// Streams that we had to reset for the client's faults, after which the connection ends.
pub(super) const H2_LOCAL_RESETS: usize = 128;
/// How often a silent HTTP/2 peer is asked whether it is there; below the time-outs of common NAT tables.
pub(super) const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long its answer may take.
pub(super) const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection without a request may take to close once it was asked to.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Leaves a third of [`crate::runtime::shutdown::DEADLINE`] to the stages after the listeners.
const DRAIN: Duration = Duration::from_secs(10);
/// A collector reads its verdict at once.
const VERDICT_WRITE: Duration = Duration::from_secs(30);

impl ServerLimits {
    /// The push listener's.
    pub fn of_push(limits: &PushLimits) -> ServerLimits {
        ServerLimits {
            connections: limits.connections_max,
            connections_per_address: limits.connections_per_address_max,
            handshake: limits.handshake_timeout,
            header: limits.header_timeout,
            body: limits.body_timeout,
            idle: limits.idle_timeout,
            stalled_write: VERDICT_WRITE,
            drain: DRAIN,
        }
    }

    /// The readers' listener's; readers come through few addresses (a reverse proxy), so those are not bounded apart.
    pub fn of_readers(config: &GatewayHttpConfig) -> ServerLimits {
        ServerLimits {
            connections: config.connections_max,
            connections_per_address: config.connections_max,
            handshake: config.header_timeout,
            header: config.header_timeout,
            body: config.header_timeout,
            idle: config.idle_timeout,
            stalled_write: config.federate.timeout,
            drain: DRAIN,
        }
    }
}

/// For listeners without a section of their own, such as the collector's pages.
impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits::of_readers(&GatewayHttpConfig::default())
    }
}

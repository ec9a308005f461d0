//! The frames of a whole site, encoded beforehand, and the connections that push them: one a cluster, mutual TLS 1.3, as
//! collectors have them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedgate::model::Timestamp;
use fedgate::push::protocol::Verdict;
use fedgate::push::sender::Body;
use fedgate::push::transport::Transport;
use fedgate::snapshot::negotiate::VERSION;
use fedgate::snapshot::{EncodedFrame, Encoder, FrameLimits, StreamId};
use tokio::runtime::Runtime;

use crate::cluster::{self, Cluster};
use crate::gateway::Gateway;
use crate::options::Shape;

/// Every so many rounds a KEY, as a collector does.
const ROUNDS_PER_KEY: usize = 40;
/// Bytes of a body, beyond which the next frame begins another.
const BODY_BYTES: usize = 4 << 20;
/// How far the last of the past rounds lies ahead: encoding and reading a large site takes minutes, readers look back five.
const AHEAD: Duration = Duration::from_secs(480);
/// Clusters that push at once: each waits for the disk, and those that wait together share a commit.
const LANES: usize = 32;

/// Bodies by cluster and round; a clone shares them.
#[derive(Clone)]
pub(crate) struct Load {
    /// Time of the last of the past rounds.
    pub(crate) last: Timestamp,
    clusters: Vec<Arc<Vec<Vec<Body>>>>,
}

impl Load {
    /// Every round of every cluster; the last of the first `past` rounds lies [`AHEAD`]. The share `replaced` of the series is
    /// another after each round.
    pub(crate) fn encode(shape: Shape, rounds: usize, past: usize, replaced: f64) -> Load {
        let first = cluster::first_round(past) + AHEAD;
        let clusters = cluster::for_each(shape, |number| {
            let mut cluster = Cluster::new(number, shape.series, first, replaced);
            let mut encoder = Encoder::new(stream(number, first), first, FrameLimits::default());
            let of_round = |round: usize| {
                cluster.advance();
                let (now, scrapes) = (cluster.now(), cluster.scrapes());
                bodies(encoder.tick(now, now, &scrapes, round.is_multiple_of(ROUNDS_PER_KEY)))
            };
            Arc::new((0..rounds).map(of_round).collect())
        });
        Load { last: first + cluster::INTERVAL * (past as u32 - 1), clusters }
    }

    /// Bytes of the bodies of these rounds.
    pub(crate) fn bytes(&self, rounds: Range<usize>) -> usize {
        self.clusters.iter().flat_map(|cluster| &cluster[rounds.clone()]).flatten().map(|body| body.bytes).sum()
    }
}

/// Another stream in every run and cluster.
fn stream(number: usize, started: Timestamp) -> StreamId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number as u64).to_le_bytes());
    id[8..].copy_from_slice(&started.0.to_le_bytes());
    StreamId(id)
}

fn bodies(frames: Vec<EncodedFrame>) -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    for EncodedFrame { bytes, .. } in frames {
        match bodies.last_mut() {
            Some(body) if body.bytes + bytes.len() <= BODY_BYTES => add(body, bytes),
            _ => {
                let mut body = Body::default();
                add(&mut body, bytes);
                bodies.push(body);
            }
        }
    }
    bodies
}

fn add(body: &mut Body, frame: Bytes) {
    body.bytes += frame.len();
    body.pieces.push(frame);
}

/// A connection a cluster.
pub(crate) struct Pusher {
    runtime: Runtime,
    lanes: Vec<Arc<Vec<Link>>>,
    pub(crate) load: Load,
}

struct Link {
    transport: Transport,
    rounds: Arc<Vec<Vec<Body>>>,
}

impl Pusher {
    /// Issues the certificates and connects, so that handshakes are behind when the measuring begins.
    pub(crate) fn new(gateway: &Gateway, load: Load) -> Pusher {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut lanes: Vec<Vec<Link>> = (0..LANES).map(|_| Vec::new()).collect();
        for (number, rounds) in load.clusters.iter().enumerate() {
            let name = cluster::name(number);
            let transport = runtime.block_on(async {
                let transport = Transport::new(&gateway.push_config(&name)).expect("good certificates");
                assert_eq!(transport.identity().await.expect("a gateway").cluster, name);
                transport
            });
            lanes[number % LANES].push(Link { transport, rounds: rounds.clone() });
        }
        Pusher { runtime, lanes: lanes.into_iter().map(Arc::new).collect(), load }
    }

    /// Pushes these rounds as fast as the gateway takes them, each cluster's in order.
    pub(crate) fn push(&mut self, rounds: Range<usize>) {
        let lanes = self.lanes.iter().cloned().map(|lane| {
            let rounds = rounds.clone();
            self.runtime.spawn(async move {
                for round in rounds {
                    for link in lane.iter() {
                        link.push(round).await;
                    }
                }
            })
        });
        let lanes: Vec<_> = lanes.collect();
        self.runtime.block_on(async {
            for lane in lanes {
                lane.await.expect("every push is acknowledged");
            }
        });
    }

    /// Pushes these rounds at the pace of real collectors: each cluster once an interval, one after the other.
    pub(crate) fn push_paced(&mut self, rounds: Range<usize>, interval: Duration) {
        let links: Vec<&Link> = self.lanes.iter().flat_map(|lane| lane.iter()).collect();
        let start = Instant::now();
        let pause = interval / links.len() as u32;
        self.runtime.block_on(async {
            for (at, round) in rounds.enumerate() {
                for (number, link) in links.iter().enumerate() {
                    let due = start + interval * at as u32 + pause * number as u32;
                    tokio::time::sleep_until(due.into()).await;
                    link.push(round).await;
                }
            }
        });
    }
}

impl Link {
    async fn push(&self, round: usize) {
        for body in &self.rounds[round] {
            let verdict = self.transport.push(body.clone(), VERSION).await.expect("a verdict");
            assert!(matches!(verdict, Verdict::Acked { .. }), "{verdict:?}");
        }
    }
}

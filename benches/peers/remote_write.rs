//! Remote write 1.0 and 2.0: the bodies of a whole site, encoded beforehand, and two connections that post them.
//!
//! The messages are written by hand from the two specifications. Each body holds 2,000 series with one sample each, as
//! Prometheus's own sender does, compressed with snappy.

use std::collections::HashMap;

use bytes::Bytes;
use fedgate::model::{Labels, Timestamp};

use crate::cluster::{self, Cluster, ENVIRONMENT};
use crate::http::Poster;
use crate::options::Shape;
use crate::server::Server;
use crate::site::Page;

const BODY_SERIES: usize = 2_000;
/// Connections that post at once.
pub(crate) const CONNECTIONS: usize = 2;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    fn headers(self) -> &'static str {
        match self {
            Version::One => {
                "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            }
            Version::Two => {
                "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\nContent-Encoding: \
                 snappy\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\n"
            }
        }
    }
}

/// Bodies by cluster and round.
pub(crate) struct Load {
    pub(crate) shape: Shape,
    /// Time of the last round.
    pub(crate) last: Timestamp,
    version: Version,
    clusters: Vec<Vec<Vec<Bytes>>>,
}

impl Load {
    /// Every round of every cluster; the last round is now.
    pub(crate) fn encode(shape: Shape, rounds: usize, version: Version) -> Load {
        let first = cluster::first_round(rounds);
        let clusters = cluster::for_each(shape, |number| {
            let mut cluster = Cluster::new(number, shape.series, first, 0.0);
            let labels: Vec<Vec<Labels>> = cluster.pages.iter().map(|page| all_labels(&cluster.name, page)).collect();
            let of_round = |_| {
                cluster.advance();
                let pages = cluster.pages.iter().zip(&labels);
                pages.flat_map(|(page, labels)| bodies(page, labels, version)).collect()
            };
            (0..rounds).map(of_round).collect()
        });
        let last = first + cluster::INTERVAL * (rounds as u32 - 1);
        Load { shape, last, version, clusters }
    }

    /// Bytes of the bodies of these rounds.
    pub(crate) fn bytes(&self, rounds: std::ops::Range<usize>) -> usize {
        self.clusters.iter().flat_map(|cluster| &cluster[rounds.clone()]).flatten().map(Bytes::len).sum()
    }

    /// The bodies of one cluster in one round.
    pub(crate) fn bodies(&self, cluster: usize, round: usize) -> &[Bytes] {
        &self.clusters[cluster][round]
    }

    /// Posts these rounds, each cluster's in order.
    pub(crate) fn push(&self, server: &Server, rounds: std::ops::Range<usize>) {
        std::thread::scope(|scope| {
            for part in self.clusters.chunks(self.clusters.len().div_ceil(CONNECTIONS)) {
                let rounds = rounds.clone();
                scope.spawn(move || {
                    let mut poster = Poster::connect(server.port, "/api/v1/write", self.version.headers());
                    for round in rounds {
                        let bodies = part.iter().flat_map(|cluster| &cluster[round]);
                        bodies.for_each(|body| poster.post(body));
                    }
                });
            }
        });
    }
}

/// Labels as a sender with external labels has them, series by series.
fn all_labels(cluster: &str, page: &Page) -> Vec<Labels> {
    let of_series = |(name, own, _): (&str, &[(String, String)], f64)| {
        let lacks = |label: &&str| own.iter().all(|(name, _)| name != label);
        let target = page.target().iter().filter(|(label, _)| lacks(label));
        let own = own.iter().map(|(name, value)| (&**name, &**value));
        let more = [("__name__", name), ("cluster", cluster), ("environment", ENVIRONMENT)];
        Labels::from_pairs(own.chain(target).chain(more))
    };
    page.samples().map(of_series).collect()
}

fn bodies(page: &Page, labels: &[Labels], version: Version) -> Vec<Bytes> {
    let samples: Vec<(&Labels, &str, f64)> =
        page.samples().zip(labels).map(|((family, _, value), labels)| (labels, family, value)).collect();
    let compress = |message: Vec<u8>| snap::raw::Encoder::new().compress_vec(&message).expect("far below 4 GiB");
    let now = page.now().0;
    let message = |part: &[(&Labels, &str, f64)]| match version {
        Version::One => write_request(part, now),
        Version::Two => request(part, now),
    };
    samples.chunks(BODY_SERIES).map(|part| compress(message(part)).into()).collect()
}

/// `prometheus.WriteRequest`.
fn write_request(samples: &[(&Labels, &str, f64)], now: i64) -> Vec<u8> {
    let mut message = Vec::new();
    for (labels, _, value) in samples {
        let mut series = Vec::new();
        for (name, text) in labels.iter() {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, text.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        put_bytes(&mut series, 2, &sample(*value, now));
        put_bytes(&mut message, 1, &series);
    }
    message
}

/// `io.prometheus.write.v2.Request`, with a symbol table of its own and each series' type and help.
fn request(samples: &[(&Labels, &str, f64)], now: i64) -> Vec<u8> {
    let (mut symbols, mut all) = (Symbols::default(), Vec::new());
    symbols.number("");
    for (labels, family, value) in samples {
        let (mut series, mut references, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        for (name, text) in labels.iter() {
            put_varint(&mut references, symbols.number(name));
            put_varint(&mut references, symbols.number(text));
        }
        put_bytes(&mut series, 1, &references);
        put_bytes(&mut series, 2, &sample(*value, now));
        metadata.extend([0x08, if family.ends_with("_total") { 1 } else { 2 }, 0x18]);
        put_varint(&mut metadata, symbols.number(&format!("What {family} says.")));
        put_bytes(&mut series, 5, &metadata);
        put_bytes(&mut all, 5, &series);
    }
    let mut message = Vec::new();
    symbols.texts.iter().for_each(|text| put_bytes(&mut message, 4, text.as_bytes()));
    message.extend(all);
    message
}

#[derive(Default)]
struct Symbols {
    numbers: HashMap<String, u64>,
    texts: Vec<String>,
}

impl Symbols {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// `Sample`: a value, left out where it is zero, and its time.
fn sample(value: f64, now: i64) -> Vec<u8> {
    let mut sample = Vec::new();
    if value != 0.0 {
        sample.push(0x09);
        sample.extend(value.to_le_bytes());
    }
    sample.push(0x10);
    put_varint(&mut sample, now as u64);
    sample
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

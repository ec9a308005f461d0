//! What the command line asks for: how large a site, which rows, which peers, how often.

use std::process::exit;

const USAGE: &str = "usage: cargo bench --bench peers -- [--size 100k|1m|10m|CLUSTERSxSERIES] \
    [--rows ingest,write,federate,rules,freshness,scrape,churn,restart] [--peers prometheus,victoria-metrics,vmagent,fedgate] [--runs N]";

/// Series beyond which the peers are left out unless they are asked for: Prometheus would take 19 GB for ten million.
const PEERS_SERIES_MAX: usize = 2_000_000;

/// Clusters, and series of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) clusters: usize,
    pub(crate) series: usize,
}

impl Shape {
    /// Series of all clusters.
    pub(crate) fn total(self) -> usize {
        self.clusters * self.series
    }

    fn parse(text: &str) -> Option<Shape> {
        let (clusters, series) = match text {
            "100k" => (20, 5_000),
            "1m" => (200, 5_000),
            "10m" => (2_000, 5_000),
            other => other.split_once('x').and_then(|(one, two)| Some((one.parse().ok()?, two.parse().ok()?)))?,
        };
        Some(Shape { clusters, series })
    }
}

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Prometheus,
    VictoriaMetrics,
    Vmagent,
    Fedgate,
}

impl Peer {
    const ALL: [Peer; 4] = [Peer::Prometheus, Peer::VictoriaMetrics, Peer::Vmagent, Peer::Fedgate];

    /// Its program's name, which is also its word on the command line.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Peer::Prometheus => "prometheus",
            Peer::VictoriaMetrics => "victoria-metrics",
            Peer::Vmagent => "vmagent",
            Peer::Fedgate => "fedgate",
        }
    }

    /// Its heading in the tables.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Peer::Prometheus => "Prometheus",
            Peer::VictoriaMetrics => "VictoriaMetrics",
            Peer::Vmagent => "vmagent",
            Peer::Fedgate => "fedgate",
        }
    }
}

/// A group of measurements, a file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Ingest,
    Write,
    Federate,
    Rules,
    Freshness,
    Scrape,
    Churn,
    Restart,
}

const ROWS: [(&str, Row); 8] = [
    ("ingest", Row::Ingest),
    ("write", Row::Write),
    ("federate", Row::Federate),
    ("rules", Row::Rules),
    ("freshness", Row::Freshness),
    ("scrape", Row::Scrape),
    ("churn", Row::Churn),
    ("restart", Row::Restart),
];

/// All of it, checked.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) shape: Shape,
    pub(crate) runs: usize,
    rows: Vec<Row>,
    peers: Vec<Peer>,
}

impl Options {
    /// Reads the arguments; says what is wrong with them and ends, code 2.
    pub(crate) fn of_process() -> Options {
        // Cargo adds --bench.
        let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        Options::parse(&arguments).unwrap_or_else(|fault| {
            eprintln!("{fault}\n{USAGE}");
            exit(2)
        })
    }

    fn parse(arguments: &[String]) -> Result<Options, String> {
        let shape = Shape { clusters: 200, series: 5_000 };
        let mut options = Options { shape, runs: 5, rows: ROWS.map(|(_, row)| row).to_vec(), peers: Vec::new() };
        let mut asked = None;
        for pair in arguments.chunks(2) {
            let [key, value] = pair else { return Err(format!("{} has no value", pair[0])) };
            let bad = || format!("{value:?} is no {key}");
            match key.as_str() {
                "--size" => options.shape = Shape::parse(value).ok_or_else(bad)?,
                "--runs" => options.runs = value.parse().ok().filter(|runs| *runs > 0).ok_or_else(bad)?,
                "--rows" => options.rows = value.split(',').map(row).collect::<Option<_>>().ok_or_else(bad)?,
                "--peers" => asked = Some(value.split(',').map(peer).collect::<Option<Vec<_>>>().ok_or_else(bad)?),
                _ => return Err(format!("{key} is no option")),
            }
        }
        options.choose_peers(asked);
        Ok(options)
    }

    /// Those asked for, or all that suit the size; without those that are not on PATH.
    fn choose_peers(&mut self, asked: Option<Vec<Peer>>) {
        let is_too_large = asked.is_none() && self.shape.total() > PEERS_SERIES_MAX;
        for peer in asked.unwrap_or(Peer::ALL.to_vec()) {
            if peer == Peer::Fedgate {
                self.peers.push(peer);
            } else if is_too_large {
                println!("skipped: {} with over {PEERS_SERIES_MAX} series; name it to run it", peer.program());
            } else if crate::process::find(peer.program()).is_none() {
                println!("skipped: {} is not on PATH", peer.program());
            } else {
                self.peers.push(peer);
            }
        }
    }

    pub(crate) fn has_row(&self, row: Row) -> bool {
        self.rows.contains(&row)
    }

    pub(crate) fn has_peer(&self, peer: Peer) -> bool {
        self.peers.contains(&peer)
    }

    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }
}

fn row(name: &str) -> Option<Row> {
    ROWS.iter().find(|(word, _)| *word == name).map(|(_, row)| *row)
}

fn peer(name: &str) -> Option<Peer> {
    Peer::ALL.into_iter().find(|peer| peer.program() == name)
}

//! Whole processes side by side in one run: the gateway and the collector as `fedgate` starts them, and beside them what a
//! site would run instead: Prometheus, VictoriaMetrics, vmagent.
//!
//! ```text
//! PATH=$(.ci/peers):$PATH cargo bench --bench peers -- [--size 100k|1m|10m|CLUSTERSxSERIES] [--rows ingest,federate,…]
//!                                                      [--peers prometheus,victoria-metrics,vmagent,fedgate] [--runs N]
//! ```
//!
//! It prints markdown. What is compared is CPU time of the server's process, which hardly moves on a busy machine; what
//! loads it (bodies encoded beforehand, pages written beforehand) is this process and not counted. Walls include the load and
//! only mean something on a quiet machine: the noise lines tell. A peer that is not on PATH is left out, and said so.
//!
//! Every row is a file; the others are what the rows share.

#[path = "../site/mod.rs"]
mod site;

mod churn;
mod cluster;
mod exporter;
mod federate;
mod frames;
mod freshness;
mod gateway;
mod http;
mod ingest;
mod machine;
mod options;
mod process;
mod remote_write;
mod report;
mod restart;
mod rules;
mod scrape;
mod server;
mod writer;

use options::{Options, Peer, Row};
use remote_write::{Load, Version};
use report::Report;

fn main() {
    let options = Options::of_process();
    println!("{}", machine::description(&options));
    println!("{}", machine::noise("before"));
    measure(&options, &mut Report::default());
    println!("{}", machine::noise("after"));
}

fn measure(options: &Options, report: &mut Report) {
    let stores = [Row::Ingest, Row::Federate, Row::Rules];
    if stores.iter().any(|row| options.has_row(*row)) {
        measure_stores(options, report);
    }
    if stores.iter().any(|row| options.has_row(*row)) || options.has_row(Row::Freshness) {
        measure_gateway(options, report);
    }
    if options.has_row(Row::Write) {
        ingest::written(options, report);
    }
    if options.has_row(Row::Scrape) {
        scrape::measure(options, report);
    }
    if options.has_row(Row::Churn) && options.has_peer(Peer::Fedgate) {
        churn::measure(options, report);
    }
    if options.has_row(Row::Restart) && options.has_peer(Peer::Fedgate) {
        restart::measure(options, report);
    }
}

/// The peers: each is started, loaded by remote write and read, then the next.
fn measure_stores(options: &Options, report: &mut Report) {
    let peers: Vec<Peer> = [Peer::Prometheus, Peer::VictoriaMetrics, Peer::Vmagent]
        .into_iter()
        .filter(|peer| options.has_peer(*peer))
        .collect();
    if peers.is_empty() {
        return;
    }
    let load = Load::encode(options.shape, ingest::ROUNDS, Version::One);
    for peer in &peers {
        let server = server::start(*peer, "");
        ingest::remote_write(report, &ingest::OWN_WAY, &server, &load, peer.column());
        if options.has_row(Row::Rules) && *peer != Peer::Vmagent {
            server.flush();
            rules::measure(options, report, &server.process, (server.port, load.last), peer.column());
        }
        if options.has_row(Row::Federate) && *peer != Peer::Vmagent {
            Load::encode(options.shape, 1, Version::One).push(&server, 0..1);
            server.flush();
            federate::measure(options, report, &server.process, server.port, peer.column());
        }
    }
    drop(load);
    if options.has_peer(Peer::Prometheus) && options.has_row(Row::Ingest) {
        let load = Load::encode(options.shape, ingest::ROUNDS, Version::Two);
        let (table, server) = (&ingest::OWN_WAY, server::start(Peer::Prometheus, ""));
        ingest::remote_write(report, table, &server, &load, "Prometheus, remote write 2.0");
    }
}

/// fedgate's gateway, loaded with frames over mutual TLS.
fn measure_gateway(options: &Options, report: &mut Report) {
    if !options.has_peer(Peer::Fedgate) {
        return;
    }
    let kept = if options.has_row(Row::Rules) { rules::HISTORY } else { "" };
    let gateway = gateway::start(options.shape, Some(freshness::CLUSTER), &format!("{}{kept}", gateway::JOURNAL));
    let rounds = ingest::ROUNDS + if options.has_row(Row::Freshness) { freshness::ROUNDS } else { 0 };
    let mut pusher = frames::Pusher::new(&gateway, frames::Load::encode(options.shape, rounds, ingest::ROUNDS, 0.0));
    ingest::frames(report, &gateway, &mut pusher);
    if options.has_row(Row::Rules) {
        let at = (gateway.port, pusher.load.last);
        rules::measure(options, report, &gateway.process, at, Peer::Fedgate.column());
    }
    if options.has_row(Row::Federate) {
        federate::measure(options, report, &gateway.process, gateway.port, Peer::Fedgate.column());
        federate::measure_metrics(options, report, &gateway.process, gateway.port);
    }
    if options.has_row(Row::Freshness) {
        freshness::measure(report, &gateway, &mut pusher);
    }
}

//! What a push costs: CPU a sample, first push a series, memory a series. One million series in 200 clusters.
//!
//! `cargo bench --bench apply` prints a table; goals: steady ≤ 40 ns a sample (decode and apply), first push ≤ 1 µs a series,
//! ≤ 200 B a series; with 2 % of the series replaced by each push at most twice the steady figure. `cargo bench --bench apply -- churn`
//! prints the latter alone.

#[path = "shape/mod.rs"]
mod shape;
mod site;

use std::time::Instant;

use fedgate::model::Timestamp;
use fedgate::snapshot::{EncodedFrame, Encoder, Frame, FrameLimits, StreamId};
use fedgate::store::{Arrival, ClusterLimits, ClusterPolicy, Inventory, Store};
use site::{NODE_SERIES, Page};

/// Pushes until series that end and series that begin are in balance, and those that are measured.
const CHURN_ROUNDS: usize = 16;
const CHURN_MEASURED: usize = 6;
/// Part of the series that each push replaces.
const REPLACED: f64 = 0.02;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if shape::is_producer() {
        return;
    }
    if !std::env::args().any(|argument| argument == "churn") {
        measure_site();
    }
    measure_churn(8, 125_000);
    measure_churn(1, 1_000_000);
}

fn measure_site() {
    let path = shape::produced(shape::Order::Family);
    let idle = shape::resident();
    let store = shape::store();
    let series = (shape::CLUSTERS * shape::SERIES) as f64;
    let mut steady = Vec::new();
    shape::replay(&store, &path, |round, cpu| {
        let ns = cpu.as_nanos() as f64 / series;
        match round {
            0 => println!("first push            {ns:8.1} ns a series"),
            _ => steady.push(ns),
        }
    });
    steady.sort_by(f64::total_cmp);
    println!("steady, median        {:8.1} ns a sample", steady[steady.len() / 2]);
    println!("memory                {:8.1} B a series", (shape::resident() - idle) as f64 / series);
    std::fs::remove_file(path).expect("the produced file");
}

/// The same pages with and without replaced series, side by side.
fn measure_churn(clusters: usize, series: usize) {
    let name = format!("{clusters} x {series} series");
    let (plain, churn) = (churned(clusters, series, 0.0), churned(clusters, series, REPLACED));
    println!("{name:<22} {plain:6.1} ns a sample, {churn:6.1} with 2 % replaced, {:.2} times", churn / plain);
}

/// Nanoseconds of CPU to decode and apply one sample, the median of the measured pushes.
fn churned(clusters: usize, series: usize, replaced: f64) -> f64 {
    let store = Store::new(FrameLimits::default());
    let limits = ClusterLimits { series: u64::MAX, ..ClusterLimits::default() };
    let policies = (0..clusters).map(cluster).map(|name| ClusterPolicy {
        identities: vec![name.clone()],
        limits,
        ..ClusterPolicy::new(&name, "production")
    });
    store.set_inventory(Inventory::new(policies).expect("unique names"));
    let mut pages: Vec<Page> =
        (0..clusters).map(|number| Page::new(number as u64 + 1, series / NODE_SERIES, series)).collect();
    let mut encoders: Vec<Encoder> = (0..clusters)
        .map(|number| Encoder::new(StreamId([number as u8; 16]), Timestamp(0), FrameLimits::default()))
        .collect();
    let mut rounds = Vec::new();
    for round in 0..CHURN_ROUNDS {
        let mut spent = 0.0;
        for (number, (page, encoder)) in pages.iter_mut().zip(&mut encoders).enumerate() {
            page.advance();
            page.replace(replaced);
            let frames = encoder.tick(page.now(), page.now(), &[page.scrape()], round == 0);
            spent += apply(&store, &cluster(number), &frames, page.now());
        }
        rounds.push(spent / (clusters * series) as f64);
    }
    let measured = &mut rounds[CHURN_ROUNDS - CHURN_MEASURED..];
    measured.sort_by(f64::total_cmp);
    measured[CHURN_MEASURED / 2]
}

fn cluster(number: usize) -> String {
    format!("c{number:03}")
}

/// Gives one push to the store; nanoseconds of CPU.
fn apply(store: &Store, cluster: &str, frames: &[EncodedFrame], wall: Timestamp) -> f64 {
    let limits = FrameLimits::default();
    let arrival = Arrival {
        collector: cluster.into(),
        certificate_expires: wall,
        wall,
        monotonic: Instant::now(),
        clock_skew_ms: None,
    };
    let before = shape::cpu_time();
    for encoded in frames {
        let (frame, _) = Frame::parse(&encoded.bytes, &limits).expect("our own frame");
        store.apply(cluster, &frame, &arrival).expect("frames in order");
    }
    (shape::cpu_time() - before).as_nanos() as f64
}

//! What it costs to send: CPU a sample, from a cluster's next view to a body ready for the wire. 100,000 series in 20 clusters.
//!
//! `cargo bench --bench remote_write` prints a table; the goal is a million samples a second and core for either version.

#[path = "shape/mod.rs"]
mod shape;

use std::time::Instant;

use fedgate::model::{Labels, Timestamp};
use fedgate::relabel::Steps;
use fedgate::remote_write::send::{BodyEncoder, Followed, Labelling, Options, Version};

/// Clusters that are sent.
const SENT: usize = 20;
const ROWS_MAX: usize = 2000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One version's figures over all rounds but the first.
#[derive(Default)]
struct Figures {
    seconds: f64,
    bytes: usize,
    samples: u64,
}

fn main() {
    if shape::is_producer() {
        return;
    }
    let path = shape::produced(shape::Order::Family);
    let store = shape::store();
    let labelling = Labelling {
        external_labels: Labels::from_pairs([("replica", "a"), ("region", "north")]),
        steps: Steps::default(),
    };
    let mut followed: Vec<Followed> = (0..SENT).map(|_| Followed::default()).collect();
    let (mut encoder, mut follow, mut figures) =
        (BodyEncoder::default(), 0.0, [Figures::default(), Figures::default()]);
    let options = Options { exemplars: true, histograms: true, oldest: None::<Timestamp> };
    shape::replay(&store, &path, |round, _| {
        for (number, followed) in followed.iter_mut().enumerate() {
            let view = store.cluster(&format!("c{number:03}")).expect("it is in the inventory");
            let began = Instant::now();
            let frame = followed.follow(&view, &labelling);
            let parts = frame.cut(frame.start(), frame.end(), &options, ROWS_MAX);
            if round > 0 {
                follow += began.elapsed().as_secs_f64();
            }
            for (figures, version) in figures.iter_mut().zip([Version::V1, Version::V2]) {
                let began = Instant::now();
                let bytes: usize = parts.iter().map(|part| encoder.body(version, &frame, part, &options).len()).sum();
                if round > 0 {
                    figures.seconds += began.elapsed().as_secs_f64();
                    figures.bytes += bytes;
                    figures.samples += parts.iter().map(|part| u64::from(part.rows)).sum::<u64>();
                }
            }
        }
    });
    for (figures, name) in figures.iter().zip(["1.0", "2.0"]) {
        let samples = figures.samples as f64;
        let (follow, encode) = (follow / samples * 1e9, figures.seconds / samples * 1e9);
        println!(
            "{name}   {:6.2} M samples a second and core   {follow:5.1} ns to follow and cut, {encode:6.1} to encode and \
             compress, {:5.1} B a sample",
            1e3 / (follow + encode),
            figures.bytes as f64 / samples
        );
    }
    std::fs::remove_file(path).expect("the produced file");
}

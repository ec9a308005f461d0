//! What is lost on the way from exporters to a receiver of remote write while everything between them is killed and cut off:
//! `cargo bench --bench loss -- --seeds 20 [--first 1] [--seconds 60] [--faults 12] [--kind fedgate|prometheus|vmagent]
//! [--long-outage] [--full-disk]`.
//!
//! The peers' kinds need Prometheus and vmagent on the PATH (`PATH=$(.ci/peers):$PATH`), the long outage Debian's libfaketime, the
//! full disk the right to mount. Prints a verdict a seed and the sum; fails on what docs/reliability.md does not promise, of fedgate.

#[allow(dead_code)]
#[path = "../tests/it/dice.rs"]
mod dice;
#[allow(dead_code)]
#[path = "../tests/it/loss/mod.rs"]
mod loss;
#[allow(dead_code)]
#[path = "../tests/it/site/mod.rs"]
mod site;

use std::process::ExitCode;
use std::time::Duration;

use loss::{Kind, Plan, Verdict, faketime};

/// The value of `--name`.
fn value(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn has(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

fn number(name: &str, default: u64) -> u64 {
    value(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} {value:?} is no number")))
}

fn main() -> ExitCode {
    // `cargo test --benches` and a plain `cargo bench` mean the others.
    if value("--seeds").is_none() {
        println!("loss: give it how many, cargo bench --bench loss -- --seeds 20 [--seconds 60] [--kind fedgate]");
        return ExitCode::SUCCESS;
    }
    let kind = match value("--kind").as_deref() {
        None | Some("fedgate") => Kind::Fedgate,
        Some("prometheus") => Kind::PrometheusAgent,
        Some("vmagent") => Kind::Vmagent,
        Some(other) => panic!("--kind {other:?}, expected fedgate, prometheus or vmagent"),
    };
    assert!(
        !has("--long-outage") || faketime().is_some(),
        "--long-outage needs libfaketime, Debian's package faketime"
    );
    let (mut sum, first) = (Verdict::default(), number("--first", 1));
    for seed in first..first + number("--seeds", 1) {
        let verdict = loss::run(&Plan {
            kind,
            length: Duration::from_secs(number("--seconds", 60)),
            pace: Duration::from_secs(number("--pace", 1)),
            clusters: 2,
            faults: number("--faults", 12) as usize,
            seed,
            has_long_outage: has("--long-outage"),
            has_small_disk: has("--full-disk"),
            is_verbose: true,
        });
        println!("seed {seed}\n{verdict}");
        sum.add(&verdict);
    }
    println!("{kind:?}, all seeds\n{sum}");
    if kind != Kind::Fedgate || sum.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

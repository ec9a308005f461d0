//! An hour of a site in operation, with restarts, watched by a real Prometheus: `cargo bench --bench soak -- --minutes 60`.
//!
//! Needs Prometheus 3.5 on the PATH (`PATH=$(.ci/peers):$PATH`). Prints what was counted, and fails on whatever no restart
//! explains. The same in half a minute is one of the tests; what is promised stands in docs/reliability.md.

#[allow(dead_code)]
#[path = "../tests/it/dice.rs"]
mod dice;
#[allow(dead_code)]
#[path = "../tests/it/site/mod.rs"]
mod site;
#[allow(unused)]
#[path = "../tests/it/soak/mod.rs"]
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use soak::Plan;

/// The value of `--name`, else the default.
fn number(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} {value:?} is no number")))
}

fn main() -> ExitCode {
    // `cargo test --benches` and a plain `cargo bench` mean the others.
    if !std::env::args().any(|argument| argument == "--minutes") || !site::prometheus::has_peer("prometheus", "3.5.") {
        println!("soak: give it its length, cargo bench --bench soak -- --minutes 60 [--seed 1] [--pace 5]");
        return ExitCode::SUCCESS;
    }
    let report = soak::run(&Plan {
        length: Duration::from_secs(60 * number("--minutes", 60)),
        pace: Duration::from_secs(number("--pace", 5)),
        clusters: 3,
        nodes: 50,
        calm: (Duration::from_secs(100), Duration::from_secs(180)),
        seed: number("--seed", 1),
        is_verbose: true,
    });
    println!("{}", report.text);
    report.faults.iter().for_each(|fault| println!("fault: {fault}"));
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

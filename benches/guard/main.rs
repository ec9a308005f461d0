//! The regression guard: what a sample costs in instructions, allocations and bytes, none of which depends on how fast or
//! busy a machine is, against the figures in `baseline.txt`.
//!
//! | command | does |
//! |---|---|
//! | `cargo bench --bench guard` | measures, compares, ends with 1 and says which figure grew if one did |
//! | `cargo bench --bench guard -- --accept` | measures and makes what it found the baseline |
//!
//! Instructions are callgrind's and allocations DHAT's (both of valgrind), of this program running one part for some rounds and
//! for twice as many: the difference is free of start and preparation.

#[path = "../site/mod.rs"]
mod site;

mod baseline;
mod parts;
mod valgrind;
mod wire;

use std::process::ExitCode;

use baseline::{Baseline, Figure};
use parts::PARTS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--accept"] => accept(),
        ["--run", part, rounds] => run(part, rounds.parse().expect("rounds, a number")),
        _ => {
            eprintln!("guard: {arguments:?}, expected nothing or --accept");
            ExitCode::FAILURE
        }
    }
}

/// What a measurement under valgrind executes.
fn run(name: &str, rounds: usize) -> ExitCode {
    let part = PARTS.iter().find(|part| part.name == name).expect("a part");
    let mut round = (part.prepare)();
    (0..rounds).for_each(&mut round);
    ExitCode::SUCCESS
}

fn measured() -> Vec<Figure> {
    let mut figures = Vec::new();
    for part in PARTS {
        figures.push(Figure::new(part.name, "instructions", valgrind::instructions(part)));
        figures.push(Figure::new(part.name, "allocations", valgrind::allocations(part)));
    }
    figures.extend(wire::figures());
    figures
}

fn compare() -> ExitCode {
    let baseline = Baseline::read();
    if let Some(reason) = valgrind::unfit() {
        // Silence would be taken for success.
        println!("guard: instructions and allocations are not compared: {reason}");
        return report(&baseline, &wire::figures());
    }
    report(&baseline, &measured())
}

fn report(baseline: &Baseline, figures: &[Figure]) -> ExitCode {
    println!("{:<12} {:<14} {:>10} {:>10}", "part", "a sample", "baseline", "now");
    let faults: Vec<String> = figures.iter().filter_map(|figure| baseline.check(figure)).collect();
    if faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nguard: {} of the figures grew:", faults.len());
    faults.iter().for_each(|fault| eprintln!("  {fault}"));
    eprintln!("if this is meant, say why in the commit that does it, with the new {}", baseline::PATH);
    eprintln!("from: cargo bench --bench guard -- --accept");
    ExitCode::FAILURE
}

fn accept() -> ExitCode {
    if let Some(reason) = valgrind::unfit() {
        eprintln!("guard: no baseline without valgrind's figures: {reason}");
        return ExitCode::FAILURE;
    }
    Baseline::write(&measured());
    println!("guard: {} has the new figures", baseline::PATH);
    ExitCode::SUCCESS
}

//! This program under valgrind, and what its tools count of one part.

use std::process::Command;

use super::parts::Part;

/// Rounds of the shorter run; the longer has twice as many.
const ROUNDS: usize = 8;

/// Why this machine's figures cannot be compared with the baseline's.
pub(crate) fn unfit() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the baseline is of x86-64".to_owned());
    }
    #[cfg(target_arch = "x86_64")]
    if !std::is_x86_feature_detected!("avx2") {
        return Some("the baseline is of a processor with AVX2".to_owned());
    }
    let found = Command::new("valgrind").arg("--version").output();
    found.is_err().then(|| "there is no valgrind".to_owned())
}

/// Instructions a sample.
pub(crate) fn instructions(part: &Part) -> f64 {
    a_sample(part, &["--tool=callgrind", "--callgrind-out-file=/dev/null"], "Collected : ")
}

/// Allocations a sample.
pub(crate) fn allocations(part: &Part) -> f64 {
    a_sample(part, &["--tool=dhat", "--dhat-out-file=/dev/null"], " bytes in ")
}

fn a_sample(part: &Part, tool: &[&str], before: &str) -> f64 {
    let [short, long] = [ROUNDS, 2 * ROUNDS].map(|rounds| count(part.name, rounds, tool, before));
    (long - short) / (ROUNDS * part.samples) as f64
}

/// The number behind the first `before` of what the tool prints.
fn count(part: &str, rounds: usize, tool: &[&str], before: &str) -> f64 {
    let this = std::env::current_exe().expect("the bench's own path");
    let mut command = Command::new("valgrind");
    let output = command.args(tool).arg(this).args(["--run", part, &rounds.to_string()]).output();
    let output = output.expect("valgrind runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part} under {}: {printed}", tool[0]);
    let digits = printed.split_once(before).map(|(_, rest)| rest).and_then(|rest| rest.split_whitespace().next());
    let digits = digits.unwrap_or_else(|| panic!("{} printed no {before:?}: {printed}", tool[0])).replace(',', "");
    digits.parse().unwrap_or_else(|_| panic!("{} printed {digits:?}, expected a number", tool[0]))
}

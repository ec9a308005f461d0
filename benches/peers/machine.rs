//! What the figures were taken on, and how quiet it was.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::options::{Options, Peer};
use crate::process;

/// The spin of the noise line: long enough to meet what else runs.
const SPINS: u64 = 2_000_000_000;

/// Machine, versions and size, as markdown.
pub(crate) fn description(options: &Options) -> String {
    let shape = options.shape;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let versions: Vec<String> = options.peers().iter().map(|peer| version(*peer)).collect();
    format!(
        "Site: {} clusters of {} series, {} in all. Machine: {cores} cores of {}, {:.0} GiB, Linux {}. Versions: {}.\n",
        shape.clusters,
        shape.series,
        shape.total(),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_048_576.0,
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        versions.join(", "),
    )
}

/// Load and a fixed spin: its wall is its CPU time on a quiet machine.
pub(crate) fn noise(when: &str) -> String {
    let (wall, cpu) = (Instant::now(), thread_cpu());
    let mut sum = 0_u64;
    for number in 0..SPINS {
        sum = std::hint::black_box(sum.wrapping_add(number));
    }
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), thread_cpu() - cpu);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "Noise {when}: load {load}, a fixed spin took {wall:.3} s of wall and {cpu:.3} s of CPU, {:.2} times.\n",
        wall / cpu
    )
}

/// CPU seconds of this thread.
fn thread_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).expect("nanoseconds") / 1e9
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
}

/// A program's name and version, whatever words it says them in.
fn version(peer: Peer) -> String {
    if peer == Peer::Fedgate {
        return format!("fedgate {}", env!("CARGO_PKG_VERSION"));
    }
    let program = process::find(peer.program()).expect("found before");
    let output = Command::new(program).arg("--version").output().expect("it ran before");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let is_version = |word: &&str| word.contains('.') && word.contains(|character: char| character.is_ascii_digit());
    let first = said.lines().next().unwrap_or_default();
    // Debian builds VictoriaMetrics without its version.
    let word = first.split([' ', '-', ',', '+']).find(is_version).unwrap_or("(does not say its version)");
    format!("{} {word}", peer.program())
}

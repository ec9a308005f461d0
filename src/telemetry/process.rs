//! The `process_*` metrics that every Prometheus client library gives, read from `/proc/self`.
//!
//! The collector has them under those names, on the page of its own target. The gateway's stand on a page among all
//! clusters' series, where everything of its own is named `fedgate_…`; so they have a prefix there.
//!
//! Where `/proc` does not exist or a file looks otherwise the series are absent: an absence is better than a zero.

use std::fs;

use super::registry::{Kind, Registry};

/// Clock ticks a second in `/proc/self/stat`: fixed for programs on every architecture that Linux still supports,
/// whatever the kernel's own tick is (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the families, each name behind `prefix`.
pub(super) fn register(registry: &mut Registry, prefix: &str) {
    let mut gauge = |name, help, read: fn() -> Option<f64>| {
        registry.derive(&format!("{prefix}process_{name}"), help, Kind::Gauge, move |emit| {
            if let Some(value) = read() {
                emit.series(&[], value);
            }
        });
    };
    gauge("resident_memory_bytes", "Resident memory size in bytes", || status_bytes("VmRSS:"));
    gauge("virtual_memory_bytes", "Virtual memory size in bytes", || status_bytes("VmSize:"));
    gauge("open_fds", "Number of open file descriptors", open_files);
    gauge("max_fds", "Maximum number of open file descriptors", max_files);
    gauge("start_time_seconds", "Start time of the process since the Unix epoch in seconds", start_seconds);
    let cpu = format!("{prefix}process_cpu_seconds");
    registry.derive(&cpu, "Total user and system CPU time spent in seconds", Kind::Counter, |emit| {
        if let Some(value) = cpu_seconds() {
            emit.series(&[], value);
        }
    });
}

/// A field of `/proc/self/status` that is given in kB.
fn status_bytes(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

/// Field `number` (counted from 1, as in proc(5)) of `/proc/self/stat`, from the fourth on: the second is the program's
/// name, which may hold blanks and brackets.
fn stat_field(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat_field(14)? + stat_field(15)?) / TICKS_PER_SECOND)
}

fn start_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(22)? / TICKS_PER_SECOND)
}

fn open_files() -> Option<f64> {
    // The listing itself holds one descriptor open.
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64)
}

fn max_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_and_a_past() {
        assert!(status_bytes("VmRSS:").is_some_and(|bytes| bytes > 1e6));
        assert!(start_seconds().is_some_and(|seconds| seconds > 1.5e9));
        assert!(open_files().is_some_and(|files| files >= 3.0) && max_files().is_some());
    }
}

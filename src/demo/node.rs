//! A node's page: node_exporter's families, and a cgroup exporter's for the jobs that run there.
//!
//! All nodes have the same lines, so names and labels are written once, into a [`Template`], and a page is those bytes
//! with a number behind each line. Only the jobs' series differ from page to page.

use super::dice::share;
use super::fleet::{Fleet, Job, Node, SLOTS, USERS};
use crate::exposition::{Format, write_help, write_label, write_type, write_value};
use crate::model::MetricType;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// 2026-01-01, when every node of the site was installed.
const INSTALLED_AT: f64 = 1_767_225_600.0;
/// Steps that counters have behind them at step 0, at most.
const UPTIME_STEPS: f64 = 100_000.0;

/// The modes of a CPU, and whether it is in them while a job runs: `None` for a small constant share.
const MODES: [(&str, Option<bool>); 8] = [
    ("idle", Some(false)),
    ("iowait", None),
    ("irq", None),
    ("nice", None),
    ("softirq", None),
    ("steal", None),
    ("system", None),
    ("user", Some(true)),
];

/// How a line's number comes about.
#[derive(Clone, Copy, Debug)]
enum Quantity {
    Fixed(f64),
    /// Grows by about so much a second, in whole numbers.
    Counter(f64),
    /// Somewhere around so much.
    Around(f64),
    /// Seconds of a CPU of a slot in one of [`MODES`].
    CpuSeconds {
        slot: usize,
        mode: usize,
    },
    /// Runnable threads, from the jobs.
    Load,
    /// Memory in bytes that the jobs leave.
    MemoryAvailable,
    MemoryTotal,
    /// The node's own time.
    Time,
}

/// The lines that every node has.
pub(super) struct Template {
    text: Vec<u8>,
    lines: Vec<(usize, Quantity)>,
    step_seconds: f64,
}

/// Gauges without labels.
const GAUGES: [(&str, Quantity); 24] = [
    ("node_boot_time_seconds", Quantity::Fixed(INSTALLED_AT)),
    ("node_entropy_available_bits", Quantity::Fixed(256.0)),
    ("node_filefd_allocated", Quantity::Around(4000.0)),
    ("node_filefd_maximum", Quantity::Fixed(9.223_372_036_854_776e18)),
    ("node_load1", Quantity::Load),
    ("node_load15", Quantity::Load),
    ("node_load5", Quantity::Load),
    ("node_memory_Buffers_bytes", Quantity::Fixed(0.25 * GIB)),
    ("node_memory_Cached_bytes", Quantity::Around(9.0 * GIB)),
    ("node_memory_Dirty_bytes", Quantity::Around(3.0 * MIB)),
    ("node_memory_HugePages_Total", Quantity::Fixed(0.0)),
    ("node_memory_MemAvailable_bytes", Quantity::MemoryAvailable),
    ("node_memory_MemFree_bytes", Quantity::MemoryAvailable),
    ("node_memory_MemTotal_bytes", Quantity::MemoryTotal),
    ("node_memory_Shmem_bytes", Quantity::Fixed(2.0 * MIB)),
    ("node_memory_SwapFree_bytes", Quantity::Fixed(0.0)),
    ("node_memory_SwapTotal_bytes", Quantity::Fixed(0.0)),
    ("node_nf_conntrack_entries", Quantity::Around(180.0)),
    ("node_nf_conntrack_entries_limit", Quantity::Fixed(262_144.0)),
    ("node_procs_blocked", Quantity::Fixed(0.0)),
    ("node_procs_running", Quantity::Load),
    ("node_time_seconds", Quantity::Time),
    ("node_timex_offset_seconds", Quantity::Around(1e-6)),
    ("node_timex_sync_status", Quantity::Fixed(1.0)),
];

/// Counters without labels.
const COUNTERS: [(&str, Quantity); 10] = [
    ("node_context_switches_total", Quantity::Counter(9000.0)),
    ("node_forks_total", Quantity::Counter(12.0)),
    ("node_intr_total", Quantity::Counter(21_000.0)),
    ("node_pressure_cpu_waiting_seconds_total", Quantity::Counter(0.02)),
    ("node_pressure_io_waiting_seconds_total", Quantity::Counter(0.01)),
    ("node_pressure_memory_waiting_seconds_total", Quantity::Fixed(0.0)),
    ("node_vmstat_oom_kill", Quantity::Fixed(0.0)),
    ("node_vmstat_pgfault", Quantity::Counter(15_000.0)),
    ("node_vmstat_pgmajfault", Quantity::Counter(0.1)),
    ("node_vmstat_pswpout", Quantity::Fixed(0.0)),
];

/// Families with a line a device.
const DEVICES: [(&str, &str, &[&str], MetricType, Quantity); 19] = [
    ("node_disk_io_time_seconds_total", "device", &["nvme0n1"], MetricType::Counter, Quantity::Counter(0.05)),
    ("node_disk_read_bytes_total", "device", &["nvme0n1"], MetricType::Counter, Quantity::Counter(2e6)),
    ("node_disk_reads_completed_total", "device", &["nvme0n1"], MetricType::Counter, Quantity::Counter(40.0)),
    ("node_disk_writes_completed_total", "device", &["nvme0n1"], MetricType::Counter, Quantity::Counter(90.0)),
    ("node_disk_written_bytes_total", "device", &["nvme0n1"], MetricType::Counter, Quantity::Counter(5e6)),
    ("node_filesystem_avail_bytes", "mountpoint", &["/", "/scratch"], MetricType::Gauge, Quantity::Around(400.0 * GIB)),
    ("node_filesystem_files_free", "mountpoint", &["/", "/scratch"], MetricType::Gauge, Quantity::Fixed(9e6)),
    ("node_filesystem_readonly", "mountpoint", &["/", "/scratch"], MetricType::Gauge, Quantity::Fixed(0.0)),
    ("node_filesystem_size_bytes", "mountpoint", &["/", "/scratch"], MetricType::Gauge, Quantity::Fixed(894.0 * GIB)),
    ("node_hwmon_temp_celsius", "sensor", &["temp1", "temp2"], MetricType::Gauge, Quantity::Around(50.0)),
    (
        "node_infiniband_port_data_received_bytes_total",
        "device",
        &["mlx5_0"],
        MetricType::Counter,
        Quantity::Counter(3e8),
    ),
    (
        "node_infiniband_port_data_transmitted_bytes_total",
        "device",
        &["mlx5_0"],
        MetricType::Counter,
        Quantity::Counter(3e8),
    ),
    ("node_network_receive_bytes_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Counter(1e6)),
    ("node_network_receive_drop_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Fixed(0.0)),
    ("node_network_receive_errs_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Fixed(0.0)),
    ("node_network_transmit_bytes_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Counter(1e6)),
    ("node_network_transmit_drop_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Fixed(0.0)),
    ("node_network_transmit_errs_total", "device", &["eth0", "ib0"], MetricType::Counter, Quantity::Fixed(0.0)),
    ("node_network_up", "device", &["eth0", "ib0"], MetricType::Gauge, Quantity::Fixed(1.0)),
];

/// What a cgroup exporter says of each job; the last one names it and is 1.
const JOB_FAMILIES: [&str; 4] = ["cgroup_cpus", "cgroup_cpu_user_seconds", "cgroup_memory_used_bytes", "cgroup_info"];

impl Template {
    /// Lines of a page that do not depend on the number of CPUs, jobs left out.
    pub(super) const FIXED_LINES: usize = 65;
    /// Lines a CPU adds.
    pub(super) const LINES_PER_CPU: usize = MODES.len();

    /// The lines of a node with `cpus` CPUs, whose counters move by `step_seconds` a step.
    pub(super) fn new(cpus: u64, step_seconds: f64) -> Template {
        let mut template = Template { text: Vec::new(), lines: Vec::new(), step_seconds };
        template.add_head("node_cpu_seconds_total", MetricType::Counter);
        for cpu in 0..cpus {
            let slot = (cpu * SLOTS as u64 / cpus) as usize;
            for (mode, (name, _)) in MODES.iter().enumerate() {
                let labels = [("cpu", cpu.to_string()), ("mode", (*name).to_owned())];
                template.add_line("node_cpu_seconds_total", &labels, Quantity::CpuSeconds { slot, mode });
            }
        }
        for (families, kind) in [(GAUGES.as_slice(), MetricType::Gauge), (&COUNTERS, MetricType::Counter)] {
            for (name, quantity) in families {
                template.add_head(name, kind);
                template.add_line(name, &[], *quantity);
            }
        }
        for (name, label, devices, kind, quantity) in DEVICES {
            template.add_head(name, kind);
            for device in devices {
                template.add_line(name, &[(label, (*device).to_owned())], quantity);
            }
        }
        template
    }

    fn add_head(&mut self, name: &str, kind: MetricType) {
        let words = name.trim_start_matches("node_").replace('_', " ");
        write_help(&mut self.text, Format::Text, name, &words);
        write_type(&mut self.text, Format::Text, name, kind);
    }

    fn add_line(&mut self, name: &str, labels: &[(&str, String)], quantity: Quantity) {
        self.text.extend_from_slice(name.as_bytes());
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { b'{' } else { b',' });
            write_label(&mut self.text, label, value);
        }
        self.text.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
        self.lines.push((self.text.len(), quantity));
    }

    /// Appends the page of `fleet`'s node number `at` at `step`.
    pub(super) fn write_page(&self, out: &mut Vec<u8>, fleet: &Fleet, at: usize, step: u64) {
        let moment = Moment::new(fleet, at, step, self.step_seconds);
        out.reserve(self.text.len() + 16 * self.lines.len());
        let mut from = 0;
        for (line, (to, quantity)) in self.lines.iter().enumerate() {
            out.extend_from_slice(&self.text[from..*to]);
            write_value(out, moment.value(*quantity, line));
            out.push(b'\n');
            from = *to;
        }
        moment.write_jobs(out);
    }
}

/// A node at one step, with what its numbers are made from.
struct Moment<'a> {
    node: &'a Node,
    step: u64,
    step_seconds: f64,
    /// Steps since the counters began.
    uptime: f64,
    /// Of those, the steps in which each slot was busy.
    busy: [f64; SLOTS],
    jobs: Vec<Job>,
    load: f64,
    memory_left: f64,
}

impl<'a> Moment<'a> {
    fn new(fleet: &'a Fleet, at: usize, step: u64, step_seconds: f64) -> Moment<'a> {
        let node = &fleet.nodes[at];
        let jobs: Vec<_> = fleet.node_at(at, step).jobs.into_iter().flatten().collect();
        let cpus: u64 = jobs.iter().map(|job| job.cpus).sum();
        let memory_mib: u64 = jobs.iter().map(|job| job.memory_mib).sum();
        Moment {
            node,
            step,
            step_seconds,
            uptime: (share(node.seed, [0]) * UPTIME_STEPS).floor() + step as f64,
            busy: node.slots.each_ref().map(|slot| slot.at(step).busy_steps as f64),
            load: cpus as f64 + share(node.seed, [step, 1]),
            memory_left: (node.memory_mib - memory_mib) as f64 * MIB * 0.97,
            jobs,
        }
    }

    fn value(&self, quantity: Quantity, line: usize) -> f64 {
        let chance = || share(self.node.seed, [self.step, line as u64]);
        match quantity {
            Quantity::Fixed(value) => value,
            Quantity::Around(middle) if middle < 1.0 => middle * (0.5 + chance()),
            Quantity::Around(middle) => (middle * (0.9 + 0.2 * chance())).round(),
            Quantity::Counter(rate) => {
                // Less than a step's worth of chance, so that the next step is never lower.
                (rate * (0.5 + share(self.node.seed, [line as u64])) * self.step_seconds * (self.uptime + chance()))
                    .floor()
            }
            Quantity::CpuSeconds { slot, mode } => self.cpu_seconds(slot, mode),
            Quantity::Load => (self.load * 100.0).round() / 100.0,
            Quantity::MemoryAvailable => (self.memory_left * (0.99 + 0.01 * chance())).round(),
            Quantity::MemoryTotal => self.node.memory_mib as f64 * MIB,
            Quantity::Time => INSTALLED_AT + self.uptime * self.step_seconds,
        }
    }

    /// While a job runs its CPUs compute, otherwise they idle; to the hundredth, as the kernel counts.
    fn cpu_seconds(&self, slot: usize, mode: usize) -> f64 {
        let (busy, idle) = (self.busy[slot], self.uptime + UPTIME_STEPS - self.busy[slot]);
        let steps = match MODES[mode] {
            (_, Some(true)) => 0.97 * busy,
            (_, Some(false)) => 0.995 * idle,
            ("system", None) => 0.02 * busy + 0.003 * idle,
            ("iowait", None) => 0.005 * busy,
            (_, None) => 0.0,
        };
        (steps * self.step_seconds * 100.0).floor() / 100.0
    }

    /// The jobs' own series: they come with a job and end with it.
    fn write_jobs(&self, out: &mut Vec<u8>) {
        for name in JOB_FAMILIES {
            write_type(out, Format::Text, name, MetricType::Gauge);
            for job in &self.jobs {
                out.extend_from_slice(name.as_bytes());
                out.push(b'{');
                write_label(out, "cgroup", &format!("/system.slice/slurmstepd.scope/job_{}", job.id));
                if name == "cgroup_info" {
                    out.push(b',');
                    write_label(out, "jobid", &job.id.to_string());
                    out.push(b',');
                    write_label(out, "username", USERS[job.user]);
                }
                out.extend_from_slice(b"} ");
                write_value(out, self.job_value(name, job));
                out.push(b'\n');
            }
        }
    }

    fn job_value(&self, family: &str, job: &Job) -> f64 {
        match family {
            "cgroup_cpus" => job.cpus as f64,
            "cgroup_cpu_user_seconds" => (job.age * job.cpus) as f64 * self.step_seconds * 0.97,
            "cgroup_memory_used_bytes" => {
                (job.memory_mib as f64 * MIB * (0.6 + 0.3 * share(job.id, [self.step]))).round()
            }
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_counts_the_lines_right() {
        for cpus in [1, 8, 64] {
            let lines = Template::new(cpus, 15.0).lines.len();
            assert_eq!(lines, Template::FIXED_LINES + cpus as usize * Template::LINES_PER_CPU);
        }
    }
}

//! slurmctld's own pages, by the names that Slurm 26.05 gives its metrics.
//!
//! As there: everything is a gauge, memory is in MiB whatever the name says, base states of nodes add up to
//! `slurm_nodes`, and a user's series are there only while the user has jobs.

use std::collections::BTreeMap;

use super::dice::roll;
use super::fleet::{ACCOUNTS, Fleet, Job, NodeMoment, PARTITIONS, State, USERS};
use crate::exposition::{Format, write_help, write_label, write_type, write_value};
use crate::model::MetricType;

/// A page of slurmctld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Jobs,
    Nodes,
    Partitions,
    Scheduler,
    UsersAccounts,
}

impl Page {
    pub(super) const ALL: [Page; 5] = [Page::Jobs, Page::Nodes, Page::Partitions, Page::Scheduler, Page::UsersAccounts];

    /// The last part of its path.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Page::Jobs => "jobs",
            Page::Nodes => "nodes",
            Page::Partitions => "partitions",
            Page::Scheduler => "scheduler",
            Page::UsersAccounts => "jobs-users-accts",
        }
    }

    pub(super) fn of_str(name: &str) -> Option<Page> {
        Page::ALL.into_iter().find(|page| page.as_str() == name)
    }
}

/// Sums over jobs: those of a cluster, a partition, a user or an account.
#[derive(Clone, Default)]
struct JobSums {
    running: u64,
    pending: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    cpus: u64,
    gpus: u64,
    memory_mib: u64,
}

impl JobSums {
    fn add(&mut self, job: &Job) {
        self.running += 1;
        self.cpus += job.cpus;
        self.gpus += job.gpus;
        self.memory_mib += job.memory_mib;
    }

    /// Of 32 jobs that end, two fail and one is cancelled.
    fn add_finished(&mut self, finished: u64) {
        self.failed += finished / 16;
        self.cancelled += finished / 32;
        self.completed += finished - finished / 16 - finished / 32;
    }

    fn finished(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }

    fn all(&self) -> u64 {
        self.running + self.pending + self.finished()
    }
}

/// Sums over nodes: those of a cluster or a partition.
#[derive(Clone, Default)]
struct NodeSums {
    states: [u64; 5],
    cpus: u64,
    cpus_alloc: u64,
    gpus: u64,
    memory_mib: u64,
    memory_alloc_mib: u64,
}

impl NodeSums {
    fn nodes(&self) -> u64 {
        self.states.iter().sum()
    }

    fn of_state(&self, state: State) -> u64 {
        self.states[state as usize]
    }
}

/// One number of a kind of sums: the end of its metric's name, and how it is read.
type Field<T> = (&'static str, fn(&T) -> u64);

/// What `slurm_jobs…`, `slurm_partition_jobs…`, `slurm_user_jobs…` and `slurm_account_jobs…` have in common.
const JOB_FIELDS: [Field<JobSums>; 29] = [
    ("", JobSums::all),
    ("_bootfail", |_| 0),
    ("_cancelled", |sums| sums.cancelled),
    ("_completed", |sums| sums.completed),
    ("_completing", |_| 0),
    ("_configuring", |_| 0),
    ("_cpus_alloc", |sums| sums.cpus),
    ("_deadline", |_| 0),
    ("_expediting", |_| 0),
    ("_failed", |sums| sums.failed),
    ("_fed_requeued", |_| 0),
    ("_finished", JobSums::finished),
    ("_gpus_alloc", |sums| sums.gpus),
    ("_hold", |_| 0),
    ("_memory_alloc", |sums| sums.memory_mib),
    ("_node_failed", |_| 0),
    ("_outofmemory", |_| 0),
    ("_pending", |sums| sums.pending),
    ("_powerup_node", |_| 0),
    ("_preempted", |_| 0),
    ("_requeued", |_| 0),
    ("_resizing", |_| 0),
    ("_revoked", |_| 0),
    ("_running", |sums| sums.running),
    ("_signaling", |_| 0),
    ("_stageout", |_| 0),
    ("_started", |sums| sums.running + sums.finished()),
    ("_suspended", |_| 0),
    ("_timeout", |_| 0),
];

/// What `slurm_nodes…` and `slurm_partition_nodes…` have in common.
const NODE_FIELDS: [Field<NodeSums>; 19] = [
    ("", NodeSums::nodes),
    ("_alloc", |sums| sums.of_state(State::Allocated)),
    ("_blocked", |_| 0),
    ("_cloud", |_| 0),
    ("_down", |sums| sums.of_state(State::Down)),
    ("_drain", |sums| sums.of_state(State::Drained)),
    ("_drained", |sums| sums.of_state(State::Drained)),
    ("_draining", |_| 0),
    ("_fail", |_| 0),
    ("_future", |_| 0),
    // The base state: a drained node is idle too.
    ("_idle", |sums| sums.of_state(State::Idle) + sums.of_state(State::Drained)),
    ("_invalid_reg", |_| 0),
    ("_maint", |_| 0),
    ("_mixed", |sums| sums.of_state(State::Mixed)),
    ("_planned", |_| 0),
    ("_power_down", |_| 0),
    ("_powered_down", |_| 0),
    ("_resv", |_| 0),
    ("_unknown", |_| 0),
];

/// Further fields of a partition.
const PARTITION_FIELDS: [Field<NodeSums>; 9] = [
    ("_cpus", |sums| sums.cpus),
    ("_gpus", |sums| sums.gpus),
    ("_nodes_cpus_alloc", |sums| sums.cpus_alloc),
    ("_nodes_cpus_efctv", |sums| sums.cpus),
    ("_nodes_cpus_idle", |sums| sums.cpus - sums.cpus_alloc),
    ("_nodes_mem_alloc", |sums| sums.memory_alloc_mib),
    ("_nodes_mem_avail", |sums| sums.memory_mib),
    ("_nodes_mem_free", |sums| sums.memory_mib - sums.memory_alloc_mib),
    ("_nodes_mem_tot", |sums| sums.memory_mib),
];

/// What the scheduler did per step and does each time: counters (typed gauge, as there) and readings.
const SCHEDULER_FIELDS: [(&str, Rate); 16] = [
    ("slurm_bf_active", Rate::Around(0)),
    ("slurm_bf_cycle_cnt", Rate::PerStep(1)),
    ("slurm_bf_cycle_last", Rate::Around(2900)),
    ("slurm_bf_depth_mean", Rate::Around(12)),
    ("slurm_bf_queue_len", Rate::Around(40)),
    ("slurm_backfilled_jobs", Rate::PerStep(2)),
    ("slurm_schedule_cycle_cnt", Rate::PerStep(5)),
    ("slurm_schedule_cycle_last", Rate::Around(650)),
    ("slurm_schedule_cycle_max", Rate::Constant(9800)),
    ("slurm_schedule_queue_len", Rate::Around(30)),
    ("slurm_sched_mean_cycle", Rate::Around(240)),
    ("slurm_sched_exit_end", Rate::PerStep(5)),
    ("slurm_sched_exit_timeout", Rate::Constant(0)),
    ("slurm_server_thread_cnt", Rate::Around(4)),
    ("slurm_slurmdbd_queue_size", Rate::Constant(0)),
    ("slurm_agent_queue_size", Rate::Around(2)),
];

#[derive(Clone, Copy)]
enum Rate {
    Constant(u64),
    PerStep(u64),
    Around(u64),
}

/// Appends `page` of `fleet` at `step`.
pub(super) fn write_page(out: &mut Vec<u8>, page: Page, fleet: &Fleet, step: u64) {
    let nodes = fleet.at(step);
    match page {
        Page::Jobs => write_fields(out, "slurm_jobs", &JOB_FIELDS, "", &[("", total_jobs(fleet, &nodes, step))]),
        Page::Nodes => write_nodes(out, fleet, &nodes),
        Page::Partitions => write_partitions(out, fleet, &nodes, step),
        Page::Scheduler => write_scheduler(out, fleet, &nodes, step),
        Page::UsersAccounts => write_users_accounts(out, &nodes),
    }
}

/// Appends the families of `prefix`: each field's, with a line for each of `sums`, named by the label.
fn write_fields<T>(out: &mut Vec<u8>, prefix: &str, fields: &[Field<T>], label: &str, sums: &[(&str, T)]) {
    let mut name = String::with_capacity(64);
    for (suffix, read) in fields {
        name.clear();
        name.push_str(prefix);
        name.push_str(suffix);
        write_head(out, &name);
        for (owner, sum) in sums {
            write_line(out, &name, label, owner, read(sum) as f64);
        }
    }
}

fn write_head(out: &mut Vec<u8>, name: &str) {
    let words = name.trim_start_matches("slurm_").replace('_', " ");
    write_help(out, Format::Text, name, &words);
    write_type(out, Format::Text, name, MetricType::Gauge);
}

/// Appends a sample with one label, or none where `label` is empty.
fn write_line(out: &mut Vec<u8>, name: &str, label: &str, owner: &str, value: f64) {
    out.extend_from_slice(name.as_bytes());
    if !label.is_empty() {
        out.push(b'{');
        write_label(out, label, owner);
        out.push(b'}');
    }
    out.push(b' ');
    write_value(out, value);
    out.push(b'\n');
}

fn total_jobs(fleet: &Fleet, nodes: &[NodeMoment], step: u64) -> JobSums {
    let mut sums = JobSums::default();
    for node in nodes {
        node.jobs.iter().flatten().for_each(|job| sums.add(job));
        sums.add_finished(node.finished);
    }
    sums.pending = roll(fleet.seed, [step / 4, 2]) % (1 + nodes.len() as u64 / 2);
    sums
}

fn write_nodes(out: &mut Vec<u8>, fleet: &Fleet, nodes: &[NodeMoment]) {
    let allocated: Vec<_> = nodes
        .iter()
        .map(|node| {
            let mut sums = JobSums::default();
            node.jobs.iter().flatten().for_each(|job| sums.add(job));
            sums
        })
        .collect();
    let families: [(&str, &dyn Fn(usize) -> u64); 10] = [
        ("slurm_node_cpus", &|at| fleet.nodes[at].cpus),
        ("slurm_node_cpus_alloc", &|at| allocated[at].cpus),
        ("slurm_node_cpus_effective", &|at| fleet.nodes[at].cpus),
        ("slurm_node_cpus_idle", &|at| fleet.nodes[at].cpus - allocated[at].cpus),
        ("slurm_node_gpus", &|at| fleet.nodes[at].gpus),
        ("slurm_node_gpus_alloc", &|at| allocated[at].gpus),
        ("slurm_node_memory_alloc_bytes", &|at| allocated[at].memory_mib),
        ("slurm_node_memory_bytes", &|at| fleet.nodes[at].memory_mib),
        ("slurm_node_memory_effective_bytes", &|at| fleet.nodes[at].memory_mib),
        ("slurm_node_memory_free_bytes", &|at| fleet.nodes[at].memory_mib - allocated[at].memory_mib),
    ];
    for (name, value) in families {
        write_head(out, name);
        for (at, node) in fleet.nodes.iter().enumerate() {
            write_line(out, name, "node", &node.name, value(at) as f64);
        }
    }
    write_fields(out, "slurm_nodes", &NODE_FIELDS, "", &[("", node_sums(fleet, nodes, None))]);
}

/// Sums over the nodes of one partition, or of all.
fn node_sums(fleet: &Fleet, nodes: &[NodeMoment], partition: Option<usize>) -> NodeSums {
    let mut sums = NodeSums::default();
    let members = fleet.nodes.iter().zip(nodes).filter(|(node, _)| partition.is_none_or(|own| own == node.partition));
    for (node, moment) in members {
        sums.states[moment.state as usize] += 1;
        sums.cpus += node.cpus;
        sums.gpus += node.gpus;
        sums.memory_mib += node.memory_mib;
        for job in moment.jobs.iter().flatten() {
            sums.cpus_alloc += job.cpus;
            sums.memory_alloc_mib += job.memory_mib;
        }
    }
    sums
}

fn write_partitions(out: &mut Vec<u8>, fleet: &Fleet, nodes: &[NodeMoment], step: u64) {
    write_head(out, "slurm_partitions");
    write_line(out, "slurm_partitions", "", "", PARTITIONS.len() as f64);
    let mut jobs = PARTITIONS.map(|name| (name, JobSums::default()));
    for (node, moment) in fleet.nodes.iter().zip(nodes) {
        let sums = &mut jobs[node.partition].1;
        moment.jobs.iter().flatten().for_each(|job| sums.add(job));
        sums.add_finished(moment.finished);
    }
    // Whoever waits, waits in the first partition.
    jobs[0].1.pending = total_jobs(fleet, nodes, step).pending;
    let sums = std::array::from_fn::<_, 3, _>(|at| (PARTITIONS[at], node_sums(fleet, nodes, Some(at))));
    write_fields(out, "slurm_partition_jobs", &JOB_FIELDS, "partition", &jobs);
    write_fields(out, "slurm_partition_nodes", &NODE_FIELDS, "partition", &sums);
    write_fields(out, "slurm_partition", &PARTITION_FIELDS, "partition", &sums);
}

fn write_scheduler(out: &mut Vec<u8>, fleet: &Fleet, nodes: &[NodeMoment], step: u64) {
    for (at, (name, rate)) in SCHEDULER_FIELDS.iter().enumerate() {
        let value = match rate {
            Rate::Constant(value) => *value,
            Rate::PerStep(count) => (step + 1) * count,
            Rate::Around(0) => 0,
            Rate::Around(middle) => middle / 2 + roll(fleet.seed, [step, at as u64, 3]) % (middle + 1),
        };
        write_head(out, name);
        write_line(out, name, "", "", value as f64);
    }
    let sums = total_jobs(fleet, nodes, step);
    for (name, value) in [
        ("slurm_sdiag_jobs_canceled", sums.cancelled),
        ("slurm_sdiag_jobs_completed", sums.completed),
        ("slurm_sdiag_jobs_failed", sums.failed),
        ("slurm_sdiag_jobs_pending", sums.pending),
        ("slurm_sdiag_jobs_running", sums.running),
        ("slurm_sdiag_jobs_started", sums.running + sums.finished()),
        ("slurm_sdiag_jobs_submitted", sums.all()),
    ] {
        write_head(out, name);
        write_line(out, name, "", "", value as f64);
    }
}

fn write_users_accounts(out: &mut Vec<u8>, nodes: &[NodeMoment]) {
    let (mut users, mut accounts) = (BTreeMap::new(), BTreeMap::new());
    for job in nodes.iter().flat_map(|node| node.jobs).flatten() {
        users.entry(USERS[job.user]).or_insert_with(JobSums::default).add(&job);
        accounts.entry(ACCOUNTS[job.account]).or_insert_with(JobSums::default).add(&job);
    }
    let users: Vec<_> = users.into_iter().collect();
    let accounts: Vec<_> = accounts.into_iter().collect();
    write_fields(out, "slurm_user_jobs", &JOB_FIELDS, "username", &users);
    write_fields(out, "slurm_account_jobs", &JOB_FIELDS, "account", &accounts);
}

//! The nodes of a cluster and the jobs on them, as functions of the step.
//!
//! Each node has two job slots. A slot's life is a row of episodes of one length, busy or free by a pattern of 16 bits
//! that repeats: so how long it was busy until any step is two multiplications, and counters of CPU time and of finished
//! jobs agree with the jobs that were seen, without a history.

use super::dice::roll;

/// Jobs that a node can hold.
pub(super) const SLOTS: usize = 2;
/// Bits of a slot's pattern.
const PATTERN_BITS: u64 = 16;
/// Partitions, the last one with GPUs; a node is in exactly one.
pub(super) const PARTITIONS: [&str; 3] = ["batch", "long", "gpu"];
/// Every how many nodes one has GPUs.
const GPU_EVERY: usize = 5;

pub(super) const ACCOUNTS: [&str; 5] = ["astro", "bio", "chem", "climate", "ml"];
pub(super) const USERS: [&str; 16] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "ken", "lena", "mona", "nils",
    "olga", "pete",
];

/// One cluster.
pub(super) struct Fleet {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) nodes: Vec<Node>,
}

/// What a node is; what it does follows from its slots.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) partition: usize,
    pub(super) cpus: u64,
    pub(super) gpus: u64,
    pub(super) memory_mib: u64,
    pub(super) slots: [Slot; SLOTS],
}

/// A place for one job at a time.
pub(super) struct Slot {
    length: u64,
    offset: u64,
    pattern: u16,
}

/// A slot at one step.
pub(super) struct SlotMoment {
    /// Counts the slot's episodes.
    pub(super) episode: u64,
    pub(super) is_busy: bool,
    /// Steps since the episode began.
    pub(super) age: u64,
    /// Steps in which the slot was ever busy.
    pub(super) busy_steps: u64,
    /// Jobs that ended here.
    pub(super) finished: u64,
}

/// A node's base state as Slurm tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Allocated,
    Mixed,
    Idle,
    Drained,
    Down,
}

/// A job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) user: usize,
    pub(super) account: usize,
    pub(super) cpus: u64,
    pub(super) gpus: u64,
    pub(super) memory_mib: u64,
    /// Steps since it started.
    pub(super) age: u64,
}

/// A node at one step.
pub(super) struct NodeMoment {
    pub(super) state: State,
    pub(super) jobs: [Option<Job>; SLOTS],
    pub(super) finished: u64,
}

impl Fleet {
    /// A cluster of `nodes` nodes with `cpus` CPUs each.
    pub(super) fn new(name: String, seed: u64, nodes: usize, cpus: u64) -> Fleet {
        let nodes = (0..nodes).map(|at| Node::new(seed, at, cpus)).collect();
        Fleet { name, seed, nodes }
    }

    /// Every node at `step`.
    pub(super) fn at(&self, step: u64) -> Vec<NodeMoment> {
        (0..self.nodes.len()).map(|node| self.node_at(node, step)).collect()
    }

    /// One node at `step`.
    pub(super) fn node_at(&self, at: usize, step: u64) -> NodeMoment {
        let node = &self.nodes[at];
        let out_of_service = node.out_of_service(step);
        let moments = node.slots.each_ref().map(|slot| slot.at(step));
        let jobs = std::array::from_fn(|slot| match out_of_service {
            Some(_) => None,
            None => self.job(at, slot, &moments[slot]),
        });
        let finished = moments.iter().map(|moment| moment.finished).sum();
        let state = out_of_service.unwrap_or(match jobs.iter().flatten().count() {
            0 => State::Idle,
            SLOTS => State::Allocated,
            _ => State::Mixed,
        });
        NodeMoment { state, jobs, finished }
    }

    fn job(&self, node: usize, slot: usize, moment: &SlotMoment) -> Option<Job> {
        let owner = &self.nodes[node];
        let place = (node * SLOTS + slot) as u64;
        let id = 1000 + moment.episode * (self.nodes.len() * SLOTS) as u64 + place;
        let chance = roll(self.seed, [id]);
        moment.is_busy.then_some(Job {
            id,
            user: (chance % USERS.len() as u64) as usize,
            account: (chance % ACCOUNTS.len() as u64) as usize,
            cpus: owner.cpus / SLOTS as u64,
            gpus: owner.gpus / SLOTS as u64,
            memory_mib: owner.memory_mib / 8 * (1 + (chance >> 8) % 3),
            age: moment.age,
        })
    }
}

impl Node {
    fn new(cluster_seed: u64, at: usize, cpus: u64) -> Node {
        let seed = roll(cluster_seed, [at as u64]);
        let has_gpus = at % GPU_EVERY == GPU_EVERY - 1;
        let memory_gib = [128, 256, 512][(seed % 3) as usize];
        Node {
            name: format!("{}{:03}", if has_gpus { "gpu" } else { "cn" }, at + 1),
            seed,
            partition: if has_gpus { PARTITIONS.len() - 1 } else { at % 2 },
            cpus,
            gpus: if has_gpus { 4 } else { 0 },
            memory_mib: memory_gib * 1024,
            slots: std::array::from_fn(|slot| Slot::new(roll(seed, [slot as u64]))),
        }
    }

    /// Drained or down, for stretches of a quarter of an hour and more at 15 s a step.
    fn out_of_service(&self, step: u64) -> Option<State> {
        let length = 60 + self.seed % 120;
        let stretch = (step + self.seed % length) / length;
        match roll(self.seed, [stretch, 1]) % 100 {
            0..5 => Some(State::Drained),
            5..8 => Some(State::Down),
            _ => None,
        }
    }
}

impl Slot {
    fn new(chance: u64) -> Slot {
        let length = 8 + chance % 33;
        // Two rolls joined make three of four bits busy.
        let pattern = ((chance >> 16) | (chance >> 32)) as u16;
        Slot { length, offset: (chance >> 8) % (length * PATTERN_BITS), pattern }
    }

    pub(super) fn at(&self, step: u64) -> SlotMoment {
        let step = step + self.offset;
        let (episode, age) = (step / self.length, step % self.length);
        let (rounds, bit) = (episode / PATTERN_BITS, episode % PATTERN_BITS);
        let before = self.pattern & ((1u16 << bit) - 1);
        let finished = rounds * u64::from(self.pattern.count_ones()) + u64::from(before.count_ones());
        let is_busy = self.pattern & (1 << bit) != 0;
        let busy_steps = finished * self.length + if is_busy { age } else { 0 };
        SlotMoment { episode, is_busy, age, busy_steps, finished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_a_slot_are_the_sum_of_its_steps() {
        let slot = Slot { length: 5, offset: 3, pattern: 0b1010_0110_0000_1101 };
        let first = slot.at(0);
        let (mut busy_steps, mut finished) = (first.busy_steps, first.finished);
        for step in 0..400 {
            let (now, next) = (slot.at(step), slot.at(step + 1));
            busy_steps += u64::from(now.is_busy);
            finished += u64::from(now.is_busy && next.episode != now.episode);
            assert_eq!((next.busy_steps, next.finished), (busy_steps, finished), "step {step}");
        }
    }

    #[test]
    fn jobs_come_and_go_and_no_two_have_one_number() {
        let fleet = Fleet::new("alpha".to_owned(), 1, 40, 8);
        let ids = |step| -> Vec<u64> {
            fleet.at(step).iter().flat_map(|node| node.jobs).flatten().map(|job| job.id).collect()
        };
        let (mut before, after) = (ids(100), ids(140));
        assert!(before.iter().any(|id| !after.contains(id)) && after.iter().any(|id| !before.contains(id)));
        let count = before.len();
        before.sort_unstable();
        before.dedup();
        assert_eq!(before.len(), count);
    }

    #[test]
    fn nodes_see_every_state() {
        let fleet = Fleet::new("alpha".to_owned(), 1, 40, 8);
        for state in [State::Allocated, State::Mixed, State::Idle, State::Drained, State::Down] {
            assert!(
                (0..1000).step_by(50).any(|step| fleet.at(step).iter().any(|node| node.state == state)),
                "{state:?}"
            );
        }
    }
}

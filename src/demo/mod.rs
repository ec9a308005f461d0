//! A simulated site: the exporters of N clusters, for `fedgate demo`, tests and benches.
//!
//! Every number follows from a seed and a step, and nothing is kept between two answers. So a page costs what writing it
//! costs, a thousand exporters need no memory of their own, and a test can ask for step 7 before step 3.
//!
//! The pages have the names of real programs: slurmctld's own pages (Slurm 26.05) and node_exporter's, with job series of
//! a cgroup exporter beside them. Jobs come and go and take their series with them, nodes change state, counters grow, and
//! one node of each cluster answers badly now and then.

mod dice;
mod exporters;
mod fleet;
mod node;
mod site;
mod slurm;

pub use exporters::{Exporters, StepClock, step_clock};
pub use site::{Answer, Site, SiteConfig, Target};

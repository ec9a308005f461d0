//! All scrape loops: started and ended as discovery and reloads say.
//!
//! One task owns the jobs, their sources and the loops, and takes its work from three places: what sources found, new
//! configurations, and loops whose leave is over. After each of them it works out the whole set of targets and orders
//! each loop what differs, so that there is one way in which targets change. Everything else (finished scrapes, states,
//! counters) is shared and can be read at any time.
//!
//! Invariant: the labels of a running target are unique over all jobs, because a snapshot knows a target by them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};

use super::bodies::Bodies;
use super::cache::PageCache;
use super::counters::Counters;
use super::error::ScrapeError;
use super::finished::Finished;
use super::job::{Job, JobError, with_external};
use super::own::OwnTarget;
use super::series::SeriesBudget;
use super::status::{StatusCell, TargetStatus};
use super::target_loop::{Order, Plan, Shop, TargetLoop};
use crate::config::{CollectorConfig, CollectorLimits, ScrapeGlobal};
use crate::discovery::{self, Discovered, Found, PreparedSources, Sources, TargetFault};
use crate::model::Labels;
use crate::runtime::{CpuPool, Tasks};
use crate::snapshot::Scrape;

/// News from sources and loops that may wait for the manager; further senders wait.
const NEWS_MAX: usize = 256;
/// Reloads that may wait; a further one is refused.
const RELOADS_MAX: usize = 4;

/// Why scraping did not take a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// A job of it.
    #[error(transparent)]
    Job(#[from] JobError),
    /// One of its sources.
    #[error("http_sd_configs: {0}")]
    Source(#[from] crate::net::client::ClientError),
    /// The process ends, or reloads come faster than they can be taken.
    #[error("scraping takes no new configuration now")]
    Busy,
}

/// The handle of all scraping; clones are the same.
#[derive(Clone)]
pub struct Manager {
    shop: Arc<Shop>,
    budget: Arc<SeriesBudget>,
    discovery_counters: Arc<discovery::Counters>,
    board: Arc<Board>,
    reloads: mpsc::Sender<Setup>,
}

/// What the manager's task shows of itself.
#[derive(Debug, Default)]
struct Board {
    /// Written by the manager's task after each change of targets.
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    targets: Vec<Arc<StatusCell>>,
    faults: Vec<TargetFault>,
}

/// A configuration made ready.
struct Setup {
    global: ScrapeGlobal,
    limits: CollectorLimits,
    jobs: Vec<Arc<Job>>,
    sources: PreparedSources,
}

impl Setup {
    fn new(config: &CollectorConfig) -> Result<Setup, ManagerError> {
        let job = |own| Job::new(own, &config.global, &config.limits).map(Arc::new);
        Ok(Setup {
            global: config.global.clone(),
            limits: config.limits.clone(),
            jobs: config.scrape_configs.iter().map(job).collect::<Result<_, _>>()?,
            sources: PreparedSources::new(config.scrape_configs.iter())?,
        })
    }
}

impl Manager {
    /// Starts scraping what `config` says, in tasks of `tasks`; large pages are read on `pool`.
    pub fn start(config: &CollectorConfig, tasks: &Tasks, pool: &CpuPool) -> Result<Manager, ManagerError> {
        let setup = Setup::new(config)?;
        let (reloads, reload_queue) = mpsc::channel(RELOADS_MAX);
        let (found_sender, found) = mpsc::channel(NEWS_MAX);
        let (leave_sender, leaves) = mpsc::channel(NEWS_MAX);
        let discovery_counters = Arc::new(discovery::Counters::default());
        let manager = Manager {
            shop: Arc::new(Shop {
                finished: Finished::default(),
                counters: Arc::new(Counters::default()),
                permits: Semaphore::new(permits_of(&config.limits)),
                bodies: Bodies::default(),
            }),
            budget: Arc::new(SeriesBudget::new(config.limits.series_max)),
            discovery_counters: discovery_counters.clone(),
            board: Arc::default(),
            reloads,
        };
        let mut supervisor = Supervisor {
            manager: manager.clone_for_task(),
            tasks: tasks.clone(),
            pool: pool.clone(),
            sources: Sources::new(tasks.clone(), found_sender, discovery_counters),
            leave_over: leave_sender,
            setup: None,
            found: HashMap::new(),
            loops: HashMap::new(),
        };
        supervisor.apply(setup);
        let stop = tasks.stop().clone();
        tasks.spawn("scrape manager", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = supervisor.run(reload_queue, found, leaves) => {}
            }
        });
        Ok(manager)
    }

    /// Takes another configuration. On an error nothing has changed. Targets that stay keep their series and slots.
    pub fn reload(&self, config: &CollectorConfig) -> Result<(), ManagerError> {
        self.reloads.try_send(Setup::new(config)?).map_err(|_| ManagerError::Busy)
    }

    /// Takes the scrapes that were finished since the last call, in the order in which they were.
    pub fn take_finished(&self) -> Vec<Scrape> {
        self.shop.finished.take()
    }

    /// Every target with how it is doing, by job and URL.
    pub fn targets(&self) -> Vec<TargetStatus> {
        let cells = self.board.lock().targets.clone();
        let mut targets: Vec<TargetStatus> = cells.iter().map(|cell| cell.get()).collect();
        targets.sort_by(|a, b| (&a.job, &a.target.url).cmp(&(&b.job, &b.target.url)));
        targets
    }

    /// The addresses that gave no target, and why.
    pub fn target_faults(&self) -> Vec<TargetFault> {
        self.board.lock().faults.clone()
    }

    /// What scraping counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shop.counters
    }

    /// What discovery counts.
    pub fn discovery_counters(&self) -> &Arc<discovery::Counters> {
        &self.discovery_counters
    }

    /// Series of all targets.
    pub fn series(&self) -> usize {
        self.budget.used()
    }

    /// The collector's own metrics as a further target, with this `instance`.
    pub fn own_target(&self, instance: &str, external: &Labels) -> OwnTarget {
        OwnTarget::new(instance, external, self.budget.clone(), self.shop.counters.clone())
    }

    fn clone_for_task(&self) -> Shared {
        Shared { shop: self.shop.clone(), budget: self.budget.clone(), board: self.board.clone() }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the task needs of the handle; without the sender of reloads, or it would keep its own queue open.
struct Shared {
    shop: Arc<Shop>,
    budget: Arc<SeriesBudget>,
    board: Arc<Board>,
}

/// How many scrapes may be in flight.
fn permits_of(limits: &CollectorLimits) -> usize {
    limits.concurrent_scrapes_max.max(1)
}

/// Takes away `surplus` permits: free ones at once, the others as the scrapes that hold them end.
async fn withdraw_permits(permits: &Semaphore, surplus: usize) {
    let held = surplus - permits.forget_permits(surplus);
    let held = u32::try_from(held).expect("permits in use are scrapes in flight");
    permits.acquire_many(held).await.expect("the semaphore is never closed").forget();
}

struct Running {
    orders: watch::Sender<Order>,
    status: Arc<StatusCell>,
}

/// The manager's task.
struct Supervisor {
    manager: Shared,
    tasks: Tasks,
    pool: CpuPool,
    sources: Sources,
    leave_over: mpsc::Sender<Arc<Labels>>,
    /// None only until the first configuration was applied.
    setup: Option<Applied>,
    /// By job, what its groups came to.
    found: HashMap<Arc<str>, Found>,
    /// By the labels that a target has in a snapshot.
    loops: HashMap<Arc<Labels>, Running>,
}

struct Applied {
    global: ScrapeGlobal,
    limits: CollectorLimits,
    jobs: Vec<Arc<Job>>,
}

/// What the found targets of all jobs come to.
#[derive(Default)]
struct Wanted {
    plans: HashMap<Arc<Labels>, Plan>,
    /// Those of each job, and the targets that another job has already.
    faults: Vec<TargetFault>,
    /// How many of the faults are of the latter kind.
    conflicts: usize,
    /// Targets over the bound on all of them.
    refused: usize,
}

impl Supervisor {
    async fn run(
        &mut self,
        mut reloads: mpsc::Receiver<Setup>,
        mut found: mpsc::Receiver<Discovered>,
        mut leaves: mpsc::Receiver<Arc<Labels>>,
    ) {
        loop {
            tokio::select! {
                Some(setup) = reloads.recv() => self.apply(setup),
                Some(groups) = found.recv() => self.take(groups),
                Some(labels) = leaves.recv() => self.forget(&labels),
                else => return,
            }
        }
    }

    fn apply(&mut self, setup: Setup) {
        self.sources.apply(setup.sources);
        self.manager.budget.set_max(setup.limits.series_max);
        if let Some(before) = &self.setup {
            self.change_permits(permits_of(&before.limits), permits_of(&setup.limits));
        }
        self.setup = Some(Applied { global: setup.global, limits: setup.limits, jobs: setup.jobs });
        self.found.clear();
        let jobs = self.setup.iter().flat_map(|setup| setup.jobs.clone()).collect::<Vec<_>>();
        for job in jobs {
            self.find_targets(&job);
        }
        self.order_loops();
    }

    /// Allows `now` scrapes in flight instead of `before`; those under way are brought to their end.
    fn change_permits(&self, before: usize, now: usize) {
        let shop = self.manager.shop.clone();
        shop.permits.add_permits(now.saturating_sub(before));
        let (surplus, stop) = (before.saturating_sub(now), self.tasks.stop().clone());
        self.tasks.spawn("scrape permits", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = withdraw_permits(&shop.permits, surplus) => {}
            }
        });
    }

    fn take(&mut self, groups: Discovered) {
        let Some(name) = self.sources.take(groups) else { return };
        let job = self.setup.iter().flat_map(|setup| &setup.jobs).find(|job| job.name == name).cloned();
        if let Some(job) = job {
            self.find_targets(&job);
            self.order_loops();
        }
    }

    fn find_targets(&mut self, job: &Arc<Job>) {
        let found = discovery::targets(&job.config, &job.steps, &self.sources.groups(&job.config));
        for fault in &found.faults {
            tracing::warn!(job = &*job.name, %fault, "not a target");
        }
        self.manager.shop.counters.target_faults(found.faults.len());
        self.found.insert(job.name.clone(), found);
    }

    /// A loop whose leave is over ends, unless it got another order in the meantime.
    fn forget(&mut self, labels: &Arc<Labels>) {
        let is_leaving = |running: &Running| matches!(*running.orders.borrow(), Order::Leave);
        if self.loops.get(labels).is_some_and(is_leaving) {
            self.loops.remove(labels);
        }
    }

    /// Makes the loops those that the found targets need.
    fn order_loops(&mut self) {
        let Some(setup) = self.setup.take() else { return };
        let Wanted { plans, faults, conflicts, refused } = self.wanted(&setup);
        if conflicts > 0 {
            tracing::warn!(
                conflicts,
                "targets with the same labels as another job's are not scraped, /targets lists them"
            );
        }
        self.manager.shop.counters.target_faults(conflicts);
        if refused > 0 {
            tracing::warn!(refused, targets_max = setup.limits.targets_max, "too many targets, some are not scraped");
        }
        self.manager.shop.counters.targets_refused(refused);
        self.setup = Some(setup);
        for (labels, running) in &self.loops {
            if !plans.contains_key(labels) {
                let leave = |order: &mut Order| !matches!(std::mem::replace(order, Order::Leave), Order::Leave);
                running.orders.send_if_modified(leave);
            }
        }
        let targets = plans.into_iter().map(|(identity, plan)| self.order(identity, plan)).collect();
        *self.manager.board.lock() = Shown { targets, faults };
    }

    /// The targets of all jobs by their labels in a snapshot, as many as there may be.
    fn wanted(&self, setup: &Applied) -> Wanted {
        let mut wanted = Wanted::default();
        for job in &setup.jobs {
            let Some(found) = self.found.get(&job.name) else { continue };
            wanted.faults.extend(found.faults.iter().cloned());
            let limit = job.config.target_limit;
            let forced = found.over_limit.map(|targets| ScrapeError::TargetLimit { targets, limit });
            for target in &found.targets {
                let identity = Arc::new(with_external(&target.labels, &setup.global));
                if wanted.plans.contains_key(&identity) {
                    wanted.faults.push(TargetFault::same_labels_in_other_job(&job.name, target));
                    wanted.conflicts += 1;
                } else if wanted.plans.len() >= setup.limits.targets_max {
                    wanted.refused += 1;
                } else {
                    let plan = Plan { job: job.clone(), target: target.clone(), forced: forced.clone() };
                    wanted.plans.insert(identity, plan);
                }
            }
        }
        wanted
    }

    /// Tells a target's loop, starting it if there is none. Nothing is told where nothing is new.
    fn order(&mut self, identity: Arc<Labels>, plan: Plan) -> Arc<StatusCell> {
        if let Some(running) = self.loops.get(&identity) {
            let is_same = matches!(&*running.orders.borrow(), Order::Scrape(old) if old.is_same(&plan));
            if !is_same {
                running.status.set_target(plan.job.name.clone(), plan.target.clone());
                running.orders.send_replace(Order::Scrape(plan));
            }
            return running.status.clone();
        }
        let running = self.start(&identity, plan);
        let status = running.status.clone();
        self.loops.insert(identity, running);
        status
    }

    fn start(&self, identity: &Arc<Labels>, plan: Plan) -> Running {
        let status = Arc::new(StatusCell::new(plan.job.name.clone(), plan.target.clone()));
        let cache = PageCache::new(plan.target.labels.clone(), identity.clone(), self.manager.budget.clone());
        let (orders, receiver) = watch::channel(Order::Scrape(plan));
        let target_loop = TargetLoop {
            shop: self.manager.shop.clone(),
            pool: self.pool.clone(),
            status: status.clone(),
            cache: Arc::new(Mutex::new(cache)),
            orders: receiver,
            leave_over: self.leave_over.clone(),
            labels: identity.clone(),
        };
        let stop = self.tasks.stop().clone();
        self.tasks.spawn("scrape loop", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = target_loop.run() => {}
            }
        });
        Running { orders, status }
    }
}

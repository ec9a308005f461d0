//! What the soak's collectors scrape: the demo's site, and pages of marked series whose coming and going is written down.
//!
//! A third of the marked series of a page is missing for one step now and then, a third for four, and a third is replaced by
//! others for good. Each cluster has one more target that discovery takes away and gives back.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Plan;
use super::staleness::{Scraped, Vanishings};
use crate::site::Site;
use crate::site::http::{self, Answer};
use fedgate::demo;
use tokio_util::sync::CancellationToken;

/// The step at which the demo's site begins.
const FIRST_STEP: u64 = 1000;
/// Marked series of a page.
const MARKERS: u64 = 60;
/// How long the collector may take to see that a file with targets changed.
const FILE_SEEN: Duration = Duration::from_secs(3);
/// Steps for which the guest is there, and for which it is not.
const GUEST_STEPS: u32 = 7;

/// Path of the page that is always there, and of the one whose target comes and goes.
const MARKED: &str = "marked";
const GUEST: &str = "guest";

/// All exporters, until the process ends.
pub(super) struct Exporters {
    demo: Arc<demo::Site>,
    demo_address: SocketAddr,
    marked_port: u16,
    scrapes: Arc<Mutex<Vec<Scraped>>>,
    pace: Duration,
    /// By cluster: whether the guest is there, and since when.
    guests: HashMap<String, (bool, Instant)>,
}

impl Exporters {
    pub(super) fn start(plan: &Plan) -> Exporters {
        let config = demo::SiteConfig {
            clusters: plan.clusters,
            nodes: plan.nodes,
            series_per_cluster: None,
            seed: plan.seed,
            step: plan.pace,
        };
        let demo = Arc::new(demo::Site::new(config));
        let demo_address = serve_demo(demo.clone(), plan.pace);
        let scrapes = Arc::<Mutex<Vec<Scraped>>>::default();
        let marked_port = serve_marked(scrapes.clone(), plan.pace);
        let guests = demo.clusters().map(|name| (name.to_owned(), (true, Instant::now()))).collect();
        Exporters { demo, demo_address, marked_port, scrapes, pace: plan.pace, guests }
    }

    pub(super) fn clusters(&self) -> Vec<String> {
        self.demo.clusters().map(str::to_owned).collect()
    }

    /// The jobs of a cluster's collector.
    pub(super) fn scrape_configs(&self, site: &Site, cluster: usize) -> String {
        let (mut jobs, mut last) = (String::new(), String::new());
        for target in self.demo.targets(cluster) {
            if target.job != last {
                write!(jobs, "  - job_name: {}\n    static_configs:\n", target.job).expect("a string takes all");
                last.clone_from(&target.job);
            }
            write!(
                jobs,
                "      - targets: [\"{}\"]\n        labels: {{instance: {}, __metrics_path__: {}}}\n",
                self.demo_address, target.instance, target.path
            )
            .expect("a string takes all");
        }
        let name = &self.clusters()[cluster];
        let port = self.marked_port;
        let guests = site.path(&format!("guests-{name}.yml"));
        write!(
            jobs,
            "  - job_name: {MARKED}\n    metrics_path: /{MARKED}/{name}\n    static_configs:\n      - targets: \
             [\"127.0.0.1:{port}\"]\n  - job_name: {GUEST}\n    metrics_path: /{GUEST}/{name}\n    file_sd_configs:\n      \
             - files: [\"{}\"]\n        refresh_interval: 1s\n",
            guests.display()
        )
        .expect("a string takes all");
        jobs
    }

    /// Writes the file in which a cluster's collector finds its guest, or finds none.
    pub(super) fn write_guests(&self, site: &Site, cluster: &str, is_there: bool) {
        let target =
            if is_there { format!("- targets: [\"127.0.0.1:{}\"]\n", self.marked_port) } else { "[]\n".to_owned() };
        site.write(&format!("guests-{cluster}.yml"), &target);
    }

    /// Takes guests away and gives them back when it is their time.
    pub(super) fn take_turns(&mut self, site: &Site, vanishings: &mut Vanishings) {
        let (now, length) = (Instant::now(), GUEST_STEPS * self.pace);
        let due: Vec<String> =
            self.guests.iter().filter(|(_, (_, since))| now >= *since + length).map(|(name, _)| name.clone()).collect();
        for cluster in due {
            let is_there = !self.guests[&cluster].0;
            self.write_guests(site, &cluster, is_there);
            self.guests.insert(cluster.clone(), (is_there, now));
            if !is_there {
                // Its scrapes until then count, so they are followed first.
                vanishings.scraped(self.take_scrapes());
                // As Prometheus does, a collector waits a little over two intervals for a target to come back.
                vanishings.taken_away(now + FILE_SEEN + self.pace * 21 / 10, &cluster, GUEST);
            }
        }
    }

    /// The pages served since the last time; those of a guest that was taken away are no news.
    pub(super) fn take_scrapes(&self) -> Vec<Scraped> {
        let mut scrapes = std::mem::take(&mut *self.scrapes.lock().expect("no thread panics while it holds them"));
        scrapes.retain(|page| page.page != GUEST || self.guests[&page.cluster].0);
        scrapes
    }
}

fn serve_demo(site: Arc<demo::Site>, pace: Duration) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let exporters = runtime.block_on(demo::Exporters::bind(listen, site, demo::step_clock(FIRST_STEP, pace)));
    let exporters = exporters.expect("a free port");
    let address = exporters.address();
    std::thread::spawn(move || runtime.block_on(exporters.serve(CancellationToken::new())));
    address
}

fn serve_marked(scrapes: Arc<Mutex<Vec<Scraped>>>, pace: Duration) -> u16 {
    let start = Instant::now();
    http::serve(move |path| {
        let mut parts = path.trim_start_matches('/').split('/');
        let (page, cluster) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
        let page = if page == GUEST { GUEST } else { MARKED };
        let at = Instant::now();
        let step = at.duration_since(start).as_millis() as u64 / pace.as_millis() as u64;
        let ids: Vec<String> = if page == GUEST { vec![GUEST.to_owned()] } else { marked(step) };
        let mut body = String::new();
        ids.iter().for_each(|id| writeln!(body, "soak_marker{{id=\"{id}\"}} {step}").expect("a string takes all"));
        scrapes.lock().expect("no thread panics while it holds them").push(Scraped { at, cluster, page, ids });
        Answer { status: 200, content_type: "text/plain; version=0.0.4", body: body.into_bytes() }
    })
}

/// The series of a page at a step.
fn marked(step: u64) -> Vec<String> {
    let id = |number: u64| match number % 3 {
        0 => (!(step + 7 * number).is_multiple_of(11)).then(|| format!("blinks-{number}")),
        1 => ((step + 5 * number) % 17 > 3).then(|| format!("rests-{number}")),
        _ => Some(format!("passes-{number}-{}", (step + number) / 20)),
    };
    (0..MARKERS).filter_map(id).collect()
}

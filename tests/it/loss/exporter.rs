//! Exporters that can tell which of their pages arrived: a counter steps once for every scrape served, and every series of
//! the page shows it.
//!
//! Now and then a scrape is refused, by the number of the request alone: then the target's series end, and whoever claims to
//! keep staleness has to say so between the two pages around it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::site::http::{self, Answer};

/// Series of a page beside the counter.
pub(super) const PARTS: u64 = 8;
/// One scrape of so many is refused, the first time at this number.
const REFUSED: (u64, u64) = (13, 7);

/// What one exporter did.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    requests: u64,
    /// The counter: the value on the last page served.
    pub(super) last: u64,
    /// Values after which a scrape was refused.
    pub(super) refused_after: Vec<u64>,
}

/// All exporters of a run, told apart by the path `/CLUSTER/INSTANCE`, until the process ends.
pub(super) struct Exporters {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    served: BTreeMap<String, Served>,
    is_frozen: bool,
}

impl Exporters {
    pub(super) fn start() -> Exporters {
        let state = Arc::<Mutex<State>>::default();
        let own = state.clone();
        let port = http::serve(move |path| lock(&own).answer(path.trim_start_matches('/')));
        Exporters { port, state }
    }

    /// From now on no page is served any more.
    pub(super) fn freeze(&self) {
        lock(&self.state).is_frozen = true;
    }

    /// What was served, by `CLUSTER/INSTANCE`.
    pub(super) fn served(&self) -> BTreeMap<String, Served> {
        lock(&self.state).served.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics while it holds the counters")
}

impl State {
    fn answer(&mut self, exporter: &str) -> Answer {
        let content_type = "text/plain; version=0.0.4";
        let served = self.served.entry(exporter.to_owned()).or_default();
        served.requests += 1;
        if self.is_frozen || served.requests % REFUSED.0 == REFUSED.1 {
            if !self.is_frozen {
                served.refused_after.push(served.last);
            }
            return Answer { status: 500, content_type, body: Vec::new() };
        }
        served.last += 1;
        Answer { status: 200, content_type, body: page(served.last).into_bytes() }
    }
}

fn page(value: u64) -> String {
    let mut page = format!("# TYPE loss_scrapes_total counter\nloss_scrapes_total {value}\n# TYPE loss_part gauge\n");
    for part in 0..PARTS {
        writeln!(page, "loss_part{{part=\"{part}\"}} {value}").expect("a string takes all");
    }
    page
}

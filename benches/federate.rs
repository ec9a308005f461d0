//! What `/federate` and `/metrics` cost: CPU a series, first byte, whole page, memory; of one million series in 200
//! clusters, on pages ordered by family and by node.
//!
//! `cargo bench --bench federate` prints tables; the goals: ≤ 0.2 µs a series plain and ≤ 0.5 µs gzip, the first byte within
//! 50 ms and all within 0.4 s on two cores, 50,000 of a million within 15 ms of CPU and 30 ms, one cluster of 5,000 within
//! 2 ms; a reader's p99 while a million series are pushed at most twice that of a quiet gateway.
//! `cargo bench --bench federate -- WORD` measures the rows whose name has the word. Wall times mean something on a quiet machine only.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use fedgate::exposition::{Encoding, Escaping, Format};
use fedgate::http::render::{Lines, OwnPage, PageBody, Style, TypedBounds, UntypedPage, respond, typed_page};
use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, Timestamp};
use fedgate::runtime::CpuPool;
use fedgate::store::{Selector, SiteView, Store, select};
use fedgate::telemetry::LeftOut;
use http_body_util::BodyExt;

use shape::Order;

#[path = "shape/mod.rs"]
mod shape;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: &str = r#"{__name__=~".+"}"#;
const CLUSTER: &str = r#"{cluster="c100"}"#;
const PLAIN: Encoding = Encoding::Identity;

/// Times that a selection is repeated.
const SELECTIONS: u32 = 20;

/// What a reader asks for.
#[derive(Clone, Copy)]
enum Page {
    Federate,
    Metrics(Format),
}

const TEXT: Page = Page::Metrics(Format::Text);
const OPENMETRICS: Page = Page::Metrics(Format::OpenMetrics);

const PAGES: [(&str, Page, &str, Encoding); 17] = [
    ("all, plain", Page::Federate, ALL, PLAIN),
    ("all, plain, again", Page::Federate, ALL, PLAIN),
    ("all, gzip", Page::Federate, ALL, Encoding::Gzip),
    ("all, zstd", Page::Federate, ALL, Encoding::Zstd),
    ("one cluster", Page::Federate, CLUSTER, PLAIN),
    ("one cluster, gzip", Page::Federate, CLUSTER, Encoding::Gzip),
    ("50,000 by cluster", Page::Federate, r#"{cluster=~"c00.|c01[01]"}"#, PLAIN),
    ("56,000 by name", Page::Federate, r#"{__name__=~"slurm_node_gauge_10[0-6]"}"#, PLAIN),
    ("56,000 by name, gzip", Page::Federate, r#"{__name__=~"slurm_node_gauge_10[0-6]"}"#, Encoding::Gzip),
    ("8,000 by pair", Page::Federate, r#"{cpu="0",mode=~"idle"}"#, PLAIN),
    ("nothing", Page::Federate, r#"{cluster="none"}"#, PLAIN),
    ("/metrics, text", TEXT, ALL, PLAIN),
    ("/metrics, text, gzip", TEXT, ALL, Encoding::Gzip),
    ("/metrics, OpenMetrics", OPENMETRICS, ALL, PLAIN),
    ("/metrics, OpenMetrics, gzip", OPENMETRICS, ALL, Encoding::Gzip),
    ("/metrics, OpenMetrics, zstd", OPENMETRICS, ALL, Encoding::Zstd),
    ("/metrics, one cluster, text", TEXT, CLUSTER, PLAIN),
];

const SELECTORS: [(&str, &str); 8] = [
    ("everything", ALL),
    ("name, exactly", r#"slurm_node_gauge_100"#),
    ("name, pattern", r#"{__name__=~"slurm_.*_10[0-6]"}"#),
    ("label, pattern", r#"{node=~"node00(1|2).\\.c0.*"}"#),
    ("label, not a pattern", r#"{node!~"node000.*"}"#),
    ("label, not equal", r#"{state!="allocated"}"#),
    ("cluster, exactly", CLUSTER),
    ("cluster and label, pattern", r#"{cluster="c100",node=~"node00(1|2).*"}"#),
];

fn main() {
    if shape::is_producer() {
        return;
    }
    // One pool for all rows: the time of a thread that ended would be missing from the sum over threads.
    let pool = CpuPool::new(fedgate::runtime::cores()).expect("threads");
    for order in [Order::Family, Order::Node] {
        let path = shape::produced(order);
        measure_order(order, &path, &pool);
        std::fs::remove_file(path).expect("the produced file");
    }
}

/// Whether a row is asked for.
fn is_wanted(row: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| row.contains(&word))
}

fn measure_order(order: Order, path: &Path, pool: &CpuPool) {
    let (store, mut rounds) = (Arc::new(shape::store()), shape::rounds(path));
    rounds.by_ref().take(shape::ROUNDS / 2).flatten().for_each(|push| push.apply(&store));
    println!("\n# ordered by {order:?}");
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "", "series", "MB", "cpu ms", "ns each", "first ms", "all ms"
    );
    for (what, page, selector, encoding) in PAGES.into_iter().filter(|(what, ..)| is_wanted(what)) {
        measure_page(&store, pool, what, page, selector, encoding);
    }
    for (what, selector) in SELECTORS {
        let row = format!("select: {what}");
        if is_wanted(&row) {
            measure_select(&store, &row, selector);
        }
    }
    if is_wanted("memory") {
        measure_memory(&store, pool);
    }
    if is_wanted("p99") {
        measure_waits(&store, pool, rounds);
    }
}

fn view(store: &Store) -> Arc<SiteView> {
    let wall = Timestamp(shape::START + shape::ROUNDS as i64 * shape::INTERVAL_MS);
    Arc::new(store.view(wall, Instant::now(), None))
}

fn selectors(selector: &str) -> Vec<Selector> {
    vec![parse_selector(selector).expect("a selector")]
}

/// Answers a request as the listener does, but for the headers.
async fn answer(store: &Store, pool: &CpuPool, page: Page, selector: &str, encoding: Encoding) -> Body {
    let (view, selectors) = (view(store), selectors(selector));
    let begin = move || begin(view, page, &selectors);
    respond(pool, "text/plain".to_owned(), encoding, begin).await.expect("a page").into_body()
}

fn begin(view: Arc<SiteView>, page: Page, selectors: &[Selector]) -> PageBody {
    let selection = select(&view, selectors);
    let (format, shown_empty): (Format, &[&str]) = match page {
        Page::Federate => (Format::Text, &["instance"]),
        Page::Metrics(format) => (format, &["instance", "job"]),
    };
    let has_stamps = matches!(page, Page::Federate);
    let external_labels = Labels::empty();
    let style = Style { format, escaping: Escaping::AllowUtf8, has_stamps, external_labels, shown_empty };
    let (lines, lookback) = (Lines::new(view, style), Duration::from_secs(300));
    match page {
        Page::Federate => UntypedPage::new(lines, selection, lookback, None).into_body(),
        Page::Metrics(_) => {
            let oldest = lines.view().wall - lookback;
            let bounds = TypedBounds { oldest, limit: None };
            typed_page(lines, selection, OwnPage::default(), bounds, LeftOut::default())
        }
    }
}

/// Reads a page to its end: its bytes.
async fn read(mut body: Body) -> usize {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.expect("a block").into_data().map_or(0, |block| block.len());
    }
    bytes
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn measure_page(store: &Store, pool: &CpuPool, what: &str, page: Page, selector: &str, encoding: Encoding) {
    let series = select(&view(store), &selectors(selector)).series();
    let (cpu, started) = (shape::cpu_time(), Instant::now());
    let (bytes, first) = runtime().block_on(async {
        let body = answer(store, pool, page, selector, encoding).await;
        let first = started.elapsed();
        (read(body).await, first)
    });
    let (cpu, all) = (shape::cpu_time() - cpu, started.elapsed());
    println!(
        "{what:<34} {series:>9} {:>8.1} {:>8.1} {:>8.0} {:>9.1} {:>8.1}",
        bytes as f64 / 1e6,
        cpu.as_secs_f64() * 1e3,
        cpu.as_nanos() as f64 / series.max(1) as f64,
        first.as_secs_f64() * 1e3,
        all.as_secs_f64() * 1e3
    );
}

fn measure_select(store: &Store, row: &str, selector: &str) {
    let (view, selectors) = (view(store), selectors(selector));
    let cpu = shape::cpu_time();
    // The kernel counts a running thread's time tick by tick.
    let series = (0..SELECTIONS).map(|_| select(&view, &selectors).series()).max().expect("at least one");
    let cpu = (shape::cpu_time() - cpu) / SELECTIONS;
    println!(
        "{row:<34} {series:>9} {:>8} {:>8.2} {:>8.0}",
        "",
        cpu.as_secs_f64() * 1e3,
        cpu.as_nanos() as f64 / series.max(1) as f64
    );
}

/// What readers make the process hold beyond the store.
fn measure_memory(store: &Store, pool: &CpuPool) {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    for encoding in [PLAIN, Encoding::Gzip] {
        let before = shape::resident();
        let growth = runtime().block_on(async {
            let mut body = answer(store, pool, Page::Federate, ALL, encoding).await;
            let _ = body.frame().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            shape::resident().saturating_sub(before)
        });
        println!("memory: a reader that stalls, {encoding:?}: {:.1} MiB", mib(growth));
        let before = shape::resident();
        let most = runtime().block_on(async {
            let bodies =
                (0..20).map(|_| async { read(answer(store, pool, Page::Federate, ALL, encoding).await).await });
            let reading = futures_util::future::join_all(bodies);
            let mut most = 0;
            let mut reading = std::pin::pin!(reading);
            loop {
                let pause = std::pin::pin!(tokio::time::sleep(Duration::from_millis(10)));
                match futures_util::future::select(reading.as_mut(), pause).await {
                    futures_util::future::Either::Left(_) => return most,
                    futures_util::future::Either::Right(_) => most = most.max(shape::resident()),
                }
            }
        });
        println!("memory: 20 readers of everything at once, {encoding:?}: {:.1} MiB", mib(most.saturating_sub(before)));
    }
}

/// How long readers wait while a million series are pushed ten times a second, and pushes while everything is read.
fn measure_waits(store: &Arc<Store>, pool: &CpuPool, mut rounds: impl Iterator<Item = Vec<shape::Push>>) {
    let quiet = reads_until(store, pool, |_| Duration::from_millis(500));
    print_waits("p99 of one cluster's page, quiet", quiet);
    let mut pushes = Vec::new();
    let busy = reads_until(store, pool, |pool| {
        pushes = push_rounds(store, pool, rounds.by_ref().take(5));
        Duration::ZERO
    });
    print_waits("p99 of one cluster's page, pushes", busy);
    print_waits("p99 of a push, one cluster read", pushes);
    let stop = AtomicBool::new(false);
    let pushes = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let all = async { read(answer(store, pool, Page::Federate, ALL, Encoding::Gzip).await).await };
                    runtime().block_on(all);
                }
            });
        }
        let pushes = push_rounds(store, pool, rounds);
        stop.store(true, Ordering::Relaxed);
        pushes
    });
    print_waits("p99 of a push, all read twice", pushes);
}

/// Reads one cluster's page again and again until `meanwhile` has run and the time it says has passed.
fn reads_until(store: &Arc<Store>, pool: &CpuPool, meanwhile: impl FnOnce(&CpuPool) -> Duration) -> Vec<Duration> {
    let (stop, mut waits) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = runtime();
            while !stop.load(Ordering::Relaxed) {
                let started = Instant::now();
                runtime.block_on(async { read(answer(store, pool, Page::Federate, CLUSTER, PLAIN).await).await });
                waits.push(started.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let more = meanwhile(pool);
        std::thread::sleep(more);
        stop.store(true, Ordering::Relaxed);
    });
    waits
}

/// Pushes rounds through the pool, ten a second: how long each push took.
fn push_rounds(store: &Arc<Store>, pool: &CpuPool, rounds: impl Iterator<Item = Vec<shape::Push>>) -> Vec<Duration> {
    let runtime = runtime();
    let mut waits = Vec::new();
    for round in rounds {
        let begun = Instant::now();
        for push in round {
            let (store, cluster, started) = (store.clone(), push.cluster.clone(), Instant::now());
            runtime.block_on(pool.run(&cluster, move || push.apply(&store))).expect("room in the pool");
            waits.push(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100).saturating_sub(begun.elapsed()));
    }
    waits
}

fn print_waits(row: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).map_or(0.0, Duration::as_secs_f64) * 1e3;
    println!("{row:<34} {:>9} median {:.2} ms, p99 {:.2} ms", waits.len(), at(0.5), at(0.99));
}

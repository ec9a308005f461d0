//! What `/federate` costs: CPU a series and time to the first byte, of one million series in 200 clusters.
//!
//! `cargo bench --bench federate` prints a table; DESIGN's goals: ≤ 0.2 µs a series plain, ≤ 0.5 µs gzip, the first byte
//! within 50 ms, 50,000 of a million selected within 15 ms of CPU.

use std::time::{Duration, Instant};

use fedgate::exposition::Encoding;
use fedgate::http::render::{Lines, PageBody, Style, UntypedPage, respond};
use fedgate::http::selectors::parse_selector;
use fedgate::model::{Labels, Timestamp};
use fedgate::runtime::CpuPool;
use fedgate::store::{SiteView, Store, select};
use http_body_util::BodyExt;
use std::sync::Arc;

#[path = "shape/mod.rs"]
mod shape;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if shape::is_producer() {
        return;
    }
    let path = shape::produced();
    let store = shape::store();
    shape::replay(&store, &path, |_, _| {});
    std::fs::remove_file(path).expect("the produced file");
    println!("{:<44} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "series", "MB", "cpu ms", "ns each", "first ms");
    // One pool for all rows: the time of a thread that ended would be missing from the sum over threads.
    let pool = CpuPool::new(1).expect("a thread");
    let all = r#"{__name__=~".+"}"#;
    for (what, selector, encoding) in [
        ("all, plain", all, Encoding::Identity),
        ("all, plain, again", all, Encoding::Identity),
        ("all, gzip", all, Encoding::Gzip),
        ("all, zstd", all, Encoding::Zstd),
        ("50,000 by cluster", r#"{cluster=~"c00.|c01[01]"}"#, Encoding::Identity),
        ("56,000 by name", r#"{__name__=~"slurm_node_gauge_10[0-6]"}"#, Encoding::Identity),
        ("64,000 by pair", r#"{cpu="0",mode=~"idle"}"#, Encoding::Identity),
        ("nothing", r#"{cluster="none"}"#, Encoding::Identity),
    ] {
        measure(&store, &pool, what, selector, encoding);
    }
}

fn measure(store: &Store, pool: &CpuPool, what: &str, selector: &str, encoding: Encoding) {
    let selector = vec![parse_selector(selector).expect("a selector")];
    let wall = Timestamp(shape::START + shape::ROUNDS as i64 * shape::INTERVAL_MS);
    let view = store.view(wall, Instant::now(), None);
    let series = select(&view, &selector).series();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (cpu, started) = (shape::cpu_time(), Instant::now());
    let (bytes, first) = runtime.block_on(async {
        let view = Arc::new(store.view(wall, Instant::now(), None));
        let response = respond(pool, "text/plain".to_owned(), encoding, move || page(view, &selector)).await;
        let first = started.elapsed();
        let mut body = response.expect("a page").into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("a block").into_data().map_or(0, |block| block.len());
        }
        (bytes, first)
    });
    let cpu = shape::cpu_time() - cpu;
    print_row(what, series, bytes, cpu, first);
}

fn page(view: Arc<SiteView>, selectors: &[Vec<fedgate::model::Matcher>]) -> PageBody {
    let selection = select(&view, selectors);
    let style = Style {
        format: fedgate::exposition::Format::Text,
        escaping: fedgate::exposition::Escaping::AllowUtf8,
        has_stamps: true,
        external_labels: Labels::empty(),
        shown_empty: &["instance"],
    };
    UntypedPage::new(Lines::new(view, style), selection, Duration::from_secs(300), None).into_body()
}

fn print_row(what: &str, series: usize, bytes: usize, cpu: Duration, first: Duration) {
    let each = cpu.as_nanos() as f64 / series.max(1) as f64;
    println!(
        "{what:<44} {series:>9} {:>9.1} {:>9.1} {each:>9.1} {:>9.1}",
        bytes as f64 / 1e6,
        cpu.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3
    );
}

//! Hundreds of adversarial pages, scraped by the real Prometheus 3.5 and by fedgate: what both made of each is compared.
//!
//! Compared are whether the page was accepted, its counts, every series with its labels, every value by its bits (Prometheus
//! writes the shortest digits that read back as the same number, so they are all there), timestamps of samples that bring
//! their own, and exemplars. Where fedgate means to differ it is said below, and `docs/exposition.md` says why.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use fedgate::config::{CollectorConfig, ScrapeConfig, StaticConfig};
use fedgate::exposition::{Entry, format_of_content_type, parser};
use fedgate::model::{Labels, Timestamp, is_stale};
use fedgate::runtime::{CpuPool, Shutdown, Stage, clock};
use fedgate::scrape::Manager;
use fedgate::snapshot::{FORGET_NAN, Outcome, Scrape};

use super::adversarial_pages::{Page, pages};
use super::site::http::{self, Answer, percent_encoded};
use super::site::prometheus::has_peer;
use super::site::{Process, free_port, wait_for};

const PAGES: usize = 700;
const SEED: u64 = 0x0fed_6a7e;
/// Every target is scraped once in it, at a point of its own.
const INTERVAL: Duration = Duration::from_secs(8);
/// Which page a target is.
const PAGE: &str = "page";
const JOBS: [(&str, bool); 2] = [("honoring", true), ("ignoring", false)];

/// What a scraper made of a page.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcomes {
    up: bool,
    /// Samples on the page, after relabelling, and new series.
    counts: [u64; 3],
    series: BTreeMap<String, Sample>,
    exemplars: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    /// One bit pattern for every NaN.
    bits: u64,
    /// Where the page says so.
    timestamp: Option<i64>,
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

#[tokio::test(flavor = "multi_thread")]
async fn adversarial_pages_come_to_what_prometheus_makes_of_them() {
    if !has_peer("prometheus", "3.5.") {
        return;
    }
    let now_ms = clock::now().as_millis();
    let pages = pages(SEED, PAGES, now_ms);
    let served = pages.clone();
    let port = http::serve(move |path| {
        let page = path.trim_start_matches('/').parse::<usize>().ok().and_then(|number| served.get(number));
        let page = page.expect("the scrapers ask for what they were told");
        Answer { status: 200, content_type: page.content_type, body: page.body.clone() }
    });
    let prometheus = Prometheus::start(port, &pages);
    let ours = scraped_by_fedgate(port, &pages).await;
    let theirs = tokio::task::spawn_blocking(move || prometheus.outcomes(now_ms)).await.expect("no panic");

    let up = theirs.values().filter(|page| page.up).count();
    assert!(up > PAGES / 4 && up < PAGES * 3 / 4, "the pages are too good or too bad: {up} of {PAGES}");
    let left_out = pages.iter().filter(|page| is_left_out(page)).count();
    assert!(left_out < PAGES / 10, "{left_out} of {PAGES} pages are not compared");
    let differences: Vec<String> = (0..PAGES)
        .filter_map(|at| difference(&pages[at], &ours[&at], &theirs[&at]).map(|told| format!("{at}: {told}")))
        .collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// What differs, told for a person.
fn difference(page: &Page, ours: &Outcomes, theirs: &Outcomes) -> Option<String> {
    if is_left_out(page) {
        return None;
    }
    let mut told = Vec::new();
    if ours.up != theirs.up {
        told.push(format!("up: {} but {}", ours.up, theirs.up));
    }
    if !is_same_count(ours, theirs) {
        told.push(format!("counts: {:?} but {:?}", ours.counts, theirs.counts));
    }
    let shown = |outcomes: &Outcomes| outcomes.series.iter().map(|(name, own)| format!("{name} {own:?}")).collect();
    told.extend(set_difference(&shown(ours), &shown(theirs)));
    // A series that stands twice on a page has the exemplar of the sample that was kept; Prometheus keeps both.
    let repeats_series = ours.counts[1] > ours.series.len() as u64;
    let exemplars = set_difference(&ours.exemplars, &theirs.exemplars);
    told.extend(exemplars.into_iter().filter(|one| !repeats_series || one.starts_with("only fedgate")));
    let text = String::from_utf8_lossy(&page.body);
    (!told.is_empty()).then(|| format!("{}: {text:?}\n    {}", page.content_type, told.join("\n    ")))
}

fn set_difference(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> Vec<String> {
    let only_ours = ours.difference(theirs).map(|one| format!("only fedgate has {one}"));
    let only_theirs = theirs.difference(ours).map(|one| format!("only Prometheus has {one}"));
    only_ours.chain(only_theirs).collect()
}

/// Of a refused page, Prometheus counts the sample at fault where it finds the fault late.
fn is_same_count(ours: &Outcomes, theirs: &Outcomes) -> bool {
    let slack = u64::from(!ours.up && !theirs.up);
    ours.counts.iter().zip(&theirs.counts).all(|(ours, theirs)| (*ours..=ours + slack).contains(theirs))
}

/// Whether a page is of the two kinds of which Prometheus makes something that nobody should.
fn is_left_out(page: &Page) -> bool {
    has_stray_nul(page) || repeats_label_oddly(page)
}

/// Prometheus takes a NUL byte at a line's start or in a comment for the page's end, and swallows one behind a quote.
fn has_stray_nul(page: &Page) -> bool {
    let nuls = page.body.iter().enumerate().filter(|(_, byte)| **byte == 0);
    let line = |at: usize| page.body[..at].rsplit(|byte| *byte == b'\n').next().expect("split gives one piece");
    nuls.map(|(at, _)| line(at)).any(|before| {
        let first = before.iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(first, None | Some(b'#')) || before.ends_with(b"\"")
    })
}

/// A label given twice: one that the target has too, and once empty, may be kept under `exported_…` by Prometheus; and it
/// looks at the timestamp first, so that a sample too far ahead is dropped before its labels refuse the page.
fn repeats_label_oddly(page: &Page) -> bool {
    let Ok(format) = format_of_content_type(Some(page.content_type), None) else { return false };
    let mut parser = parser(format, &page.body);
    while let Ok(Some(entry)) = parser.next() {
        if let Entry::Sample(sample) = entry {
            let is_odd = |name: &str| [PAGE, "job", "instance"].contains(&name) || sample.timestamp.is_some();
            let names: Vec<&str> = sample.pairs().filter_map(|pair| pair.name).collect();
            if names.iter().enumerate().any(|(at, name)| names[..at].contains(name) && is_odd(name)) {
                return true;
            }
        }
    }
    false
}

/// The targets of one job, one a page.
fn targets(port: u16, pages: &[Page], honors_timestamps: bool) -> impl Iterator<Item = (usize, String)> {
    let of_job = pages.iter().enumerate().filter(move |(_, page)| page.honors_timestamps == honors_timestamps);
    of_job.map(move |(number, _)| (number, format!("127.0.0.1:{port}")))
}

/// A Prometheus that scrapes every page.
struct Prometheus {
    port: u16,
    _folder: tempfile::TempDir,
    _process: Process,
}

impl Prometheus {
    fn start(pages_port: u16, pages: &[Page]) -> Prometheus {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, Prometheus::config(pages_port, pages)).expect("the folder can be written");
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg("--enable-feature=exemplar-storage");
        let process = Process::start("prometheus", &mut command);
        Prometheus { port, _folder: folder, _process: process }
    }

    fn config(pages_port: u16, pages: &[Page]) -> String {
        let mut config = format!("global:\n  scrape_interval: {}s\nscrape_configs:\n", INTERVAL.as_secs());
        for (job, honors) in JOBS {
            config += &format!("  - job_name: {job}\n    honor_timestamps: {honors}\n    static_configs:\n");
            for (number, address) in targets(pages_port, pages, honors) {
                config += &format!(
                    "      - targets: [\"{address}\"]\n        labels: {{__metrics_path__: /{number}, {PAGE}: p{number}}}\n"
                );
            }
        }
        config
    }

    /// What was made of each page, once all were scraped.
    fn outcomes(&self, now_ms: i64) -> BTreeMap<usize, Outcomes> {
        wait_for("every page to be scraped", || {
            let up = self.ask(&format!("/api/v1/query?query={}", percent_encoded("count(up)")))?;
            (up[0]["value"][1] == PAGES.to_string().as_str()).then_some(())
        });
        // The samples lie before and behind now; what lies far ahead was refused.
        let at = now_ms / 1000 + 600;
        let query = percent_encoded("{__name__=~\".+\"}[70m]");
        let all = self.ask(&format!("/api/v1/query?time={at}&query={query}")).expect("an answer");
        let mut outcomes: BTreeMap<usize, Outcomes> = BTreeMap::new();
        for series in all.as_array().expect("a matrix") {
            let mut labels: BTreeMap<String, String> =
                serde_json::from_value(series["metric"].clone()).expect("labels");
            let page = labels.get(PAGE).and_then(|page| page[1..].parse().ok()).expect("a target's series");
            let samples: Vec<(f64, String)> = serde_json::from_value(series["values"].clone()).expect("samples");
            let outcome = outcomes.entry(page).or_default();
            let (_, first) = &samples[0];
            match (labels["__name__"].as_str(), labels.len()) {
                ("up", 4) => outcome.up = first == "1",
                ("scrape_samples_scraped", 4) => outcome.counts[0] = first.parse().expect("a count"),
                ("scrape_samples_post_metric_relabeling", 4) => outcome.counts[1] = first.parse().expect("a count"),
                ("scrape_series_added", 4) => outcome.counts[2] = first.parse().expect("a count"),
                ("scrape_duration_seconds", 4) => {}
                _ => {
                    let (at, newest) = samples.last().expect("a sample");
                    let own = is_own_time(*at, now_ms).then_some((at * 1000.0).round() as i64);
                    let value = newest.parse().expect("a number");
                    labels.remove("job");
                    outcome.series.insert(format!("{labels:?}"), Sample { bits: bits(value), timestamp: own });
                }
            }
        }
        self.add_exemplars(&mut outcomes);
        outcomes
    }

    fn add_exemplars(&self, outcomes: &mut BTreeMap<usize, Outcomes>) {
        let query = percent_encoded("{__name__=~\".+\"}");
        let path = format!("/api/v1/query_exemplars?query={query}&start=-99999999999&end=99999999999");
        for series in self.ask(&path).expect("an answer").as_array().expect("series") {
            let mut labels: BTreeMap<String, String> =
                serde_json::from_value(series["seriesLabels"].clone()).expect("labels");
            let page: usize = labels[PAGE][1..].parse().expect("a page");
            labels.remove("job");
            // The parser of 3.5 leaves the escapes in an exemplar's labels, and empty ones too.
            let unescaped = |text: &String| {
                text.replace("\\\\", "\0").replace("\\\"", "\"").replace("\\n", "\n").replace('\0', "\\")
            };
            for exemplar in series["exemplars"].as_array().expect("exemplars") {
                let own: BTreeMap<String, String> = serde_json::from_value(exemplar["labels"].clone()).expect("labels");
                let value: f64 = exemplar["value"].as_str().expect("text").parse().expect("a number");
                let own: BTreeMap<String, String> = own
                    .iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(name, value)| (unescaped(name), unescaped(value)))
                    .collect();
                let text = format!("{labels:?} {own:?} {:016x}", bits(value));
                outcomes.entry(page).or_default().exemplars.insert(text);
            }
        }
    }

    /// The result of an API request; `None` while nobody answers.
    fn ask(&self, path: &str) -> Option<serde_json::Value> {
        let (status, body) = http::get(self.port, path);
        if status == 0 || status == 503 {
            return None;
        }
        assert_eq!(status, 200, "{path}: {body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let data = answer["data"].clone();
        Some(if data.is_array() { data } else { data["result"].clone() }).filter(|result| result[0].is_object())
    }
}

/// A sample of the page's own time lies a while before or after the test's begin; scrapes are later, by seconds.
fn is_own_time(seconds: f64, now_ms: i64) -> bool {
    let after_ms = (seconds * 1000.0) as i64 - now_ms;
    !(0..300_000).contains(&after_ms)
}

/// What fedgate's own scrape loops make of the same pages.
async fn scraped_by_fedgate(port: u16, pages: &[Page]) -> BTreeMap<usize, Outcomes> {
    let job = |(name, honors): (&str, bool)| {
        let group = |(number, address): (usize, String)| StaticConfig {
            targets: vec![address],
            labels: [("__metrics_path__".to_owned(), format!("/{number}")), (PAGE.to_owned(), format!("p{number}"))]
                .into(),
        };
        ScrapeConfig {
            job_name: name.to_owned(),
            honor_timestamps: honors,
            scrape_interval: INTERVAL,
            scrape_timeout: INTERVAL,
            static_configs: targets(port, pages, honors).map(group).collect(),
            ..ScrapeConfig::default()
        }
    };
    let config = CollectorConfig { scrape_configs: JOBS.map(job).into(), ..CollectorConfig::default() };
    let (shutdown, pool) = (Shutdown::new(), CpuPool::new(1).expect("a thread"));
    let manager = Manager::start(&config, &shutdown.tasks(Stage::Intake), &pool).expect("jobs without faults");
    let mut outcomes = BTreeMap::new();
    let began = std::time::Instant::now();
    while outcomes.len() < pages.len() {
        assert!(began.elapsed() < 6 * INTERVAL, "{} of {} pages were scraped", outcomes.len(), pages.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
        for scrape in manager.take_finished() {
            let page = scrape.target.get(PAGE).and_then(|page| page[1..].parse().ok()).expect("a target's label");
            outcomes.entry(page).or_insert_with(|| outcome(&scrape));
        }
    }
    shutdown.ending().request();
    assert!(shutdown.run(Duration::from_secs(5)).await);
    outcomes
}

fn outcome(scrape: &Scrape) -> Outcomes {
    let chunks = scrape.schema.chunks().iter();
    let labels = chunks.flat_map(|chunk| (0..chunk.len()).map(|slot| chunk.labels(slot, &scrape.target)));
    let named: Vec<Option<String>> = labels.map(|labels| Some(text(&labels?))).collect();
    let is_present = |value: f64| !is_stale(value) && value.to_bits() != FORGET_NAN;
    let samples = scrape.values.iter().enumerate().filter(|(_, value)| is_present(**value));
    let series = samples.filter_map(|(slot, value)| {
        let timestamp = scrape.beside.timestamp_of(slot as u32).map(Timestamp::as_millis);
        Some((named[slot].clone()?, Sample { bits: bits(*value), timestamp }))
    });
    let exemplars = scrape.beside.exemplars.iter().filter_map(|(slot, exemplar)| {
        let own: BTreeMap<&str, &str> = exemplar.labels.iter().collect();
        Some(format!("{} {own:?} {:016x}", named[*slot as usize].as_ref()?, bits(exemplar.value)))
    });
    let report = &scrape.report;
    Outcomes {
        up: scrape.outcome == Outcome::Up,
        counts: [report.samples_scraped, report.samples_post_relabel, report.series_added],
        series: series.collect(),
        exemplars: exemplars.collect(),
    }
}

/// Labels as the other side has them: without the job's name, which only says whether timestamps were honoured.
fn text(labels: &Labels) -> String {
    let labels: BTreeMap<&str, &str> = labels.iter().filter(|(name, _)| *name != "job").collect();
    format!("{labels:?}")
}

//! Successive pages of one target, their formats switching.
//!
//! Promises: what a page comes to does not depend on the pages before it: result, counts, live series and what they have are
//! those of a cache that never saw another page; what is taken is in the order of slots, and each histogram a good one.
//! But a line whose bytes stay stays the series that it was when it was first read, as in Prometheus's cache: where another
//! type in force would now write its bounds otherwise, there is nothing to compare.
//!
//! Input: pages, separated by the bytes FE FF; the first byte of each says its format (`o` is OpenMetrics, `p` protobuf,
//! everything else text).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fedgate::config::{RelabelAction, RelabelConfig, ScrapeConfig};
use fedgate::exposition::{Entry, Format, parser};
use fedgate::model::{Labels, MetricType, Timestamp, is_stale};
use fedgate::scrape::{PageCache, PageError, Reading, Rules, SeriesBudget, Timing};
use fedgate::snapshot::{FORGET_NAN, Outcome, Report, Scrape};

/// Pages of one input; more only cost time.
const PAGES_MAX: usize = 8;
const MINUTE_MS: i64 = 60_000;

struct Probe {
    cache: PageCache,
    rules: Rules,
}

/// Series with a sample: its bits, and what it has beside them.
type Live = BTreeMap<Labels, (u64, String)>;
/// What a page came to.
type Result = (Reading, std::result::Result<(), PageError>, Live);

/// Shows a remembering cache and, page by page, forgetful ones the same pages.
pub(crate) fn run(input: &[u8]) {
    // Timestamps of the pages' own are remembered on purpose (a later page may not go back), so they are not honoured.
    let rules = Rules::new(&ScrapeConfig {
        honor_timestamps: false,
        scrape_native_histograms: Some(true),
        sample_limit: 20,
        label_limit: 12,
        metric_relabel_configs: vec![drop_name("drop.*")],
        ..ScrapeConfig::default()
    })
    .expect("the pattern is one");
    let mut remembering = Probe::new(&rules);
    let mut with_times =
        Probe::new(&Rules { honor_timestamps: true, track_timestamps_staleness: true, ..rules.clone() });
    let mut kinds = HashMap::new();
    for (nth, page) in pages(input).take(PAGES_MAX).enumerate() {
        let (format, page) = match page.split_first() {
            Some((b'o', page)) => (Format::OpenMetrics, page),
            Some((b'p', page)) => (Format::Protobuf, page),
            Some((_, page)) => (Format::Text, page),
            None => continue,
        };
        if format != Format::Protobuf && !are_bounds_as_before(&mut kinds, page, format) {
            return;
        }
        let now = Timestamp((nth as i64 + 1) * MINUTE_MS);
        let (reading, result, live) = remembering.read(page, format, now);
        let (fresh_reading, fresh_result, fresh_live) = Probe::new(&rules).read(page, format, now);
        // As text: a fault may hold a NaN.
        assert_eq!(format!("{result:?}"), format!("{fresh_result:?}"), "page {nth}");
        let counts = |reading: Reading| (reading.scraped, reading.post_relabel, reading.duplicates, reading.no_room);
        assert_eq!(counts(reading), counts(fresh_reading), "page {nth}");
        assert_eq!(live, fresh_live, "page {nth}");
        let _ = with_times.read(page, format, now);
    }
}

/// Whether every line that stood on a page before, or stands twice on this one, is of the same kind of bounds as then.
fn are_bounds_as_before<'i>(kinds: &mut HashMap<&'i [u8], MetricType>, page: &'i [u8], format: Format) -> bool {
    let mut parser = parser(format, page);
    // A page with a fault counts up to it, for so far it is remembered.
    while let Ok(Some(entry)) = parser.next() {
        let Entry::Sample(line) = entry else { continue };
        let kind = match parser.kind() {
            kind @ (MetricType::Histogram | MetricType::Summary) => kind,
            _ => MetricType::Unknown,
        };
        if *kinds.entry(line.key).or_insert(kind) != kind {
            return false;
        }
    }
    true
}

fn pages(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let whole = rest?;
        let end = whole.windows(2).position(|two| two == [0xfe, 0xff]);
        rest = end.map(|end| &whole[end + 2..]);
        Some(&whole[..end.unwrap_or(whole.len())])
    })
}

impl Probe {
    fn new(rules: &Rules) -> Probe {
        let target = Arc::new(Labels::from_pairs([("job", "j"), ("instance", "h:1")]));
        let budget = Arc::new(SeriesBudget::new(10_000));
        Probe { cache: PageCache::new(target.clone(), target, budget), rules: rules.clone() }
    }

    fn read(&mut self, page: &[u8], format: Format, now: Timestamp) -> Result {
        let (reading, result) = self.cache.read(page, format, now, &self.rules);
        let timing = Timing { started: now, duration: Duration::ZERO };
        (reading, result, live(&self.cache.scrape(timing, Outcome::Up, Report::default())))
    }
}

fn live(scrape: &Scrape) -> Live {
    let beside = &scrape.beside;
    assert!(beside.exemplars.is_sorted_by(|one, other| one.0 < other.0), "{beside:?}");
    assert!(beside.histograms.is_sorted_by(|one, other| one.0 < other.0), "{beside:?}");
    assert!(beside.starts.is_sorted_by(|one, other| one.0 < other.0), "{beside:?}");
    beside.histograms.iter().for_each(|(_, own)| assert_eq!(own.histogram.check(), Ok(())));
    let chunks = scrape.schema.chunks().iter();
    let labels = chunks.flat_map(|chunk| (0..chunk.len()).map(|slot| chunk.labels(slot, &scrape.target)));
    let slots = labels.zip(&scrape.values).enumerate();
    let is_present = |value: f64| !is_stale(value) && value.to_bits() != FORGET_NAN;
    let present = slots.filter(|(_, (_, value))| is_present(**value));
    let told = |slot: u32| (beside.exemplar_of(slot), beside.histogram_of(slot), beside.start_of(slot));
    present
        .filter_map(|(slot, (labels, value))| Some((labels?, (value.to_bits(), format!("{:?}", told(slot as u32))))))
        .collect()
}

fn drop_name(pattern: &str) -> RelabelConfig {
    RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: pattern.to_owned(),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    }
}

//! One page on its way into a target's [`PageCache`].
//!
//! Counts and limits follow Prometheus's `scrapeLoop.append`, which counts dropped and refused samples in ways of its own:
//!
//! | sample | scraped | post relabel | added, if its key is new |
//! |---|---|---|---|
//! | a native histogram that the job does not ask for | yes | no | no |
//! | dropped by relabelling | yes | no | no |
//! | duplicate, out of order, too far ahead | yes | yes | only where what stands in the way is on the same page |
//! | a float over `sample_limit`, a histogram over its bucket limit (the scrape fails) | yes | yes | no |
//! | taken | yes | yes | yes |
//!
//! Native histograms do not count for `sample_limit`, and none is too far ahead: that too is Prometheus 3.5's.

use std::time::Duration;

use super::cache::{PageCache, Reading};
use super::convert::{Conversion, Place};
use super::error::PageError;
use super::exposed::{Exposed, ProtobufSample};
use super::keys::Fate;
use super::rules::Rules;
use super::series::{Placed, Series};
use crate::exposition::protobuf::{HistogramForms, ProtobufEntry, ProtobufReader};
use crate::exposition::{Entry, Format, parser};
use crate::model::{
    EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Exemplar, HistogramFault, HistogramSample, Labels, METRIC_NAME,
    NativeHistogram, Timestamp, is_stale,
};

/// How far ahead of the clock a sample's own timestamp may be.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// The finest schema that a program may expose; beyond [`EXPONENTIAL_SCHEMA_MAX`] it is made coarser.
const EXPOSED_SCHEMA_MAX: i8 = 52;

/// Reads one page.
pub(super) struct PageReader<'c> {
    cache: &'c mut PageCache,
    rules: &'c Rules,
    started: Timestamp,
    /// Samples that count for `sample_limit`.
    samples: u64,
    /// Whether a histogram had too many buckets.
    is_over_buckets: bool,
    /// At work only where the job says so.
    conversion: Conversion,
    reading: Reading,
}

impl<'c> PageReader<'c> {
    pub(super) fn new(cache: &'c mut PageCache, rules: &'c Rules, started: Timestamp) -> PageReader<'c> {
        PageReader {
            cache,
            rules,
            started,
            samples: 0,
            is_over_buckets: false,
            conversion: Conversion::default(),
            reading: Reading::default(),
        }
    }

    /// Reads the page to its end or its first fault; the caller ends the page in the cache either way.
    pub(super) fn read(mut self, page: &[u8], format: Format) -> (Reading, Result<(), PageError>) {
        let read = match format {
            _ if page.is_empty() => Ok(()),
            Format::Protobuf => self.read_protobuf(page),
            Format::Text | Format::Text1 | Format::OpenMetrics => self.read_lines(page, format),
        };
        let read = read.and_then(|()| self.finish_collected(&Place::Foreign));
        let result = read.and_then(|()| self.check_limits());
        (self.reading, result)
    }

    fn read_lines(&mut self, page: &[u8], format: Format) -> Result<(), PageError> {
        let mut parser = parser(format, page);
        let converts = self.rules.histograms.convert_classic;
        loop {
            if !converts && self.cache.families.pass_over(&mut parser) {
                continue;
            }
            let from = parser.position();
            let entry = match self.cache.keys.remembered() {
                Some(line) => parser.next_remembering(line)?,
                None => parser.next()?,
            };
            if let Some(Entry::Sample(sample)) = entry {
                let known = sample.is_remembered.then(|| self.cache.keys.hit());
                match converts {
                    false => self.take(&sample, known)?,
                    true => self.convert_or_take(&sample, known)?,
                }
                continue;
            }
            self.finish_collected(&Place::Foreign)?;
            let families = &mut self.cache.families;
            match entry {
                Some(Entry::Sample(_)) => {}
                Some(Entry::Type { family, kind }) => {
                    if converts {
                        self.conversion.set_family(&family, kind);
                    }
                    families.set_kind(&family, kind);
                }
                Some(Entry::Help { family, help }) => families.set_help(&family, &help),
                Some(Entry::Unit { family, unit }) => families.set_unit(&family, unit),
                None => return Ok(()),
            }
            families.note_line(from, &parser);
        }
    }

    fn read_protobuf(&mut self, page: &[u8]) -> Result<(), PageError> {
        let forms = HistogramForms { also_classic: self.rules.histograms.also_classic };
        let mut reader = ProtobufReader::new(page, forms);
        while let Some(entry) = reader.next()? {
            match entry {
                ProtobufEntry::Family(head) => {
                    self.finish_collected(&Place::Foreign)?;
                    if self.rules.histograms.convert_classic {
                        self.conversion.set_family(head.name, head.kind);
                    }
                    self.cache.families.set(&head);
                }
                ProtobufEntry::Sample(part, value) => {
                    let is_remembered = self.cache.keys.remembered().is_some_and(|line| line.key == reader.key());
                    let known = is_remembered.then(|| self.cache.keys.hit());
                    let sample = ProtobufSample { reader: &reader, part, value };
                    match self.rules.histograms.convert_classic {
                        false => self.take(&sample, known)?,
                        true => self.convert_or_take(&sample, known)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Collects a series of a classic histogram that is to be converted, and takes every other sample as it is.
    fn convert_or_take(&mut self, sample: &impl Exposed, known: Option<u32>) -> Result<(), PageError> {
        let place = self.conversion.place(sample)?;
        self.finish_collected(&place)?;
        match place {
            Place::Foreign => self.take(sample, known),
            Place::Part(part) => {
                self.conversion.add(part, sample);
                if self.rules.histograms.also_classic { self.take(sample, known) } else { Ok(()) }
            }
        }
    }

    /// Takes the converted histogram that is whole because `next` follows, if there is one.
    fn finish_collected(&mut self, next: &Place) -> Result<(), PageError> {
        match self.conversion.finish(next) {
            None => Ok(()),
            Some(Ok(converted)) => self.take(&converted, None),
            Some(Err(_)) => {
                self.reading.histograms_unconverted += 1;
                Ok(())
            }
        }
    }

    fn check_limits(&self) -> Result<(), PageError> {
        let Rules { sample_limit: limit, .. } = *self.rules;
        if self.is_over_samples() {
            Err(PageError::SampleLimit { samples: self.reading.post_relabel, limit })
        } else if self.is_over_buckets {
            Err(PageError::BucketLimit { limit: self.rules.histograms.bucket_limit })
        } else {
            Ok(())
        }
    }

    /// `known` is the entry of the sample's key, if it stood where it was expected.
    #[inline]
    fn take(&mut self, sample: &impl Exposed, known: Option<u32>) -> Result<(), PageError> {
        self.reading.scraped += 1;
        let Some(key) = known.or_else(|| self.cache.keys.find(sample.key())) else {
            return self.take_new(sample);
        };
        let is_first = self.cache.keys.see(key, sample.value_text(), sample.value());
        let Fate::Slot(slot) = self.cache.keys.fate(key) else {
            self.reading.histograms_left_out += u64::from(!sample.is_wanted(&self.rules.histograms));
            return Ok(());
        };
        self.reading.post_relabel += 1;
        let time = sample.timestamp().filter(|_| self.rules.honor_timestamps);
        if !is_first && time.is_none() {
            self.reading.duplicates += 1;
        } else if self.is_within_limit(sample) && !self.put(slot, sample, time)? {
            self.cache.keys.forget(key);
        }
        Ok(())
    }

    /// A key that the pages before did not have.
    fn take_new(&mut self, sample: &impl Exposed) -> Result<(), PageError> {
        let mut labels = std::mem::take(&mut self.cache.labels);
        let read = sample.labels(&mut labels);
        if matches!(&read, Err(PageError::Protobuf(error)) if error.is_of_label_text()) {
            self.reading.scraped -= 1;
        }
        let exposed = labels.get(METRIC_NAME).to_owned();
        let series = match read {
            Ok(()) if !sample.is_wanted(&self.rules.histograms) => {
                self.reading.histograms_left_out += 1;
                Ok(None)
            }
            read => read.and_then(|()| self.rules.series(sample, &self.cache.target, &mut labels)),
        };
        self.cache.labels = labels;
        match series? {
            Some(series) => self.take_series(sample, &exposed, &series),
            None => {
                self.remember(sample, Fate::Dropped);
                Ok(())
            }
        }
    }

    /// A sample of a series whose final labels were found out just now.
    fn take_series(&mut self, sample: &impl Exposed, exposed: &str, series: &Labels) -> Result<(), PageError> {
        self.reading.post_relabel += 1;
        let time = sample.timestamp().filter(|_| self.rules.honor_timestamps);
        if !self.is_within_limit(sample) || !self.is_within_bounds(sample, time) {
            return Ok(());
        }
        let kept = series.get(METRIC_NAME).unwrap_or_default();
        let (family, metadata) = self.cache.families.of_series(exposed, kept);
        let own = Series::own_labels(series, &self.cache.target);
        let Some(slot) = self.cache.series.slot(own, family, &metadata) else {
            self.reading.no_room += 1;
            return Ok(());
        };
        if self.put(slot, sample, time)? {
            self.reading.added += u64::from(!self.is_over_samples() && !self.is_over_buckets);
            self.remember(sample, Fate::Slot(slot));
        }
        Ok(())
    }

    fn remember(&mut self, sample: &impl Exposed, fate: Fate) {
        let key = self.cache.keys.insert(sample.key(), fate);
        self.cache.keys.see(key, sample.value_text(), sample.value());
    }

    /// Counts a float for `sample_limit`. Beyond it the page is only read on for its totals.
    #[inline]
    fn is_within_limit(&mut self, sample: &impl Exposed) -> bool {
        if sample.is_native() {
            return true;
        }
        self.samples += u64::from(!is_stale(sample.value()));
        !self.is_over_samples()
    }

    fn is_over_samples(&self) -> bool {
        self.rules.sample_limit > 0 && self.samples > self.rules.sample_limit
    }

    fn is_within_bounds(&mut self, sample: &impl Exposed, time: Option<Timestamp>) -> bool {
        let is_within = sample.is_native() || time.is_none_or(|time| time <= self.started + AHEAD_MAX);
        self.reading.out_of_bounds += u64::from(!is_within);
        is_within
    }

    /// False where the sample was refused.
    #[inline]
    fn put<S: Exposed>(&mut self, slot: u32, sample: &S, time: Option<Timestamp>) -> Result<bool, PageError> {
        if time.is_some() && !self.is_within_bounds(sample, time) {
            return Ok(false);
        }
        let placed = match sample.is_native() {
            false => self.cache.series.put(slot, sample.value(), time, self.started),
            true => match self.histogram(sample)? {
                Some(histogram) => self.cache.series.put_histogram(slot, histogram, time, self.started),
                None => return Ok(false),
            },
        };
        match placed {
            Placed::Taken => {}
            Placed::Repeated => {
                self.reading.duplicates += 1;
                return Ok(S::HAS_SPELLINGS);
            }
            Placed::Duplicate => {
                self.reading.duplicates += 1;
                return Ok(false);
            }
            // Prometheus finds this out only when it stores the page: the line is as good as any other.
            Placed::Overtaken => {
                self.reading.out_of_order += 1;
                return Ok(true);
            }
            Placed::OutOfOrder => {
                self.reading.out_of_order += 1;
                return Ok(false);
            }
        }
        if let Some(start) = sample.start() {
            self.cache.starts.push((slot, start));
        }
        if sample.has_exemplar() {
            let exemplar = sample.exemplar(&mut self.cache.labels);
            let exemplar = self.counted(exemplar);
            self.cache.exemplars.extend(exemplar.map(|exemplar| (slot, exemplar)));
        }
        Ok(true)
    }

    fn counted(&mut self, exemplar: Option<Exemplar>) -> Option<Exemplar> {
        self.reading.bad_exemplars += u64::from(exemplar.is_none());
        exemplar
    }

    /// The native histogram within the job's bounds; `None` where it has too many buckets whatever its resolution.
    fn histogram(&mut self, sample: &impl Exposed) -> Result<Option<HistogramSample>, PageError> {
        let bounded = sample.histogram().and_then(|histogram| self.bounded(histogram));
        let histogram = match bounded {
            Ok(Some(histogram)) => histogram,
            Ok(None) => {
                self.is_over_buckets = true;
                return Ok(None);
            }
            Err(fault) => return Err(self.histogram_error(sample, fault)),
        };
        let exemplars = sample.exemplars(&mut self.cache.labels);
        let exemplars = exemplars.into_iter().filter_map(|exemplar| self.counted(exemplar)).collect();
        Ok(Some(HistogramSample { histogram, exemplars }))
    }

    /// Makes the histogram as coarse as the job's keys want it, or as the bounds of the program itself.
    fn bounded(&self, mut histogram: NativeHistogram) -> Result<Option<NativeHistogram>, HistogramFault> {
        let rules = &self.rules.histograms;
        if histogram.schema <= EXPOSED_SCHEMA_MAX {
            histogram.reduce_resolution(rules.schema_max.min(EXPONENTIAL_SCHEMA_MAX));
        }
        let is_over =
            |histogram: &NativeHistogram| rules.bucket_limit > 0 && histogram.buckets() as u64 > rules.bucket_limit;
        while is_over(&histogram) {
            if histogram.has_custom_buckets() || histogram.schema <= EXPONENTIAL_SCHEMA_MIN {
                return Ok(None);
            }
            histogram.reduce_resolution(histogram.schema - 1);
        }
        histogram.check().map(|()| Some(histogram))
    }

    /// Prometheus does not count a sample whose refusal ends the page.
    #[cold]
    fn histogram_error(&mut self, sample: &impl Exposed, fault: HistogramFault) -> PageError {
        self.reading.post_relabel -= 1;
        match sample.labels(&mut self.cache.labels) {
            Ok(()) => PageError::Histogram { labels: self.cache.labels.build(), fault },
            Err(error) => error,
        }
    }
}

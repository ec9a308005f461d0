//! A request of either version, read whole before anything of it is applied.
//!
//! Invariant: strings and labels stay where they are in the body; a series is known by a hash of its labels as they stand there, so a
//! series that was seen before costs no label. Of 2.0, whose labels are numbers into the request's own symbols, the hash
//! is that of the symbols' hashes. It is salted by process, 128 bits long, and only ever compared within one sender.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::fault::RequestFault;
use super::fields::{Fields, Value};
use super::histogram::read_histogram;
use crate::model::{MetricType, NativeHistogram, Timestamp};

/// Samples and histograms of one request.
const SAMPLES_MAX: usize = 1 << 20;
/// Exemplars of one request.
const EXEMPLARS_MAX: usize = 1 << 17;
/// Series, entries of metadata, symbols.
const SERIES_MAX: usize = 1 << 20;
/// Samples of one series: each is a tick of its own.
const SERIES_SAMPLES_MAX: usize = 4096;
/// Labels of one series.
pub(super) const LABELS_MAX: usize = 1024;

static SALT: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("salt of series"));

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// A sample: a float, or a native histogram.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: i64,
    pub(super) value: f64,
    pub(super) histogram: Option<Arc<NativeHistogram>>,
    /// Whether it came as a histogram; its stale marker has no buckets.
    pub(super) is_histogram: bool,
    /// When its counter began; 0 where it does not say.
    pub(super) start: i64,
    /// The histogram breaks its own rules.
    pub(super) is_bad: bool,
}

#[derive(Clone, Debug)]
pub(super) struct WrittenExemplar<'a> {
    pub(super) labels: LabelBytes<'a>,
    pub(super) value: f64,
    pub(super) at: i64,
}

/// Labels as they stand in the body.
#[derive(Clone, Copy, Debug)]
pub(super) enum LabelBytes<'a> {
    /// A message whose fields 1 are Labels.
    V1(&'a [u8]),
    /// Packed numbers of symbols.
    V2(&'a [u8]),
}

#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    pub(super) key: u128,
    pub(super) labels: LabelBytes<'a>,
    pub(super) samples: Range<usize>,
    pub(super) exemplars: Range<usize>,
    pub(super) family: Family<'a>,
}

/// What is said of a family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Family<'a> {
    /// Empty in 2.0, where it follows from the series' name.
    pub(super) name: &'a str,
    pub(super) kind: MetricType,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
}

/// What a body says.
#[derive(Debug, Default)]
pub struct Request<'a> {
    pub(super) series: Vec<Series<'a>>,
    pub(super) samples: Vec<Sample>,
    pub(super) exemplars: Vec<WrittenExemplar<'a>>,
    pub(super) families: Vec<Family<'a>>,
    symbols: Vec<&'a str>,
    hashes: Vec<u128>,
    scratch: Vec<u8>,
}

/// Unpacks a body; its announced length is looked at first.
pub fn unpack(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, RequestFault> {
    let bytes = snap::raw::decompress_len(body).map_err(|_| RequestFault::Compression)?;
    // A copy of three bytes makes at most 64, so a short body cannot announce a long one.
    let max = bytes_max.min(body.len().saturating_mul(64));
    if bytes > max {
        return Err(RequestFault::TooLong { bytes, max });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|_| RequestFault::Compression)
}

impl<'a> Request<'a> {
    /// Reads a message.
    pub fn read(message: &'a [u8], version: Version) -> Result<Request<'a>, RequestFault> {
        let mut request = Request::default();
        match version {
            Version::V1 => request.read_v1(message)?,
            Version::V2 => request.read_v2(message)?,
        }
        Ok(request)
    }

    /// Samples and histograms in it.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Exemplars in it.
    pub fn exemplars(&self) -> usize {
        self.exemplars.len()
    }

    fn read_v1(&mut self, message: &'a [u8]) -> Result<(), RequestFault> {
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.read_series_v1(field.value.bytes()?)?,
                3 => {
                    let family = read_family_v1(field.value.bytes()?)?;
                    self.families.push(family);
                    bound("metadata", self.families.len(), SERIES_MAX)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_series_v1(&mut self, message: &'a [u8]) -> Result<(), RequestFault> {
        let (samples, exemplars) = (self.samples.len(), self.exemplars.len());
        let (mut fields, mut labels_end, mut is_scattered) = (Fields::new(message), 0, false);
        let mut begin = 0;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => {
                    field.value.bytes()?;
                    is_scattered |= begin != labels_end;
                    labels_end = field.end;
                }
                2 => self.samples.push(read_sample(field.value.bytes()?)?),
                3 => self.exemplars.push(read_exemplar(field.value.bytes()?, Version::V1)?),
                4 => self.samples.push(read_histogram(field.value.bytes()?)?),
                _ => {}
            }
            begin = field.end;
            self.check_bounds()?;
        }
        let labels = if is_scattered { message } else { fields.before(labels_end) };
        let key = xxh3_128_with_seed(self.gathered(labels, is_scattered)?, *SALT);
        self.put_series(key, LabelBytes::V1(labels), samples, exemplars, Family::default())
    }

    /// The labels' bytes; those that other fields stand between are put side by side.
    fn gathered<'b>(&'b mut self, labels: &'a [u8], is_scattered: bool) -> Result<&'b [u8], RequestFault>
    where
        'a: 'b,
    {
        if !is_scattered {
            return Ok(labels);
        }
        self.scratch.clear();
        let mut fields = Fields::new(labels);
        while let Some(field) = fields.next()? {
            if let (1, Value::Bytes(label)) = (field.number, field.value) {
                self.scratch.extend_from_slice(&(label.len() as u64).to_le_bytes());
                self.scratch.extend_from_slice(label);
            }
        }
        Ok(&self.scratch)
    }

    fn read_v2(&mut self, message: &'a [u8]) -> Result<(), RequestFault> {
        // Symbols may stand behind the series that use them.
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 4 {
                let symbol = field.value.text()?;
                self.symbols.push(symbol);
                self.hashes.push(xxh3_128_with_seed(symbol.as_bytes(), *SALT));
                bound("symbols", self.symbols.len(), SERIES_MAX)?;
            }
        }
        if self.symbols.first().is_some_and(|first| !first.is_empty()) {
            return Err(RequestFault::Malformed("first symbol is not empty"));
        }
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            if field.number == 5 {
                self.read_series_v2(field.value.bytes()?)?;
            }
        }
        Ok(())
    }

    fn read_series_v2(&mut self, message: &'a [u8]) -> Result<(), RequestFault> {
        let (samples, exemplars) = (self.samples.len(), self.exemplars.len());
        let (mut labels, mut family, mut created): (&[u8], _, _) = (&[], Family::default(), 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => labels = field.value.bytes()?,
                2 => self.samples.push(read_sample(field.value.bytes()?)?),
                3 => self.samples.push(read_histogram(field.value.bytes()?)?),
                4 => self.exemplars.push(read_exemplar(field.value.bytes()?, Version::V2)?),
                5 => family = self.read_family_v2(field.value.bytes()?)?,
                // Earlier drafts of 2.0 say so of the whole series.
                6 => created = field.value.integer()? as i64,
                _ => {}
            }
            self.check_bounds()?;
        }
        self.samples[samples..].iter_mut().filter(|sample| sample.start == 0).for_each(|sample| sample.start = created);
        let key = self.key_v2(labels, &family)?;
        self.put_series(key, LabelBytes::V2(labels), samples, exemplars, family)
    }

    fn key_v2(&mut self, labels: &[u8], family: &Family<'_>) -> Result<u128, RequestFault> {
        self.scratch.clear();
        let mut refs = Fields::new(labels);
        while !refs.is_over() {
            let number = refs.number()?;
            let hash = usize::try_from(number).ok().and_then(|at| self.hashes.get(at));
            // A number beyond the symbols is the series' fault, found when its labels are read.
            self.scratch.extend_from_slice(&hash.copied().unwrap_or_default().to_le_bytes());
        }
        self.scratch.push(family.kind as u8);
        for text in [family.help, family.unit] {
            if !text.is_empty() {
                self.scratch.extend_from_slice(text.as_bytes());
            }
            self.scratch.push(0xff);
        }
        Ok(xxh3_128_with_seed(&self.scratch, *SALT))
    }

    fn read_family_v2(&self, message: &[u8]) -> Result<Family<'a>, RequestFault> {
        let (mut fields, mut family) = (Fields::new(message), Family::default());
        while let Some(field) = fields.next()? {
            match field.number {
                1 => family.kind = kind_of(field.value.integer()?),
                3 => family.help = self.symbol(field.value.integer()?)?,
                4 => family.unit = self.symbol(field.value.integer()?)?,
                _ => {}
            }
        }
        Ok(family)
    }

    fn symbol(&self, number: u64) -> Result<&'a str, RequestFault> {
        let symbol = usize::try_from(number).ok().and_then(|at| self.symbols.get(at));
        symbol.copied().ok_or(RequestFault::Malformed("reference beyond the symbols"))
    }

    /// The pairs of labels, in the order in which they stand.
    pub(super) fn pairs(&self, labels: LabelBytes<'a>) -> Result<Vec<(&'a str, &'a str)>, RequestFault> {
        let mut pairs = Vec::new();
        match labels {
            LabelBytes::V1(message) => {
                let mut fields = Fields::new(message);
                while let Some(field) = fields.next()? {
                    if field.number == 1 {
                        pairs.push(read_label(field.value.bytes()?)?);
                        bound("labels of a series", pairs.len(), LABELS_MAX)?;
                    }
                }
            }
            LabelBytes::V2(refs) => {
                let mut refs = Fields::new(refs);
                while !refs.is_over() {
                    pairs.push((self.symbol(refs.number()?)?, self.symbol(refs.number()?)?));
                    bound("labels of a series", pairs.len(), LABELS_MAX)?;
                }
            }
        }
        Ok(pairs)
    }

    fn put_series(
        &mut self,
        key: u128,
        labels: LabelBytes<'a>,
        samples: usize,
        exemplars: usize,
        family: Family<'a>,
    ) -> Result<(), RequestFault> {
        let (samples, exemplars) = (samples..self.samples.len(), exemplars..self.exemplars.len());
        bound("samples of a series", samples.len(), SERIES_SAMPLES_MAX)?;
        self.series.push(Series { key, labels, samples, exemplars, family });
        bound("series", self.series.len(), SERIES_MAX)
    }

    #[inline]
    fn check_bounds(&self) -> Result<(), RequestFault> {
        bound("samples", self.samples.len(), SAMPLES_MAX)?;
        bound("exemplars", self.exemplars.len(), EXEMPLARS_MAX)
    }
}

#[inline]
fn bound(what: &'static str, found: usize, max: usize) -> Result<(), RequestFault> {
    if found <= max { Ok(()) } else { Err(RequestFault::TooMany { what, max }) }
}

fn read_sample(message: &[u8]) -> Result<Sample, RequestFault> {
    let (mut value, mut at, mut start) = (0.0, 0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => value = field.value.double()?,
            2 => at = field.value.integer()? as i64,
            3 => start = field.value.integer()? as i64,
            _ => {}
        }
    }
    Ok(Sample { at, value, histogram: None, is_histogram: false, start, is_bad: false })
}

fn read_exemplar(message: &[u8], version: Version) -> Result<WrittenExemplar<'_>, RequestFault> {
    let labels = if version == Version::V1 { LabelBytes::V1(message) } else { LabelBytes::V2(&[]) };
    let mut exemplar = WrittenExemplar { labels, value: 0.0, at: 0 };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 if version == Version::V2 => exemplar.labels = LabelBytes::V2(field.value.bytes()?),
            2 => exemplar.value = field.value.double()?,
            3 => exemplar.at = field.value.integer()? as i64,
            _ => {}
        }
    }
    Ok(exemplar)
}

fn read_label(message: &[u8]) -> Result<(&str, &str), RequestFault> {
    let (mut name, mut value) = ("", "");
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.value.text()?,
            2 => value = field.value.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_family_v1(message: &[u8]) -> Result<Family<'_>, RequestFault> {
    let (mut fields, mut family) = (Fields::new(message), Family::default());
    while let Some(field) = fields.next()? {
        match field.number {
            1 => family.kind = kind_of(field.value.integer()?),
            2 => family.name = field.value.text()?,
            4 => family.help = field.value.text()?,
            5 => family.unit = field.value.text()?,
            _ => {}
        }
    }
    Ok(family)
}

fn kind_of(number: u64) -> MetricType {
    use MetricType::*;
    let kinds = [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet];
    kinds.get(usize::try_from(number).unwrap_or(usize::MAX)).copied().unwrap_or_default()
}

impl Sample {
    pub(super) fn start(&self) -> Option<Timestamp> {
        (self.start != 0).then_some(Timestamp(self.start))
    }
}

//! What a frame says of a scrape beside its values: when it started, how long it took, what it counted.
//!
//! Everything is told against the same target's scrape before, which it resembles: the start against "as much later as the
//! tick is". A steady target's facts are a row of zeros but for the duration.
//!
//! | field | as |
//! |---|---|
//! | start | zigzag milliseconds against the expected one |
//! | duration | varint, microseconds |
//! | samples scraped, after relabelling, series added | zigzag against the scrape before |
//! | with EXTRA: which follow | byte: 1 body bytes, 2 time-out, 4 sample limit |
//! | body bytes | zigzag against the scrape before |
//! | time-out | varint, microseconds |
//! | sample limit | varint |
//!
//! Of a target that is gone only the start is told: the time at which its series end.

use std::time::Duration;

use super::reader::{Malformed, Reader, put_varint, put_zigzag};
use super::scrape::{Outcome, Report};
use crate::model::Timestamp;

/// One scrape's facts, as the last frame left them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) started: Timestamp,
    pub(super) duration: Duration,
    pub(super) outcome: Outcome,
    pub(super) report: Report,
    /// The tick of the frame that told them.
    pub(super) tick: Timestamp,
}

impl Facts {
    /// Nothing is known of the target yet: its first scrape is expected at the tick.
    pub(super) fn new(tick: Timestamp) -> Facts {
        let (duration, outcome, report) = (Duration::ZERO, Outcome::Up, Report::default());
        Facts { started: tick, duration, outcome, report, tick }
    }

    pub(super) fn has_extra(&self) -> bool {
        let report = &self.report;
        report.body_bytes.is_some() || report.timeout.is_some() || report.sample_limit.is_some()
    }

    fn expected_start(&self, tick: Timestamp) -> i64 {
        self.started.0.wrapping_add(tick.0.wrapping_sub(self.tick.0))
    }

    /// Appends these facts as they differ from those `before`.
    pub(super) fn put(&self, before: &Facts, out: &mut Vec<u8>) {
        put_zigzag(out, self.started.0.wrapping_sub(before.expected_start(self.tick)));
        if self.outcome == Outcome::Gone {
            return;
        }
        put_varint(out, micros(self.duration));
        for (own, old) in counts(&self.report).into_iter().zip(counts(&before.report)) {
            put_zigzag(out, own.wrapping_sub(old) as i64);
        }
        if self.has_extra() {
            self.put_extra(before, out);
        }
    }

    fn put_extra(&self, before: &Facts, out: &mut Vec<u8>) {
        let Report { body_bytes, timeout, sample_limit, .. } = self.report;
        out.push(
            u8::from(body_bytes.is_some()) | u8::from(timeout.is_some()) << 1 | u8::from(sample_limit.is_some()) << 2,
        );
        if let Some(bytes) = body_bytes {
            put_zigzag(out, bytes.wrapping_sub(before.report.body_bytes.unwrap_or(0)));
        }
        if let Some(timeout) = timeout {
            put_varint(out, micros(timeout));
        }
        if let Some(limit) = sample_limit {
            put_varint(out, limit);
        }
    }

    /// Reads what [`Facts::put`] wrote against these facts.
    pub(super) fn read_next(
        &self,
        tick: Timestamp,
        outcome: Outcome,
        has_extra: bool,
        reader: &mut Reader<'_>,
    ) -> Result<Facts, Malformed> {
        let started = Timestamp(self.expected_start(tick).wrapping_add(reader.zigzag("start")?));
        if outcome == Outcome::Gone {
            return Ok(Facts { started, outcome, tick, ..*self });
        }
        let duration = Duration::from_micros(reader.varint("duration")?);
        let mut report = Report::default();
        let before = counts(&self.report);
        report.samples_scraped = before[0].wrapping_add(reader.zigzag("samples scraped")? as u64);
        report.samples_post_relabel = before[1].wrapping_add(reader.zigzag("samples after relabelling")? as u64);
        report.series_added = before[2].wrapping_add(reader.zigzag("series added")? as u64);
        if has_extra {
            self.read_extra(&mut report, reader)?;
        }
        Ok(Facts { started, duration, outcome, report, tick })
    }

    fn read_extra(&self, report: &mut Report, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let which = reader.byte("extra facts")?;
        if which > 7 {
            return Err(Malformed::Unknown { what: "extra facts", found: u64::from(which) });
        }
        if which & 1 != 0 {
            let before = self.report.body_bytes.unwrap_or(0);
            report.body_bytes = Some(before.wrapping_add(reader.zigzag("body bytes")?));
        }
        if which & 2 != 0 {
            report.timeout = Some(Duration::from_micros(reader.varint("time-out")?));
        }
        if which & 4 != 0 {
            report.sample_limit = Some(reader.varint("sample limit")?);
        }
        Ok(())
    }
}

fn counts(report: &Report) -> [u64; 3] {
    [report.samples_scraped, report.samples_post_relabel, report.series_added]
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

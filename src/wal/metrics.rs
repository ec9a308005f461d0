//! The logs' figures, as metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::open::Wal;
use super::replay::{ReplayCounts, Replayed};
use super::retention::Logs;
use crate::journal::{Log, Statistics};
use crate::model::Timestamp;
use crate::runtime::clock;
use crate::telemetry::{Emit, Kind, Registry};

/// What the start did, once it is over.
#[derive(Debug, Default)]
pub struct Restored {
    /// How long it took.
    pub took: OnceLock<Duration>,
    /// What was found.
    pub replayed: Replayed,
}

/// Registers everything.
pub fn register(registry: &mut Registry, wal: &Wal, restored: &Arc<Restored>) {
    register_sizes(registry, wal);
    register_work(registry, wal);
    register_policy(registry, wal);
    register_restore(registry, restored);
}

/// A family with one series a log.
fn by_log(
    registry: &mut Registry,
    wal: &Wal,
    (name, help, kind): (&str, &'static str, Kind),
    figure: impl Fn(&Log) -> f64 + Send + Sync + 'static,
) {
    let logs = [(Logs::Frames, wal.frames.log().clone()), (Logs::Recorded, wal.recorded.log().clone())];
    registry.derive(name, help, kind, move |emit| {
        logs.iter().for_each(|(which, log)| emit.series(&[("log", which.as_str())], figure(log)));
    });
}

fn bytes_of(log: &Log) -> u64 {
    log.segments().iter().map(|segment| segment.bytes).sum()
}

fn register_sizes(registry: &mut Registry, wal: &Wal) {
    let mut gauge = |name: &str, help, figure: fn(&Log) -> f64| {
        by_log(registry, wal, (name, help, Kind::Gauge), figure);
    };
    gauge("fedgate_gateway_journal_bytes", "Bytes of the journal on the disk", |log| bytes_of(log) as f64);
    gauge("fedgate_gateway_journal_segments", "Files of the journal", |log| log.segments().len() as f64);
    gauge(
        "fedgate_gateway_journal_oldest_timestamp_seconds",
        "When the oldest segment of the journal was begun",
        |log| log.segments().first().map_or(f64::NAN, |oldest| oldest.begun.as_seconds()),
    );
    gauge("fedgate_gateway_journal_unsynced_bytes", "Bytes that were taken in and are not yet on the disk", |log| {
        log.buffered() as f64
    });
    let (wal, name) = (wal.clone(), "fedgate_gateway_journal_hours_left");
    let help = "How long the journal has room at the rate at which it grew since its oldest segment";
    registry.derive(name, help, Kind::Gauge, move |emit| emit.series(&[], hours_left(&wal, clock::now())));
}

fn hours_left(wal: &Wal, now: Timestamp) -> f64 {
    let logs = [wal.frames.log(), wal.recorded.log()];
    let bytes: u64 = logs.iter().map(|log| bytes_of(log)).sum();
    let oldest = logs.iter().filter_map(|log| Some(log.segments().first()?.begun)).min();
    let hours = oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64() / 3600.0);
    wal.bytes_max.saturating_sub(bytes) as f64 / (bytes as f64 / hours)
}

fn register_work(registry: &mut Registry, wal: &Wal) {
    let mut counter = |name: &str, help, figure: fn(&Statistics) -> f64| {
        by_log(registry, wal, (name, help, Kind::Counter), move |log| figure(&log.statistics()));
    };
    counter("fedgate_gateway_journal_appended_records", "Records taken in", |counts| counts.records as f64);
    counter("fedgate_gateway_journal_appended_bytes", "Bytes of records taken in", |counts| counts.bytes as f64);
    counter("fedgate_gateway_journal_commits", "Times that the journal was made durable", |counts| {
        counts.commits as f64
    });
    counter("fedgate_gateway_journal_commit_seconds", "How long that took, all together", |counts| {
        counts.commit_time.as_secs_f64()
    });
    counter(
        "fedgate_gateway_journal_failures",
        "Writes and syncs that the disk refused; each is tried again",
        |counts| counts.failures as f64,
    );
    counter("fedgate_gateway_journal_dropped_segments", "Segments that were dropped, needed or not", |counts| {
        counts.segments_dropped as f64
    });
}

fn register_policy(registry: &mut Registry, wal: &Wal) {
    let frames = wal.frames.clone();
    registry.derive(
        "fedgate_gateway_journal_refusing",
        "Whether pushes are refused because the journal is full and an endpoint wants its oldest records",
        Kind::Gauge,
        move |emit| emit.series(&[], f64::from(u8::from(frames.is_refusing()))),
    );
    let retention = wal.retention.clone();
    registry.derive(
        "fedgate_gateway_journal_skipped_bytes",
        "Bytes that were dropped before an endpoint had taken them",
        Kind::Counter,
        move |emit| {
            for (holder, log, bytes) in retention.skipped() {
                emit.series(&[("holder", &holder), ("log", log.as_str())], bytes as f64);
            }
        },
    );
    let recorded = wal.recorded.clone();
    registry.derive(
        "fedgate_gateway_journal_lost_evaluations",
        "Evaluations of rules whose results the journal did not take in",
        Kind::Counter,
        move |emit| emit.series(&[], recorded.lost() as f64),
    );
}

fn register_restore(registry: &mut Registry, restored: &Arc<Restored>) {
    let own = restored.clone();
    registry.derive(
        "fedgate_gateway_restore_seconds",
        "How long the journal was read at the start",
        Kind::Gauge,
        move |emit| own.took.get().into_iter().for_each(|took| emit.series(&[], took.as_secs_f64())),
    );
    let own = restored.clone();
    registry.derive("fedgate_gateway_restored_frames", "State frames applied at the start", Kind::Gauge, move |emit| {
        by_cluster(emit, &own, &[("", |counts| counts.applied)]);
    });
    let own = restored.clone();
    registry.derive(
        "fedgate_gateway_restore_left_out_frames",
        "Frames in the journal that were not applied at the start, by reason",
        Kind::Gauge,
        move |emit| {
            let reasons: [Reason; 3] = [
                ("key_missing", |counts| counts.passed),
                ("inventory", |counts| counts.refused),
                ("damaged", |counts| counts.damaged),
            ];
            by_cluster(emit, &own, &reasons);
        },
    );
    let own = restored.clone();
    registry.derive(
        "fedgate_gateway_restore_lost_bytes",
        "Bytes of the journal that could not be read at the start",
        Kind::Gauge,
        move |emit| emit.series(&[], own.replayed.lost_bytes() as f64),
    );
    let own = restored.clone();
    registry.derive(
        "fedgate_gateway_restored_evaluations",
        "Evaluations of rules brought back at the start",
        Kind::Gauge,
        move |emit| emit.series(&[], own.replayed.evaluations() as f64),
    );
}

/// The value of the label `reason`, empty for none, and the count.
type Reason = (&'static str, fn(&ReplayCounts) -> u64);

fn by_cluster(emit: &mut Emit<'_, '_>, restored: &Restored, reasons: &[Reason]) {
    for (cluster, counts) in restored.replayed.clusters() {
        for (reason, count) in reasons {
            match *reason {
                "" => emit.series(&[("cluster", &cluster)], count(&counts) as f64),
                reason => emit.series(&[("cluster", &cluster), ("reason", reason)], count(&counts) as f64),
            }
        }
    }
}

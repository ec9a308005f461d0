//! The collector's log over a disk that runs full: what it cannot take goes on from memory, and is counted for whoever reads from disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fedgate::journal::{Cursors, Files, Journal, Options, Role};
use fedgate::model::{Labels, Timestamp};
use fedgate::push::entry::{Entry, Place, Totals, entries};
use fedgate::push::protocol::Verdict;
use fedgate::push::sender::{DropReason, Sender, SenderLimits, Step};
use fedgate::push::spool::{Spool, read};
use fedgate::snapshot::{Beside, Encoder, Frame, FrameLimits, Outcome, Report, Scrape, SlotTable, StreamId};

use crate::journal::faulty::{Faults, FaultyFiles};

const DIR: &str = "/spool";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn limits() -> SenderLimits {
    SenderLimits {
        queue_bytes_max: 1 << 20,
        has_spool: true,
        body_bytes_max: 1 << 20,
        backoff_max: Duration::from_secs(1),
        backlog_bytes_per_second: None,
    }
}

/// A log on such a disk, and who writes it.
struct Scene {
    files: FaultyFiles,
    journal: Journal,
    spool: Spool,
    encoder: Encoder,
    ticks: i64,
}

impl Scene {
    fn new() -> Scene {
        let files = FaultyFiles::new(3);
        let options = Options { segment_bytes: 2 << 10, buffer_bytes_max: 2 << 10, ..Options::new(Role::Spool) };
        let (journal, _) = Journal::open(Arc::new(files.clone()), Path::new(DIR), options, NOW).unwrap();
        let cursors = Cursors::new(Arc::new(files.clone()) as Arc<dyn Files>, Path::new(DIR));
        let spool = Spool::on_disk(journal.log().clone(), cursors).unwrap();
        let encoder = Encoder::new(StreamId([1; 16]), NOW, FrameLimits::default());
        Scene { files, journal, spool, encoder, ticks: 0 }
    }

    /// One tick; says whether the disk's buffer took it.
    fn tick(&mut self) -> (Vec<Entry>, bool) {
        self.ticks += 1;
        let is_back = self.spool.is_back(200);
        if is_back {
            self.encoder.mark_gap();
        }
        let scrape = Scrape {
            target: Arc::new(Labels::from_pairs([("instance", "a"), ("job", "test")])),
            started: Timestamp(NOW.0 + 1000 * self.ticks),
            duration: Duration::from_millis(1),
            outcome: Outcome::Up,
            report: Report::default(),
            schema: SlotTable::default().schema(),
            values: Vec::new(),
            beside: Beside::default(),
        };
        let at = Timestamp(NOW.0 + 1000 * self.ticks);
        let frames = self.encoder.tick(at, at, &[scrape], is_back);
        let mut made = entries(&frames, self.spool.totals_mut(), &FrameLimits::default());
        let is_taken = self.spool.append(&mut made, at).is_ok();
        let _ = self.journal.commit(at);
        (made, is_taken)
    }

    fn sender(&self, name: &str) -> Sender {
        let (end, totals) = self.spool.end();
        Sender::new(self.spool.mark(name).unwrap(), end, totals, limits())
    }

    /// Everything that a sender sends now, acknowledged: the numbers and which of them say GAP.
    fn drain(&self, sender: &mut Sender) -> (Vec<u64>, Vec<u64>) {
        let (now, mut sent, mut gaps) = (Instant::now(), Vec::new(), Vec::new());
        loop {
            if let Some(from) = sender.wants_read(now) {
                let (entries, read_to) = read(self.journal.log(), from, 1000).unwrap();
                sender.loaded(now, from, entries, read_to);
            }
            let Step::Send(body) = sender.step(now) else { break };
            for piece in &body.pieces {
                let (frame, _) = Frame::parse(piece, &FrameLimits::default()).unwrap();
                let header = frame.header();
                sent.extend((header.seq != 0).then_some(header.seq));
                gaps.extend(header.gap.then_some(header.seq));
            }
            sender.answered(now, Verdict::Acked { acked: *sent.last().unwrap() });
        }
        (sent, gaps)
    }
}

#[test]
fn a_full_disk_stops_nobody_who_is_up_to_date_and_costs_the_others_exactly_what_it_missed() {
    let mut scene = Scene::new();
    let mut live = scene.sender("live");
    let (first, _) = scene.tick();
    live.push(&first);
    scene.files.set(Faults { room: Some(scene.files.used()), ..Faults::default() });
    let mut missed = 0;
    while missed < 5 {
        let (made, is_taken) = scene.tick();
        live.push(&made);
        missed += u64::from(!is_taken);
        assert!(scene.ticks < 1000, "the buffer is never full");
    }
    let (sent, _) = scene.drain(&mut live);
    assert_eq!(sent, (1..=scene.ticks as u64).collect::<Vec<_>>(), "from memory, in order");
    assert_eq!((live.is_drained(), live.take_dropped()), (true, Vec::new()));

    scene.files.set(Faults::default());
    scene.journal.commit(NOW).unwrap();
    let (made, is_taken) = scene.tick();
    assert!(
        is_taken && made.iter().any(|entry| entry.begins_key),
        "a KEY, so that the disk has something to go on from"
    );
    live.push(&made);
    let back = scene.ticks as u64;
    assert_eq!(scene.drain(&mut live), (vec![back], vec![back]));

    let mut late = scene.sender("late");
    let (sent, gaps) = scene.drain(&mut late);
    let expected: Vec<u64> = (1..back - missed).chain([back]).collect();
    assert_eq!((sent, gaps), (expected, vec![back]));
    assert_eq!(late.take_dropped(), [(DropReason::Unreadable, Totals { frames: missed, samples: 0 })]);
    assert!(late.is_drained());
}

#[test]
fn a_cursor_says_where_a_url_is_and_what_it_has_said() {
    let mut scene = Scene::new();
    let mut sender = scene.sender("gateway");
    for _ in 0..3 {
        let (made, _) = scene.tick();
        sender.push(&made);
    }
    scene.drain(&mut sender);
    let (log, cursors) = (scene.spool.log().unwrap(), scene.spool.cursors().unwrap());
    assert!(Spool::save(log, cursors, "gateway", sender.mark()).unwrap());
    assert_eq!(scene.spool.mark("gateway").unwrap(), *sender.mark());
    let other = scene.spool.mark("another").unwrap();
    assert_eq!(
        (other.unacknowledged, other.totals),
        (Place::behind(log.first()), Totals::default()),
        "it gets everything"
    );
}

//! A stream of work on several threads: what belongs together in one lane, in order; lanes side by side.
//!
//! Invariant: everything that was put in is done, or its panic is logged, when [`in_lanes`] returns. Each lane is bounded, so who puts in
//! waits for the slowest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::tasks::panic_text;

/// Runs `feed` on this thread, and `work` on everything that it puts in on `lanes` threads beside it. The number that stands beside a
/// piece of work chooses its lane. A piece that panics fails alone.
pub fn in_lanes<T: Send>(
    lanes: usize,
    depth: usize,
    work: impl Fn(T) + Sync,
    feed: impl FnOnce(&mut dyn FnMut(u64, T)),
) {
    let work = &work;
    std::thread::scope(|scope| {
        let senders: Vec<SyncSender<T>> = (0..lanes.max(1))
            .map(|_| {
                let (sender, receiver) = sync_channel(depth);
                scope.spawn(move || run(&receiver, work));
                sender
            })
            .collect();
        feed(&mut |lane, piece| {
            let lane = (lane % senders.len() as u64) as usize;
            // A lane ends when its sender is dropped, and not before.
            let _ = senders[lane].send(piece);
        });
    });
}

fn run<T>(pieces: &Receiver<T>, work: &impl Fn(T)) {
    for piece in pieces {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(piece))) {
            tracing::error!(panic = panic_text(&*panic), "a piece of work panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_lane_keeps_its_order_and_a_panic_stays_alone() {
        let done: Mutex<Vec<(u64, u64)>> = Mutex::default();
        let work = |(lane, number): (u64, u64)| {
            assert!((lane, number) != (1, 3), "one piece fails");
            done.lock().unwrap().push((lane, number));
        };
        in_lanes(3, 2, work, |put| (0..50).for_each(|number| (0..5).for_each(|lane| put(lane, (lane, number)))));
        let done = done.into_inner().unwrap();
        assert_eq!(done.len(), 5 * 50 - 1);
        for lane in 0..5 {
            let own: Vec<u64> = done.iter().filter(|(own, _)| *own == lane).map(|(_, number)| *number).collect();
            assert!(own.is_sorted(), "{own:?}");
        }
    }
}

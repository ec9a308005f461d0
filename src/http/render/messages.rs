//! A page of delimited protobuf: MetricFamily messages, each behind its length.
//!
//! Invariant: whatever the size of a family, a page holds no more of it than [`AT_ONCE_BYTES`] and what is written at once. A
//! family's length stands before it, so a short one is written and then measured; a long one is written twice, first for its
//! length alone, then for the reader. Writing it twice gives the same bytes, because a view never changes.
//!
//! One family of the page may become several messages (*parts*): a message has one type, and readers go by the type.

use std::sync::Arc;

use super::block::{PageBody, Piece, Progress};
use crate::exposition::write_varint;

/// Bytes of a family up to which it is written once.
const AT_ONCE_BYTES: usize = 64 << 10;

/// Series of the families that one thread writes, where one family alone has not more.
const PIECE_SERIES: usize = 1024;
/// Of the first ones, so that the reader soon has its first byte.
const FIRST_SERIES: usize = 64;

/// What a page of messages is made of.
pub trait Families: Send + Sync + 'static {
    /// Where writing a family is; the default is its beginning.
    type Cursor: Default + Send;

    /// For each family about how many series it has.
    fn weights(&self) -> Vec<usize>;

    /// For each part of a family, in order, the fields before its metrics. A part without metrics is not written.
    fn heads(&self, family: usize) -> Vec<Vec<u8>>;

    /// Appends some more metrics, each to its part, and takes their samples out of `room`; false at the family's end.
    fn write_next(&self, family: usize, at: &mut Self::Cursor, room: &mut u64, parts: &mut [Vec<u8>]) -> bool;
}

/// A page of at most `limit` samples, in pieces of whole families; a page with a limit is one piece, because where it ends
/// is known only behind all that comes before.
pub fn messages_page<F: Families>(families: F, limit: Option<u64>) -> PageBody {
    let (weights, families) = (families.weights(), Arc::new(families));
    let cuts = if limit.is_some() { vec![weights.len()] } else { cut(&weights) };
    let mut begin = 0;
    let pieces: Vec<_> = cuts
        .into_iter()
        .map(|end| Messages::new(families.clone(), std::mem::replace(&mut begin, end), end, limit))
        .collect();
    Box::new(pieces.into_iter().map(|mut piece| -> Piece { Box::new(move |out, bytes| piece.write(out, bytes)) }))
}

/// Where the pieces end.
fn cut(weights: &[usize]) -> Vec<usize> {
    let (mut ends, mut series) = (Vec::new(), 0);
    for (family, weight) in weights.iter().enumerate() {
        series += weight;
        if series >= if ends.is_empty() { FIRST_SERIES } else { PIECE_SERIES } {
            ends.push(family + 1);
            series = 0;
        }
    }
    if ends.last() != Some(&weights.len()) {
        ends.push(weights.len());
    }
    ends
}

/// Writes some families bit by bit.
struct Messages<F: Families> {
    families: Arc<F>,
    /// The family that comes next, or whose messages are being written.
    family: usize,
    end: usize,
    /// Samples that may still be written.
    room: u64,
    parts: Vec<Part>,
    /// Metrics of each part that are not yet where they belong.
    metrics: Vec<Vec<u8>>,
    long: Option<LongFamily<F::Cursor>>,
}

/// One message of a family.
struct Part {
    head: Vec<u8>,
    /// Of all its metrics.
    bytes: usize,
}

/// A family whose parts are known by length and are being written.
struct LongFamily<C> {
    part: usize,
    written: usize,
    at: C,
    room: u64,
    /// What is left of the room behind the family.
    room_after: u64,
}

impl<F: Families> Messages<F> {
    fn new(families: Arc<F>, family: usize, end: usize, limit: Option<u64>) -> Messages<F> {
        let room = limit.unwrap_or(u64::MAX);
        Messages { families, family, end, room, parts: Vec::new(), metrics: Vec::new(), long: None }
    }

    fn write(&mut self, out: &mut Vec<u8>, bytes: usize) -> Progress {
        while out.len() < bytes {
            if let Some(long) = self.long.take() {
                self.go_on(out, long);
            } else if self.family == self.end || self.room == 0 {
                return Progress::Done;
            } else {
                self.begin(out);
            }
        }
        Progress::More
    }

    /// Writes a short family, or finds the lengths of a long one's parts.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let heads = self.families.heads(self.family);
        self.metrics = heads.iter().map(|_| Vec::new()).collect();
        self.parts = heads.into_iter().map(|head| Part { head, bytes: 0 }).collect();
        let (mut at, mut room, mut is_long) = (F::Cursor::default(), self.room, false);
        while self.families.write_next(self.family, &mut at, &mut room, &mut self.metrics) {
            if self.metrics.iter().map(Vec::len).sum::<usize>() > AT_ONCE_BYTES {
                is_long = true;
                self.let_go();
            }
        }
        if is_long {
            self.let_go();
            let at = F::Cursor::default();
            self.long = Some(LongFamily { part: 0, written: 0, at, room: self.room, room_after: room });
            return;
        }
        for (part, metrics) in self.parts.iter().zip(&self.metrics).filter(|(_, metrics)| !metrics.is_empty()) {
            write_begin(out, &part.head, metrics.len());
            out.extend_from_slice(metrics);
        }
        (self.family, self.room) = (self.family + 1, room);
    }

    /// Forgets metrics that are only measured.
    fn let_go(&mut self) {
        for (part, metrics) in self.parts.iter_mut().zip(&mut self.metrics) {
            part.bytes += metrics.len();
            metrics.clear();
        }
    }

    /// The next metrics of a long family, or the step to its next part.
    fn go_on(&mut self, out: &mut Vec<u8>, mut long: LongFamily<F::Cursor>) {
        let Some(part) = self.parts.get(long.part) else {
            (self.family, self.room) = (self.family + 1, long.room_after);
            return;
        };
        if part.bytes > 0 {
            if long.written == 0 {
                write_begin(out, &part.head, part.bytes);
            }
            while self.families.write_next(self.family, &mut long.at, &mut long.room, &mut self.metrics) {
                let metrics = std::mem::take(&mut self.metrics[long.part]);
                self.metrics.iter_mut().for_each(Vec::clear);
                out.extend_from_slice(&metrics);
                long.written += metrics.len();
                if !metrics.is_empty() {
                    self.long = Some(long);
                    return;
                }
            }
            assert_eq!(long.written, part.bytes, "a family has one length, however often it is written");
        }
        let (at, room) = (F::Cursor::default(), self.room);
        self.long = Some(LongFamily { part: long.part + 1, written: 0, at, room, ..long });
    }
}

fn write_begin(out: &mut Vec<u8>, head: &[u8], metrics: usize) {
    write_varint(out, (head.len() + metrics) as u64);
    out.extend_from_slice(head);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Families of so many metrics of ten bytes, every third in a second part.
    struct Tens(Vec<usize>);

    impl Families for Tens {
        type Cursor = usize;

        fn weights(&self) -> Vec<usize> {
            self.0.clone()
        }

        fn heads(&self, family: usize) -> Vec<Vec<u8>> {
            vec![vec![b'a' + family as u8], vec![b'A' + family as u8]]
        }

        fn write_next(&self, family: usize, at: &mut usize, room: &mut u64, parts: &mut [Vec<u8>]) -> bool {
            if *at == self.0[family] || *room == 0 {
                return false;
            }
            parts[usize::from(*at % 3 == 2)].extend_from_slice(format!("{at:10}").as_bytes());
            (*at, *room) = (*at + 1, *room - 1);
            true
        }
    }

    fn page(families: &[usize], limit: Option<u64>, bytes: usize) -> Vec<u8> {
        let (mut page, mut block, mut longest) = (Vec::new(), Vec::new(), 0);
        for mut piece in messages_page(Tens(families.to_vec()), limit) {
            loop {
                let progress = piece(&mut block, bytes);
                longest = longest.max(block.len());
                page.append(&mut block);
                if progress == Progress::Done {
                    break;
                }
            }
        }
        assert!(longest <= bytes + AT_ONCE_BYTES + 100, "a block of {longest} bytes");
        page
    }

    /// Head and metrics of each message.
    fn messages(mut page: &[u8]) -> Vec<(u8, usize)> {
        let mut found = Vec::new();
        while !page.is_empty() {
            let (mut length, mut shift) = (0, 0);
            while let Some((byte, rest)) = page.split_first() {
                (length, shift, page) = (length | usize::from(byte & 0x7f) << shift, shift + 7, rest);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            found.push((page[0], (length - 1) / 10));
            page = &page[length..];
        }
        found
    }

    #[test]
    fn short_and_long_families_have_their_length_before_them() {
        let families = [3, 0, 100_000, 1, 7_000];
        let expected = [(b'a', 2), (b'A', 1), (b'c', 66_667), (b'C', 33_333), (b'd', 1), (b'e', 4_667), (b'E', 2_333)];
        assert_eq!(messages(&page(&families, None, 8_192)), expected);
        assert_eq!(page(&families, None, 1_000), page(&families, None, 1 << 20), "whatever the blocks");
    }

    #[test]
    fn a_limit_ends_the_page_within_a_family() {
        assert_eq!(messages(&page(&[3, 9], Some(4), 100)), [(b'a', 2), (b'A', 1), (b'b', 1)]);
        assert_eq!(messages(&page(&[20_000, 9], Some(10_000), 100)), [(b'a', 6_667), (b'A', 3_333)]);
        assert_eq!(page(&[3], Some(0), 100), b"");
    }

    #[test]
    fn pieces_are_whole_families_and_the_first_is_small() {
        assert_eq!(cut(&[10, 60, 500, 600, 5, 2000, 1]), [2, 4, 6, 7]);
        assert_eq!(cut(&[]), [0]);
        assert_eq!(messages_page(Tens(vec![100; 30]), None).count(), 4);
        assert_eq!(messages_page(Tens(vec![100; 30]), Some(9)).count(), 1);
    }
}

//! A chunk with other labels on some of its series.
//!
//! Invariant: every slot stays where it was, free ones too, so that the column that stands beside the pushed chunk stands
//! beside the new one as well.

use std::sync::Arc;

use crate::snapshot::{Chunk, ChunkBuilder};

/// Own label pairs of one series, ascending by name, without the metric name; an empty value says that the series
/// lacks the label of its target.
pub(super) type OwnPairs = Vec<(Box<str>, Box<str>)>;

/// `chunk` with the pairs of the given slots replaced, slots ascending. `None` where it became too big for a chunk.
pub(super) fn with_pairs(chunk: &Chunk, relabelled: &[(usize, OwnPairs)]) -> Option<Arc<Chunk>> {
    let mut builder = ChunkBuilder::default();
    let mut next = relabelled.iter().peekable();
    for slot in 0..chunk.len() {
        let own = next.next_if(|(at, _)| *at == slot).map(|(_, pairs)| pairs);
        let Some(name) = chunk.name_of(slot) else {
            builder.push_free();
            continue;
        };
        let (family, name) = (chunk.family_of(name), chunk.name(name));
        match own {
            Some(pairs) => builder.push(name, family, pairs.iter().map(|(name, value)| (&**name, &**value))),
            None => builder.push(
                name,
                family,
                chunk.pairs_of(slot).iter().map(|pair| {
                    let pair = chunk.pair(*pair);
                    (pair.name, pair.value)
                }),
            ),
        }
    }
    builder.finish().ok().map(Arc::new)
}

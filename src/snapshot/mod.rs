//! Snapshots: what a collector knows of its targets, as columns, and the frames in which they travel.
//!
//! A target's series have **slots**; a [`Schema`] lists them in chunks of [`CHUNK_SLOTS`], a [`Column`] holds their newest
//! values beside it. The collector fills a [`SlotTable`] a target and hands each finished [`Scrape`] to its [`Encoder`]; the
//! gateway gives the frames to a [`StreamState`] and reads the same columns from it again, bit for bit.
//!
//! Invariant: encoder and decoder are pure and keep the same state, changed by the same frames in the same order. What a
//! frame means is therefore a function of the frames since the last KEY and of nothing else; [`frame`] draws the format.

mod apply;
pub mod beside;
mod bits;
mod changes;
pub mod chunk;
pub mod column;
pub mod decode;
mod define;
pub mod encode;
mod facts;
pub mod frame;
mod fresh;
mod histograms;
mod lists;
pub mod negotiate;
mod own_labels;
mod part;
mod patch;
mod payload;
mod reader;
pub mod schema;
pub mod scrape;
pub mod slots;
mod sparse;
mod tables;
mod values;

pub use beside::Beside;
pub use changes::SlotSet;
pub use chunk::{CHUNK_SLOTS, Chunk, ChunkHash, Family, NameId, Pair, PairId, SERIES_LABELS_MAX};
pub use column::{Column, ColumnChunk};
pub use decode::{Applied, ApplyError, REMEMBERED_FRAMES, StreamState, TargetState};
pub use encode::{Ahead, EncodedFrame, Encoder, encode_schema, encode_schemas};
pub use frame::{Frame, FrameError, FrameHeader, FrameKind, FrameLimits, StreamId, with_gap};
pub use fresh::LeftOut;
pub use own_labels::{OwnLabels, SlotError};
pub use reader::Malformed;
pub use schema::{Schema, SchemaCache, SchemaHash, redefined};
pub use scrape::{FORGET_NAN, Outcome, Report, Scrape};
pub use slots::SlotTable;
pub use tables::ChunkBuilder;

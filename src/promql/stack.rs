//! Room on the stack for walks over deep trees.
//!
//! Invariant: a walk that calls itself through [`with_room`] at every level does not overflow the stack, whichever thread it is
//! on: trees are bounded in depth ([`DEPTH_MAX`](super::parse::DEPTH_MAX)), and where little of the stack is left the walk
//! goes on in a new piece of memory, which is given back behind it. To drop and to compare a tree takes no such
//! walk; their frames are small, and the bound on the depth is set so that they fit any thread.

/// What must be left for one level with all that it calls beside itself.
const LEFT_BYTES_MIN: usize = 128 << 10;
/// What a walk gets where that is not left; touched as far as it is used.
const PIECE_BYTES: usize = 2 << 20;

/// Runs one level of a walk.
pub(super) fn with_room<T>(level: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(LEFT_BYTES_MIN, PIECE_BYTES, level)
}

/// Runs something of which a level takes at most `level_bytes`, and that cannot be asked to look after itself.
pub(super) fn with_room_for<T>(levels: usize, level_bytes: usize, walk: impl FnOnce() -> T) -> T {
    let bytes = LEFT_BYTES_MIN + levels * level_bytes;
    stacker::maybe_grow(bytes, bytes, walk)
}

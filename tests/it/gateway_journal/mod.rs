//! What a gateway writes down and reads again: formats, order, restarts, limits.

mod formats;
mod limits;
mod lives;
mod processes;
mod replays;

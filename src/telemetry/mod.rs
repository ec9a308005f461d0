//! What fedgate says of itself: metrics and logs.
//!
//! `prometheus-client` lives here and nowhere else: other modules count through the structs of [`gateway`] and
//! [`collector`], or hand [`Registry::derive`] a function that reads their own numbers when a page is asked for.
//! Nothing here reads the clock; whoever measures time passes it in.

pub mod collector;
pub mod gateway;
pub mod logs;
mod process;
pub mod registry;

pub use collector::CollectorMetrics;
pub use gateway::{GatewayMetrics, LeftOut};
pub use logs::{LogFormat, Repeats};
pub use registry::{Emit, Kind, Registry};

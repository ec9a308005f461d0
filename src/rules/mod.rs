//! Rules: recording and alerting, evaluated group by group on a grid of times.
//!
//! [`template`], [`mod@alert`], [`group`] and [`storage`] know no task; unit tests of rules ([`unit`]) run on the same parts as the
//! gateway.

pub mod alert;
pub mod file;
pub mod group;
pub mod storage;
pub mod template;
pub mod unit;

//! Rules: recording and alerting, evaluated group by group on a grid of times.
//!
//! [`template`], [`mod@alert`], [`group`] and [`storage`] know no task; unit tests of rules ([`mod@unit`]) run on the same parts as the
//! gateway, where [`manager`] gives each group its task and [`notify`] tells Alertmanagers. [`packs`] are the rules that
//! fedgate brings along.

pub mod alert;
pub mod file;
mod freshness;
pub mod group;
pub mod manager;
pub mod metrics;
pub mod notify;
pub mod outage;
pub mod packs;
mod shared_names;
pub mod status;
pub mod storage;
pub mod template;
pub mod unit;

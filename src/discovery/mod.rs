//! Where targets come from: static lists, files, HTTP endpoints; and how a found address becomes a target.
//!
//! Two halves. [`targets`] is pure: a job's configuration and its target groups in, targets and faults out, with the
//! semantics of Prometheus 3.5 (`scrape.PopulateLabels`). [`Sources`] is the thin asynchronous shell: one task a source,
//! which sends the source's groups whenever they change. A source that fails keeps the groups it had, because an
//! unreadable file is no news of a target's end.

mod file;
mod group;
mod http;
mod sources;
mod target;

pub use group::{GroupsError, TargetGroup};
pub use sources::{Counters, Discovered, PreparedSources, Sources};
pub use target::{Found, Target, TargetFault, TargetFaultReason, targets};

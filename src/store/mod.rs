//! The newest sample of every series of the site, by cluster, stream and target.
//!
//! Everything comes in as a frame and leaves through an immutable view. A cluster's state (its streams' decoders, what
//! admission made of their targets, who owns a target) is behind one mutex, held while a frame is decoded and applied;
//! readers never take it: they load the cluster's published view (arc-swap) and see one state of each stream, whole.
//! The store knows no clock: wall and monotonic time come in as arguments.

mod admit;
mod arrival;
mod cluster;
mod departed;
mod drops;
mod facts;
mod history;
mod inventory;
mod lanes;
mod layout;
mod names;
mod owners;
mod pick;
mod recorded;
mod refusal;
mod relabelled;
mod returns;
mod select;
mod site;
mod stream;
mod target;
mod view;

pub use admit::resolve_conflicts;
pub use arrival::{Accepted, Arrival, Taken};
pub use drops::{DropCounts, DropReason};
pub use facts::{
    CLUSTER_FAMILIES, COLLECTOR_UP, ClusterFacts, CollectorFacts, FactFamily, SCRAPE_FAMILIES, is_gateway_name,
    scrape_values,
};
pub use history::{HISTORY_BYTES_MAX, HistoryTotals, Keep, KeptSamples, Retired, Strip, StripReader, Strips};
pub use inventory::{
    CLUSTER, ClusterLimits, ClusterPolicy, ENVIRONMENT, Inventory, InventoryError, LabelConflict, Maintenance,
    Membership,
};
pub use layout::{IndexedChunk, Layout, NameList, NameRun};
pub use pick::{Picker, Unsaid};
pub use recorded::{RecordError, RecordedResults, RecordedSample, RuleId};
pub use refusal::Refusal;
pub use returns::{Absence, Ended, Missing};
pub use select::{COLLECTOR, FactRow, NamedRows, PickedRun, Selection, Selector, select};
pub use site::Store;
pub use view::{
    ClusterView, DepartedTarget, Generation, NO_CLUSTER, SiteCluster, SiteTarget, SiteView, StreamView, TargetView,
};

//! The sender: from the gateway's journal to endpoints that speak remote write 1.0 or 2.0.
//!
//! Invariant: what the gateway acknowledged reaches every endpoint in the order of its cluster, or is counted under the reason why
//! it did not. Nothing that can pass (an outage, an overload, a wrong password) is a reason.

mod by_cluster;
mod changes;
mod counts;
mod endpoint;
mod feed;
mod follower;
mod headers;
mod labels;
mod metrics;
mod place;
mod queue;
mod request;
mod rows;
mod senders;
mod v1;
mod v2;
mod verdict;

pub use changes::Followed;
pub use endpoint::{Endpoint, EndpointError, Read, SAVE_INTERVAL, settings_of};
pub use follower::{FamilyMetadata, Follower, Record};
pub use headers::Headers;
pub use labels::{Base, Labelling, PreparedTarget};
pub use metrics::SenderCounts;
pub use place::{Begin, Hold, Place, Progress, cursor_name};
pub use queue::{DIVISIONS_MAX, Lane, Next, Offer, Order, Queue, Settings, Settled, Source};
pub use request::{BodyEncoder, Version};
pub use rows::{Counts, End, FrameSamples, Options, Part, Place as RowPlace, ScrapeSamples};
pub use senders::{Senders, endpoint_name};
pub use v1::encode_v1;
pub use v2::EncoderV2;
pub use verdict::{Answer, Asked, LossReason, Verdict, judge};

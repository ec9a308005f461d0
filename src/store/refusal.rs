//! Why a frame was not applied: each case is one verdict that the push protocol answers with.

use crate::snapshot::ApplyError;

/// Nothing of the frame was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cluster is not in the inventory (any more).
    #[error("cluster {0:?} is not in the inventory")]
    UnknownCluster(String),
    /// The identity is none of the cluster's (any more): the inventory changed while the push was under way.
    #[error("collector {collector:?} is none of cluster {cluster:?}")]
    UnknownCollector {
        /// The cluster that it pushed for.
        cluster: String,
        /// Its identity.
        collector: String,
    },
    /// The stream was begun by another collector of the cluster; ids are random, so this is no accident.
    #[error("the stream belongs to collector {owner:?}, not to {found:?}")]
    ForeignStream {
        /// Who began it.
        owner: String,
        /// Who pushed this frame.
        found: String,
    },
    /// The cluster has as many streams that are not silent as it may have.
    #[error("the cluster has {max} live streams, expected no more")]
    TooManyStreams {
        /// The bound.
        max: usize,
    },
    /// A definition that does not hold what it says, or a state frame that does not continue what was applied before.
    #[error(transparent)]
    State(#[from] ApplyError),
}

//! One of an HA pair of senders is taken.
//!
//! Both replicas scrape everything and send it with a label that tells them apart. The replica that comes first is taken; the other's
//! requests are acknowledged and left out, until the first has been silent for [`PATIENCE`]: then the other is. As all series of a
//! request come from one sender, its first series speaks for it; a request without the label is always taken.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::request::Request;
use super::sender::Written;
use crate::push::receive::Pusher;

/// How long the replica that is taken may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The replicas that are taken.
#[derive(Default)]
pub(super) struct Replicas {
    /// By cluster: the replica, and when it came last. Holds clusters of the inventory only.
    elected: Mutex<HashMap<String, (String, Instant)>>,
}

impl Replicas {
    /// What is said to be written of a request that is left out; `None` where it is to be taken.
    pub(super) fn left_out(&self, pusher: &Pusher, request: &Request<'_>, now: Instant) -> Option<Written> {
        let label = pusher.membership.policy.ha_replica_label.as_str();
        let first = request.series.first().filter(|_| !label.is_empty())?;
        let pairs = request.pairs(first.labels).ok()?;
        let replica = pairs.into_iter().find(|(name, _)| *name == label).map(|(_, replica)| replica)?;
        let mut elected = self.elected.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, heard) = elected.entry(pusher.cluster().to_owned()).or_insert_with(|| (replica.to_owned(), now));
        if taken != replica && now.saturating_duration_since(*heard) <= PATIENCE {
            let histograms = request.samples.iter().filter(|sample| sample.is_histogram).count() as u64;
            let (samples, exemplars) = (request.samples() as u64 - histograms, request.exemplars.len() as u64);
            return Some(Written { samples, histograms, exemplars, refused: Vec::new() });
        }
        if taken != replica {
            replica.clone_into(taken);
        }
        *heard = now;
        None
    }
}

//! Memory for pages, handed from scrape to scrape.
//!
//! A page's memory is needed from its first byte until it is read, a small part of an interval; targets share it. What a scrape
//! gives back warm the next one takes. Bounded: more memory than [`KEPT_MAX`] pages of [`KEPT_BYTES_MAX`] is given back to the system.

use std::sync::{Mutex, PoisonError};

use crate::net::client::Body;

/// Pages whose memory is kept.
const KEPT_MAX: usize = 4;
/// Memory of a larger page is not kept.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// Memory that waits for the next page.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// The newest last, and taken first. Nothing panics while it is locked.
    waiting: Mutex<Vec<Body>>,
}

impl Bodies {
    /// Memory for one page.
    pub(super) fn take(&self) -> Body {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes back the memory of a page that was read.
    pub(super) fn give_back(&self, body: Body) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < KEPT_MAX && body.capacity() <= KEPT_BYTES_MAX {
            waiting.push(body);
        }
    }
}

//! Which metric names scraped series have.
//!
//! Names are asked of the lists that chunks share, so a million series of a few kinds of exporter cost a pointer a chunk and
//! a search a list. What rules recorded does not count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::facts::{SCRAPE_FAMILIES, is_gateway_name};
use super::layout::NameList;
use super::view::ClusterView;

/// Names that are looked for, and whether they were found.
pub(super) struct Wanted<'a> {
    names: &'a [&'a str],
    found: Vec<bool>,
    /// Lists that were looked at, by address; kept, so that no other list comes to be there.
    seen: HashMap<*const Arc<str>, NameList>,
}

impl<'a> Wanted<'a> {
    /// What the gateway makes for every target or cluster is there at any time.
    pub(super) fn new(names: &'a [&'a str]) -> Wanted<'a> {
        let is_made = |name: &&str| is_gateway_name(name) || SCRAPE_FAMILIES.iter().any(|family| family.name == *name);
        Wanted { names, found: names.iter().map(is_made).collect(), seen: HashMap::new() }
    }

    /// Looks through the live series of a cluster.
    pub(super) fn look(&mut self, view: &ClusterView, monotonic: Instant) {
        let targets = view.live_streams(monotonic).flat_map(|stream| stream.targets.iter());
        let mut last = std::ptr::null();
        for chunk in targets.flat_map(|target| target.layout.chunks()) {
            let address = chunk.names().as_ptr();
            if address != last && !self.seen.contains_key(&address) {
                self.look_in(chunk.names());
                self.seen.insert(address, chunk.names().clone());
            }
            last = address;
        }
    }

    fn look_in(&mut self, list: &NameList) {
        for (name, found) in self.names.iter().zip(&mut self.found) {
            *found = *found || list.binary_search_by(|known| (**known).cmp(*name)).is_ok();
        }
    }

    /// Beside the names, whether scraped series have them.
    pub(super) fn found(self) -> Vec<bool> {
        self.found
    }
}

//! Who holds how many connections, so that one address cannot take all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::{Refusal, ServerCounts};

/// The open connections of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    all_max: usize,
    address_max: usize,
    counts: Arc<ServerCounts>,
    /// Open connections by address; an address without any has no entry.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

impl Slots {
    pub(super) fn new(all_max: usize, address_max: usize, counts: Arc<ServerCounts>) -> Slots {
        Slots { all_max, address_max, counts, by_address: Mutex::default() }
    }

    pub(super) fn take(self: &Arc<Slots>, address: IpAddr) -> Result<Slot, Refusal> {
        let address = site_of(address);
        let mut by_address = self.lock();
        let open: usize = self.counts.open() as usize;
        if open >= self.all_max {
            return Err(Refusal::Connections);
        }
        let own = by_address.entry(address).or_insert(0);
        if *own >= self.address_max {
            return Err(Refusal::ConnectionsOfAddress);
        }
        *own += 1;
        self.counts.set_open(open + 1);
        Ok(Slot { slots: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_address = self.slots.lock();
        if let Some(own) = by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                by_address.remove(&self.address);
            }
        }
        self.slots.counts.set_open((self.slots.counts.open() as usize).saturating_sub(1));
    }
}

/// What counts as one address: an IPv4 address however it is written, or an IPv6 network of 64 bits, all of whose
/// addresses one machine can have.
fn site_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(all: usize, address: usize) -> (Arc<Slots>, Arc<ServerCounts>) {
        let counts = Arc::new(ServerCounts::default());
        (Arc::new(Slots::new(all, address, counts.clone())), counts)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let (slots, counts) = slots(3, 2);
        let held: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1"].map(|text| slots.take(ip(text)).unwrap()).into();
        assert_eq!(slots.take(ip("10.0.0.1")).unwrap_err(), Refusal::ConnectionsOfAddress);
        let other = slots.take(ip("10.0.0.2")).unwrap();
        assert_eq!(slots.take(ip("10.0.0.3")).unwrap_err(), Refusal::Connections);
        assert_eq!(counts.open(), 3);
        drop((held, other));
        assert_eq!(counts.open(), 0);
        assert!(slots.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let (slots, _) = slots(9, 1);
        let _held = slots.take(ip("2001:db8::1")).unwrap();
        assert_eq!(slots.take(ip("2001:db8::2")).unwrap_err(), Refusal::ConnectionsOfAddress);
        assert!(slots.take(ip("2001:db8:0:1::1")).is_ok());
    }
}

//! The loss test with one short seed; docs/reliability.md says how to run many, longer ones.

use std::time::Duration;

use super::loss::{Kind, Plan, run};

/// A round of all kinds of faults.
const FAULTS: usize = 6;

#[test]
fn everything_served_arrives_once_and_in_order_through_kills_and_outages() {
    let verdict = run(&Plan {
        kind: Kind::Fedgate,
        length: Duration::from_secs(20),
        pace: Duration::from_secs(1),
        clusters: 2,
        faults: FAULTS,
        seed: 7,
        has_long_outage: false,
        has_small_disk: false,
        is_verbose: true,
    });
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.served > 60, "six exporters were scraped: {verdict}");
}

//! A series of a unit-test file: its name and its values.
//!
//! Promises: neither part panics, and what is read twice is the same twice; a faulty piece is shown with what was expected.

use fedgate::rules::unit::{parse_metric, parse_values};

/// The first line is the series, the rest its values.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (series, values) = text.split_once('\n').unwrap_or((text, ""));
    assert_eq!(format!("{:?}", parse_metric(series)), format!("{:?}", parse_metric(series)));
    for fault in [parse_metric(series).err(), parse_values(values).err()].into_iter().flatten() {
        assert!(!fault.reason.is_empty() && text.contains(fault.text.trim()), "{fault:?}");
    }
    assert_eq!(format!("{:?}", parse_values(values)), format!("{:?}", parse_values(values)));
}

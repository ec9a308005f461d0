//! Small values that people and peers write: durations, sizes, numbers, addresses, names.
//!
//! Promises: a duration and a number, written again, are read as what they were.

use fedgate::config::{ByteSize, parse_listen};
use fedgate::exposition::{
    Escaping, escape_label_name, escape_metric_name, parse_value, write_openmetrics_value, write_value,
};
use fedgate::model::{format_duration, is_legacy_label_name, is_legacy_metric_name, parse_duration};
use fedgate::push::protocol::parse_schema_name;
use fedgate::tls::Serial;

/// Takes the input for each of these values in turn.
pub(crate) fn run(input: &[u8]) {
    number(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "{text}");
    }
    if let Some(hash) = parse_schema_name(text) {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(serial) = text.parse::<Serial>() {
        assert_eq!(serial.to_string().parse::<Serial>().ok(), Some(serial), "{text}");
    }
    let _ = text.parse::<ByteSize>();
    let _ = parse_listen(text);
    names(text);
}

fn number(text: &[u8]) {
    let Some(value) = parse_value(text) else { return };
    for write in [write_value, write_openmetrics_value] {
        let mut written = Vec::new();
        write(&mut written, value);
        let again = parse_value(&written).expect("what is written can be read");
        assert!(again.to_bits() == value.to_bits() || (again == 0.0 && value == 0.0), "{value:e} became {again:e}");
    }
    let witness: Option<f64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let witness = witness.expect("the standard library reads it too");
    assert!(witness.to_bits() == value.to_bits() || (witness.is_nan() && value.is_nan()));
}

/// An escaped name is one that every reader understands.
fn names(text: &str) {
    for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
        if !text.is_empty() {
            assert!(is_legacy_metric_name(&escape_metric_name(text, escaping)), "{text:?} {escaping:?}");
            assert!(is_legacy_label_name(&escape_label_name(text, escaping)), "{text:?} {escaping:?}");
        }
    }
}

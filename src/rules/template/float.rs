//! Floats as Go writes them: `%e`, `%f`, `%g`, with a precision or as short as is exact.
//!
//! Rust's own formatting gives the same digits (both are correctly rounded); what differs is where an exponent is written and
//! how, and that is all that is done here.

/// Writes a float. `verb` is one of `e E f F g G`; without a precision the shortest digits that read back.
pub(super) fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match (verb.to_ascii_lowercase(), precision) {
        ('f', Some(precision)) => format!("{value:.precision$}"),
        ('f', None) => format!("{value}"),
        ('e', Some(precision)) => exponential(&format!("{value:.precision$e}"), verb),
        ('e', None) => exponential(&format!("{value:e}"), verb),
        _ => general(value, if verb == 'G' { 'E' } else { 'e' }, precision),
    }
}

/// `1.5e7` → `1.5e+07`
fn exponential(written: &str, verb: char) -> String {
    let (mantissa, exponent) = written.split_once('e').expect("Rust writes an exponent");
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{verb}{sign}{digits:0>2}")
}

/// The precision that decides about an exponent where the shortest digits are written.
const SHORTEST_PRECISION: i64 = 6;
/// Below ten to this power an exponent is written.
const EXPONENT_MIN: i64 = -4;

fn general(value: f64, exponent_mark: char, precision: Option<usize>) -> String {
    let written = match precision {
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = written.split_once('e').expect("Rust writes an exponent");
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let exponent: i64 = exponent.parse().expect("Rust writes an exponent");
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let bound = match precision.map(|precision| precision.max(1) as i64) {
        None => SHORTEST_PRECISION,
        Some(precision) if precision > digits && digits > exponent => digits,
        Some(precision) => precision,
    };
    if exponent < EXPONENT_MIN || exponent >= bound {
        return exponential(&format!("{mantissa}e{exponent}"), exponent_mark);
    }
    // The digits are exact now: as many behind the point as are left of them.
    let decimals = (digits - 1 - exponent).max(0) as usize;
    let rounded: f64 = written.parse().expect("Rust reads what it writes");
    format!("{rounded:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_form_has_an_exponent_from_a_million_up() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (123_456.75, "123456.75"),
            (1_234_567.5, "1.2345675e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_float(value, 'g', None), text);
        }
    }

    #[test]
    fn a_precision_counts_digits_or_decimals() {
        for (value, verb, precision, text) in [
            (1234.5678, 'g', 4, "1235"),
            (12345.678, 'g', 4, "1.235e+04"),
            (1000.0, 'g', 4, "1000"),
            (10.0, 'g', 4, "10"),
            (0.00012345, 'g', 4, "0.0001234"),
            (1.0, 'g', 4, "1"),
            (99999.0, 'g', 4, "1e+05"),
            (2.5, 'f', 0, "2"),
            (1.005, 'f', 2, "1.00"),
            (12345.678, 'e', 2, "1.23e+04"),
            (12345.678, 'E', 2, "1.23E+04"),
        ] {
            assert_eq!(format_float(value, verb, Some(precision)), text, "{value} {verb}");
        }
    }
}

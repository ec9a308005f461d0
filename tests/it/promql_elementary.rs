//! Elementary functions to the bit: a table of what Prometheus answered.

use std::fs;
use std::path::Path;

use fedgate::promql::elementary;

fn one(function: &str) -> fn(f64) -> f64 {
    match function {
        "acos" => elementary::acos,
        "acosh" => elementary::acosh,
        "asin" => elementary::asin,
        "asinh" => elementary::asinh,
        "atan" => elementary::atan,
        "atanh" => elementary::atanh,
        "cos" => elementary::cos,
        "cosh" => elementary::cosh,
        "exp" => elementary::exp,
        "ln" => elementary::ln,
        "log10" => elementary::log10,
        "log2" => elementary::log2,
        "sin" => elementary::sin,
        "sinh" => elementary::sinh,
        "tan" => elementary::tan,
        "tanh" => elementary::tanh,
        other => panic!("the table has {other}"),
    }
}

fn evaluated(function: &str, arguments: &[f64]) -> f64 {
    match (function, arguments) {
        ("pow", [x, y]) => elementary::pow(*x, *y),
        ("atan2", [y, x]) => elementary::atan2(*y, *x),
        (_, [x]) => one(function)(*x),
        _ => panic!("the table has {function} of {arguments:?}"),
    }
}

#[test]
fn every_bit_is_prometheus_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/promql/elementary.tsv");
    let table = fs::read_to_string(path).unwrap();
    let mut lines = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [function, arguments, result] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let arguments: Vec<f64> = arguments.split(' ').map(|text| text.parse().unwrap()).collect();
        let (got, wanted) = (evaluated(function, &arguments), result.parse::<f64>().unwrap());
        let is_same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
        assert!(is_same, "{function} of {arguments:?} is {wanted:e}, not {got:e}");
        lines += 1;
    }
    assert!(lines > 700, "{lines} lines");
}

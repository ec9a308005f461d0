//! `exp` and `exp2`.

use super::{power_of_two, scaled};

/// ln 2 in two parts, of which the upper has so few digits that its small multiples are exact.
const LN_2_UPPER: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
const LN_2_LOWER: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
/// Coefficients of e^x's series, from the eighth power down.
const SERIES: [f64; 8] = [
    2.480_158_730_158_730_158_7e-5,
    1.984_126_984_126_984_127_0e-4,
    1.388_888_888_888_888_888_9e-3,
    8.333_333_333_333_333_333_3e-3,
    4.166_666_666_666_666_666_7e-2,
    1.666_666_666_666_666_666_7e-1,
    0.5,
    1.0,
];
/// Beyond it the result is infinite.
const OVERFLOW: f64 = 7.097_827_128_933_84e2;

/// `e^x`: the series at a sixteenth of what is left of ln 2, doubled four times.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    let whole = (x * std::f64::consts::LOG2_E).round_ties_even();
    if whole < -1100.0 {
        return 0.0;
    }
    let rest = (-whole).mul_add(LN_2_LOWER, (-whole).mul_add(LN_2_UPPER, x)) * 0.0625;
    let series = SERIES[1..].iter().fold(SERIES[0], |sum, coefficient| rest.mul_add(sum, *coefficient));
    let mut less_one = rest * series;
    for _ in 0..3 {
        less_one *= less_one + 2.0;
    }
    let fraction = (less_one + 2.0).mul_add(less_one, 1.0);
    lifted(fraction, whole as i32)
}

/// `fraction · 2^exponent` for a fraction near 1.
fn lifted(fraction: f64, exponent: i32) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022.. => fraction * power_of_two(exponent),
        _ => scaled(fraction, exponent),
    }
}

/// ln 2 in two parts for `exp2`.
const LN_2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
/// Of `r·(e^r + 1)/(e^r − 1)` by powers of r², from the fifth down.
const RATIONAL: [f64; 5] = [
    4.138_136_797_057_238_460_39e-8,
    -1.653_390_220_546_525_153_90e-6,
    6.613_756_321_437_934_361_17e-5,
    -2.777_777_777_701_559_338_42e-3,
    1.666_666_666_666_666_574_15e-1,
];

/// `2^x`.
pub fn exp2(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > 1.023_999_999_999_999_9e3 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let whole = (x + 0.5f64.copysign(x)).trunc();
    let rest = x - whole;
    let (high, low) = (rest * LN_2_HIGH, -rest * LN_2_LOW);
    let r = high - low;
    let square = r * r;
    let c = r - square * super::horner(&RATIONAL, square);
    let fraction = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    scaled(fraction, whole as i32)
}

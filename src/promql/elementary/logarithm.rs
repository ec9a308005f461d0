//! Logarithms: `ln(1 + f) = 2·artanh(s)` with `s = f / (2 + f)`, for `1 + f` between √½ and √2.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E, LOG10_E};

use super::split;

const LN_2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
/// Of `ln(1 + f)/s − 2`, by powers of s², from the first.
const L: [f64; 7] = [
    6.666_666_666_666_735_130e-1,
    3.999_999_999_940_941_908e-1,
    2.857_142_874_366_239_149e-1,
    2.222_219_843_214_978_396e-1,
    1.818_357_216_161_805_012e-1,
    1.531_383_769_920_937_332e-1,
    1.479_819_860_511_658_591e-1,
];

/// A normal number's fraction and exponent. A smaller one is taken for a normal one, so that no logarithm is below −709.09.
fn split_normal(x: f64) -> (f64, i32) {
    let fraction = f64::from_bits(x.to_bits() & ((1 << 52) - 1) | 1022 << 52);
    (fraction, (x.to_bits() >> 52) as i32 - 1022)
}

/// The natural logarithm.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    let (mut fraction, mut exponent) = split_normal(x);
    if fraction < FRAC_1_SQRT_2 {
        (fraction, exponent) = (fraction * 2.0, exponent - 1);
    }
    let (f, k) = (fraction - 1.0, f64::from(exponent));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (L[0] + s4 * (L[2] + s4 * (L[4] + s4 * L[6])));
    let even = s4 * (L[1] + s4 * (L[3] + s4 * L[5]));
    let half_square = 0.5 * f * f;
    k * LN_2_HIGH - ((half_square - (s * (half_square + (odd + even)) + k * LN_2_LOW)) - f)
}

/// The binary logarithm, exact for powers of two.
pub fn log2(x: f64) -> f64 {
    let (fraction, exponent) = split(x);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    ln(fraction) * LOG2_E + f64::from(exponent)
}

/// The decimal logarithm.
pub fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// `ln(1 + x)`, exact for small `x`, too.
pub fn log1p(x: f64) -> f64 {
    if x.is_nan() || x < -1.0 {
        return f64::NAN;
    }
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    if x.abs() < 1.0 / (1u64 << 54) as f64 {
        return x;
    }
    if x.abs() < 1.0 / (1 << 29) as f64 {
        return x - x * x * 0.5;
    }
    if x > -2.928_932_188_134_524_755_992e-1 && x < 4.142_135_623_730_950_488_017e-1 {
        return near_one(x, 0, 0.0, false);
    }
    let (f, k, lost, is_tiny) = normalized(x);
    near_one(f, k, lost, is_tiny)
}

/// `1 + x = 2^k·(1 + f)`: f, k, what rounding `1 + x` lost, and whether f is below 2^−20.
fn normalized(x: f64) -> (f64, i32, f64, bool) {
    let sum = if x.abs() < super::TWO_52 * 2.0 { 1.0 + x } else { x };
    let mut k = (sum.to_bits() >> 52) as i32 - 1023;
    let lost = if sum == x {
        0.0
    } else if k > 0 {
        (1.0 - (sum - x)) / sum
    } else {
        (x - (sum - 1.0)) / sum
    };
    let mantissa = sum.to_bits() & ((1 << 52) - 1);
    if mantissa < 0x6_a09e_667f_3bcd {
        return (f64::from_bits(mantissa | 1023 << 52) - 1.0, k, lost, mantissa == 0);
    }
    k += 1;
    let rest = ((1u64 << 52) - mantissa) >> 2;
    (f64::from_bits(mantissa | 1022 << 52) - 1.0, k, lost, rest == 0)
}

fn near_one(f: f64, k: i32, lost: f64, is_tiny: bool) -> f64 {
    let half_square = 0.5 * f * f;
    let k = f64::from(k);
    if is_tiny {
        if f == 0.0 {
            return if k == 0.0 { 0.0 } else { k * LN_2_HIGH + (lost + k * LN_2_LOW) };
        }
        let r = half_square * (1.0 - 0.666_666_666_666_666_66 * f);
        return if k == 0.0 { f - r } else { k * LN_2_HIGH - ((r - (k * LN_2_LOW + lost)) - f) };
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * L.iter().rev().skip(1).fold(L[6], |sum, coefficient| coefficient + z * sum);
    if k == 0.0 {
        return f - (half_square - s * (half_square + r));
    }
    k * LN_2_HIGH - ((half_square - (s * (half_square + r) + (k * LN_2_LOW + lost))) - f)
}

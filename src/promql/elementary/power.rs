//! `x^y`: whole powers by squaring, exponents of two apart; what is left of `y` by `exp` and `ln`.

use super::{exp, ln, scaled, split};

/// From here on every float is an even integer.
const EVEN_FROM: f64 = (1u64 << 53) as f64;
/// Exponents beyond this overflow whatever follows.
const EXPONENT_END: i32 = 1 << 12;

/// `x` to the power of `y`; of zero, one and infinities as IEEE 754 has it.
pub fn pow(x: f64, y: f64) -> f64 {
    if let Some(value) = special(x, y) {
        return value;
    }
    let (mut whole, mut part) = (y.abs().trunc(), y.abs().fract());
    if part != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= (1u64 << 63) as f64 {
        return beyond(x, y > 0.0);
    }
    let mut power = 1.0;
    if part != 0.0 {
        if part > 0.5 {
            (part, whole) = (part - 1.0, whole + 1.0);
        }
        power = exp(part * ln(x));
    }
    let (power, exponent) = by_squaring(x, whole as u64, power);
    if y < 0.0 { scaled(1.0 / power, -exponent) } else { scaled(power, exponent) }
}

fn by_squaring(x: f64, mut left: u64, mut power: f64) -> (f64, i32) {
    let (mut square, mut square_exponent) = split(x);
    let mut exponent = 0;
    while left != 0 {
        if square_exponent.abs() > EXPONENT_END {
            return (power, exponent + square_exponent);
        }
        if left & 1 == 1 {
            power *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        left >>= 1;
    }
    (power, exponent)
}

fn special(x: f64, y: f64) -> Option<f64> {
    if y == 0.0 || x == 1.0 {
        return Some(1.0);
    }
    if y == 1.0 {
        return Some(x);
    }
    if x.is_nan() || y.is_nan() {
        return Some(f64::NAN);
    }
    if x == 0.0 {
        let sign = if is_odd(y) { x } else { 1.0 };
        return Some(if y < 0.0 { f64::INFINITY } else { 0.0 }.copysign(sign));
    }
    if y.is_infinite() {
        return Some(beyond(x, y > 0.0));
    }
    if x == f64::NEG_INFINITY {
        return Some(pow(-0.0, -y));
    }
    if x == f64::INFINITY {
        return Some(if y < 0.0 { 0.0 } else { x });
    }
    if y == 0.5 {
        return Some(x.sqrt());
    }
    (y == -0.5).then(|| 1.0 / x.sqrt())
}

/// To an infinite power, or one that acts as such.
fn beyond(x: f64, is_positive: bool) -> f64 {
    if x == -1.0 {
        1.0
    } else if (x.abs() < 1.0) == is_positive {
        0.0
    } else {
        f64::INFINITY
    }
}

fn is_odd(y: f64) -> bool {
    y.abs() < EVEN_FROM && y.fract() == 0.0 && y as i64 & 1 == 1
}

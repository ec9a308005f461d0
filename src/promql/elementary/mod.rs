//! Elementary functions with the bits that Go gives on amd64, so that results are Prometheus's to the last digit.
//!
//! Invariant: same approximation, same order of operations. No standard fixes the last bit of these functions, and the platform's
//! library rounds other cases than Go does. The approximations are old and public: Cephes (S. Moshier) for circular functions and
//! the hyperbolic tangent, FreeBSD's msun for logarithms, inverse hyperbolic functions and powers of two, N. Shibata's SLEEF for `exp`,
//! Hart and Cheney for the hyperbolic sine.
//!
//! Go computes `exp` with fused multiplications where the processor has them, as all have that were sold in the last decade; on
//! others its last bit may differ from ours.

#![allow(clippy::excessive_precision, reason = "constants stand as their sources give them")]

mod circular;
mod exponential;
mod hyperbolic;
mod logarithm;
mod power;
mod reduction;

pub use circular::{acos, asin, atan, atan2, cos, sin, tan};
pub use exponential::{exp, exp2};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub use logarithm::{ln, log1p, log2, log10};
pub use power::pow;

/// `fraction · 2^exponent` with the fraction in [0.5, 1); zero, NaN and infinities have the exponent 0.
fn split(value: f64) -> (f64, i32) {
    if value == 0.0 || !value.is_finite() {
        return (value, 0);
    }
    let (value, shift) = if value.abs() < f64::MIN_POSITIVE { (value * TWO_52, 52) } else { (value, 0) };
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    (f64::from_bits(bits & !(0x7ff << 52) | (1022 << 52)), exponent - shift)
}

const TWO_52: f64 = (1u64 << 52) as f64;

/// `value · 2^exponent`, rounded once.
fn scaled(value: f64, exponent: i32) -> f64 {
    let (fraction, own) = split(value);
    if fraction == 0.0 || !fraction.is_finite() {
        return value;
    }
    match exponent.saturating_add(own) {
        ..-1075 => 0f64.copysign(value),
        1025.. => f64::INFINITY.copysign(value),
        low @ -1075..-1021 => fraction * power_of_two(low + 53) * power_of_two(-53),
        normal => fraction * 2.0 * power_of_two(normal - 1),
    }
}

/// `2^exponent`, for exponents of normal floats.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// A polynomial by Horner's rule, the highest coefficient first.
#[inline]
fn horner(coefficients: &[f64], x: f64) -> f64 {
    let (first, rest) = coefficients.split_first().expect("a polynomial has a coefficient");
    rest.iter().fold(*first, |sum, coefficient| sum * x + coefficient)
}

//! Angles brought into the first octants.
//!
//! Up to 2^29 a quarter of π in three parts is exact enough; beyond, the angle is multiplied by as many bits of 4/π as it takes
//! (M. Payne and R. Hanek; K. C. Ng, "Argument Reduction for Huge Arguments: Good to the Last Bit").

use std::f64::consts::{FRAC_PI_4, PI};

/// π/4 in three parts with few digits.
const PARTS: [f64; 3] =
    [7.853_981_256_484_985_351_56e-1, 3.774_894_707_930_798_176_68e-8, 2.695_151_429_079_059_526_45e-15];
/// From here on the parts do not do.
const HUGE: f64 = (1 << 29) as f64;
/// Bits of 4/π, the first word its whole part.
const FOUR_OVER_PI: [u64; 20] = [
    0x0000000000000001,
    0x45f306dc9c882a53,
    0xf84eafa3ea69bb81,
    0xb6c52b3278872083,
    0xfca2c757bd778ac3,
    0x6e48dc74849ba5c0,
    0x0c925dd413a32439,
    0xfc3bd63962534e7d,
    0xd1046bea5d768909,
    0xd338e04d68befc82,
    0x7323ac7306a673e9,
    0x3908bf177bf25076,
    0x3ff12fffbc0b301f,
    0xde5e2316b414da3e,
    0xda6cfd9e4f96136e,
    0x9e8c7ecd3cbfd45a,
    0xea4f758fd7cbe2f6,
    0x7a0e73ef14a525d4,
    0xd7f6bf623f1aba10,
    0xac06608df8f6d757,
];

/// The octant (even, below 8) nearest to a positive angle, and the angle from its beginning, within ±π/4.
pub(super) fn octant(x: f64) -> (u64, f64) {
    if x >= HUGE {
        return huge_octant(x);
    }
    let mut octant = (x * (4.0 / PI)) as u64;
    octant += octant & 1;
    let whole = octant as f64;
    (octant & 7, ((x - whole * PARTS[0]) - whole * PARTS[1]) - whole * PARTS[2])
}

fn huge_octant(x: f64) -> (u64, f64) {
    let exponent = (x.to_bits() >> 52) as i32 - 1023 - 52;
    let mantissa = x.to_bits() & ((1 << 52) - 1) | 1 << 52;
    let (word, shift) = ((exponent + 61) as usize / 64, (exponent + 61) as u32 % 64);
    let bits = |at: usize| {
        let (high, low) = (FOUR_OVER_PI[word + at], FOUR_OVER_PI[word + at + 1]);
        high << shift | low.checked_shr(64 - shift).unwrap_or(0)
    };
    let product = |at: usize| u128::from(bits(at)) * u128::from(mantissa);
    let sum: u128 = (product(0) << 64).wrapping_add(product(1)).wrapping_add(product(2) >> 64);
    let octant = (sum >> 125) as u64;
    let fraction = fraction_of((sum >> 61) as u64, sum as u64);
    if octant & 1 == 1 {
        return ((octant + 1) & 7, (fraction - 1.0) * FRAC_PI_4);
    }
    (octant, fraction * FRAC_PI_4)
}

/// Bits behind the point, cut off after the 53rd that counts. Below the upper word they are those that Go takes there: the lower
/// word's first, not the ones next in turn.
fn fraction_of(high: u64, low: u64) -> f64 {
    let skipped = (high | 1).leading_zeros() + 1;
    let mantissa = high.checked_shl(skipped).unwrap_or(0) | low >> (64 - skipped);
    f64::from_bits(u64::from(1023 - skipped) << 52 | mantissa >> 12)
}

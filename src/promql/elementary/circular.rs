//! Circular functions and their inverses.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::horner;
use super::reduction::octant;

const SIN: [f64; 6] = [
    1.589_623_015_765_465_680_60e-10,
    -2.505_074_776_285_780_728_66e-8,
    2.755_731_362_138_572_452_13e-6,
    -1.984_126_982_958_953_859_96e-4,
    8.333_333_333_322_118_588_78e-3,
    -1.666_666_666_666_663_072_95e-1,
];
const COS: [f64; 6] = [
    -1.135_853_652_138_768_173_00e-11,
    2.087_570_084_197_473_167_78e-9,
    -2.755_731_417_929_673_881_12e-7,
    2.480_158_728_885_170_453_48e-5,
    -1.388_888_888_887_305_641_16e-3,
    4.166_666_666_666_659_292_18e-2,
];
const TAN_ABOVE: [f64; 3] =
    [-1.309_369_391_813_837_776_46e4, 1.153_516_648_385_874_161_40e6, -1.795_652_519_764_848_779_88e7];
const TAN_BELOW: [f64; 5] = [
    1.0,
    1.368_129_634_706_929_546_78e4,
    -1.320_892_344_402_109_674_47e6,
    2.500_838_018_233_579_158_39e7,
    -5.386_957_559_294_546_298_81e7,
];
const ATAN_ABOVE: [f64; 5] = [
    -8.750_608_600_031_904_122_785e-1,
    -1.615_753_718_733_365_076_637e1,
    -7.500_855_792_314_704_667_340e1,
    -1.228_866_684_490_136_173_410e2,
    -6.485_021_904_942_025_371_773e1,
];
const ATAN_BELOW: [f64; 6] = [
    1.0,
    2.485_846_490_142_306_297_962e1,
    1.650_270_098_316_988_542_046e2,
    4.328_810_604_912_902_668_951e2,
    4.853_903_996_359_136_964_868e2,
    1.945_506_571_482_613_964_425e2,
];
/// What π/2 lacks as a float.
const PI_2_REST: f64 = 6.123_233_995_736_765_886_130e-17;
/// tan(3π/8)
const TAN_3_PI_8: f64 = 2.414_213_562_373_095_048_80;

fn sin_within(z: f64) -> f64 {
    let zz = z * z;
    z + z * zz * horner(&SIN, zz)
}

fn cos_within(z: f64) -> f64 {
    let zz = z * z;
    1.0 - 0.5 * zz + zz * zz * horner(&COS, zz)
}

/// The sine of an angle in radians.
pub fn sin(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let value = if octant & 3 == 2 { cos_within(z) } else { sin_within(z) };
    if (octant > 3) != (x < 0.0) { -value } else { value }
}

/// The cosine of an angle in radians.
pub fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let value = if octant & 3 == 2 { sin_within(z) } else { cos_within(z) };
    if octant == 2 || octant == 4 { -value } else { value }
}

/// The tangent of an angle in radians.
pub fn tan(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = octant(x.abs());
    let zz = z * z;
    let mut value = z;
    if zz > 1e-14 {
        value = z + z * (zz * horner(&TAN_ABOVE, zz) / horner(&TAN_BELOW, zz));
    }
    if octant & 2 == 2 {
        value = -1.0 / value;
    }
    if x < 0.0 { -value } else { value }
}

/// Of an argument up to 0.66.
fn atan_within(x: f64) -> f64 {
    let z = x * x;
    x * (z * horner(&ATAN_ABOVE, z) / horner(&ATAN_BELOW, z)) + x
}

/// Of an argument above zero.
fn atan_above(x: f64) -> f64 {
    if x <= 0.66 {
        return atan_within(x);
    }
    if x > TAN_3_PI_8 {
        return FRAC_PI_2 - atan_within(1.0 / x) + PI_2_REST;
    }
    FRAC_PI_4 + atan_within((x - 1.0) / (x + 1.0)) + 0.5 * PI_2_REST
}

/// The angle with this tangent.
pub fn atan(x: f64) -> f64 {
    if x == 0.0 {
        x
    } else if x > 0.0 {
        atan_above(x)
    } else {
        -atan_above(-x)
    }
}

/// The angle with this sine.
pub fn asin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let magnitude = x.abs();
    if magnitude > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    let cosine = (1.0 - magnitude * magnitude).sqrt();
    let angle =
        if magnitude > 0.7 { FRAC_PI_2 - atan_above(cosine / magnitude) } else { atan_above(magnitude / cosine) };
    if x < 0.0 { -angle } else { angle }
}

/// The angle with this cosine.
pub fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// The angle of the point (x, y) seen from the origin.
pub fn atan2(y: f64, x: f64) -> f64 {
    if y.is_nan() || x.is_nan() {
        return f64::NAN;
    }
    if y == 0.0 {
        return if x.is_sign_negative() { PI.copysign(y) } else { y };
    }
    if x == 0.0 {
        return FRAC_PI_2.copysign(y);
    }
    if x.is_infinite() {
        let inner = if y.is_infinite() { FRAC_PI_4 } else { 0.0 };
        return (if x > 0.0 { inner } else { three_quarters(inner) }).copysign(y);
    }
    if y.is_infinite() {
        return FRAC_PI_2.copysign(y);
    }
    let angle = atan(y / x);
    match x < 0.0 {
        true if angle <= 0.0 => angle + PI,
        true => angle - PI,
        false => angle,
    }
}

/// The angle of an infinite x below zero.
fn three_quarters(inner: f64) -> f64 {
    if inner == 0.0 { PI } else { 3.0 * FRAC_PI_4 }
}

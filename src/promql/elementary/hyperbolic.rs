//! Hyperbolic functions and their inverses.

use std::f64::consts::LN_2;

use super::{exp, horner, ln, log1p};

const SINH_ABOVE: [f64; 4] = [
    -0.263_056_321_339_749_706_281_948_9e2,
    -0.289_421_135_598_956_380_728_466_036_6e4,
    -0.899_127_202_203_950_935_539_801_351_1e5,
    -0.630_767_364_049_771_699_118_478_725_1e6,
];
const SINH_BELOW: [f64; 4] = [
    1.0,
    -0.173_678_953_558_233_699_533_450_911e3,
    0.152_151_737_879_001_907_069_648_517_6e5,
    -0.630_767_364_049_771_699_121_207_727_7e6,
];
const TANH_ABOVE: [f64; 3] =
    [-9.643_991_794_250_522_386_28e-1, -9.928_772_310_019_185_865_64e1, -1.614_687_684_417_084_479_52e3];
const TANH_BELOW: [f64; 4] =
    [1.0, 1.128_116_784_916_329_314_02e2, 2.235_488_390_601_004_485_83e3, 4.844_063_053_251_254_860_48e3];
/// Beyond it e^−x counts for nothing beside e^x.
const ONE_SIDED: f64 = 21.0;
/// Below this (and above its inverse) squares count for nothing beside one.
const NEGLIGIBLE: f64 = 1.0 / (1 << 28) as f64;

/// Without its sign; a negative zero keeps it, and with it its function.
fn magnitude(x: f64) -> f64 {
    if x < 0.0 { -x } else { x }
}

/// The hyperbolic sine.
pub fn sinh(x: f64) -> f64 {
    let magnitude = magnitude(x);
    let value = if magnitude > ONE_SIDED {
        exp(magnitude) * 0.5
    } else if magnitude > 0.5 {
        let power = exp(magnitude);
        (power - 1.0 / power) * 0.5
    } else {
        let square = magnitude * magnitude;
        horner(&SINH_ABOVE, square) * magnitude / horner(&SINH_BELOW, square)
    };
    if x < 0.0 { -value } else { value }
}

/// The hyperbolic cosine.
pub fn cosh(x: f64) -> f64 {
    let power = exp(x.abs());
    if x.abs() > ONE_SIDED { power * 0.5 } else { (power + 1.0 / power) * 0.5 }
}

/// The hyperbolic tangent.
pub fn tanh(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude > 0.5 * 8.802_969_193_111_305_429_598_8e1 {
        return 1f64.copysign(x);
    }
    if magnitude >= 0.625 {
        return (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    }
    if x == 0.0 {
        return x;
    }
    let square = x * x;
    x + x * square * horner(&TANH_ABOVE, square) / horner(&TANH_BELOW, square)
}

/// The inverse of the hyperbolic sine.
pub fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    let magnitude = magnitude(x);
    let value = if magnitude > 1.0 / NEGLIGIBLE {
        ln(magnitude) + LN_2
    } else if magnitude > 2.0 {
        ln(2.0 * magnitude + 1.0 / ((magnitude * magnitude + 1.0).sqrt() + magnitude))
    } else if magnitude < NEGLIGIBLE {
        magnitude
    } else {
        log1p(magnitude + magnitude * magnitude / (1.0 + (1.0 + magnitude * magnitude).sqrt()))
    };
    if x < 0.0 { -value } else { value }
}

/// The inverse of the hyperbolic cosine.
pub fn acosh(x: f64) -> f64 {
    if x.is_nan() || x < 1.0 {
        return f64::NAN;
    }
    if x == 1.0 {
        return 0.0;
    }
    if x >= 1.0 / NEGLIGIBLE {
        return ln(x) + LN_2;
    }
    if x > 2.0 {
        return ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()));
    }
    let t = x - 1.0;
    log1p(t + (2.0 * t + t * t).sqrt())
}

/// The inverse of the hyperbolic tangent.
pub fn atanh(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 1.0 {
        return f64::NAN;
    }
    if x.abs() == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    let magnitude = magnitude(x);
    let value = if magnitude < NEGLIGIBLE {
        magnitude
    } else if magnitude < 0.5 {
        let double = magnitude + magnitude;
        0.5 * log1p(double + double * magnitude / (1.0 - magnitude))
    } else {
        0.5 * log1p((magnitude + magnitude) / (1.0 - magnitude))
    };
    if x < 0.0 { -value } else { value }
}

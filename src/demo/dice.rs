//! Chance without state: a number for a seed and a few coordinates, always the same one.

/// A roll for `seed` at `place`, evenly over all of `u64` (SplitMix64's mixer over each coordinate).
#[inline]
pub(super) fn roll<const N: usize>(seed: u64, place: [u64; N]) -> u64 {
    place.into_iter().fold(mix(seed), |state, part| mix(state ^ part))
}

/// A roll as a share of one, below one.
#[inline]
pub(super) fn share<const N: usize>(seed: u64, place: [u64; N]) -> f64 {
    (roll(seed, place) >> 11) as f64 / (1u64 << 53) as f64
}

#[inline]
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_repeat_and_spread() {
        assert_eq!(roll(1, [2, 3]), roll(1, [2, 3]));
        assert_ne!(roll(1, [2, 3]), roll(1, [3, 2]));
        let mean = (0..1000).map(|at| share(7, [at])).sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}

//! The NaNs that mean something.
//!
//! Invariant: a scraped NaN is always [`NORMAL_NAN`], so that the bits of [`STALE_NAN`] in a column say one thing
//! only: this series has no sample here. Prometheus keeps the same split (`model/value/value.go`).

/// Bits of an ordinary NaN, the form in which every parsed NaN is kept.
pub const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Bits of the stale marker: the series ended at this timestamp.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Bits that stand in a column where the sample is a native histogram: the histogram itself stands beside the column. Never on a
/// page, never for a reader.
pub const HISTOGRAM_NAN: u64 = 0x7ff0_0000_0000_0004;

/// Whether `value` is the stale marker; an ordinary NaN is not.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// The stale marker as a value.
#[inline]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN)
}

/// The ordinary NaN as a value.
#[inline]
pub fn normal_nan() -> f64 {
    f64::from_bits(NORMAL_NAN)
}

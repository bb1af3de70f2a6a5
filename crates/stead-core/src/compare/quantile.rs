//! Quantiles of latencies, from counts in buckets.
//!
//! A latency is counted in one of 128 buckets per doubling, and a quantile answers with the middle
//! of its bucket, so it is at most [`RELATIVE_ERROR_MAX`] off. Counts of several stretches or
//! clients can be added, which quantiles cannot. Latencies are for the caller to take *from the
//! moment a request was due*, not from when it was sent: a load generator that waits for a stalled
//! service leaves the stall out.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::design::Refusal;

/// Half a bucket: 1 / 256, 0.39 %.
pub const RELATIVE_ERROR_MAX: f64 = 1.0 / 256.0;

const BUCKET_BITS: u32 = 7;
const PER_DOUBLING: u64 = 1 << BUCKET_BITS;

/// Beyond this every value is counted as this much: 2^48 ns are three days.
const VALUE_BITS_MAX: u32 = 48;

/// One per number below two doublings' worth, then 128 for each further bit.
const BUCKETS_MAX: usize = ((VALUE_BITS_MAX - BUCKET_BITS + 1) as usize) << BUCKET_BITS;

/// Counted latencies in nanoseconds. At most 42 KiB.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Sparse", into = "Sparse")]
pub struct Latencies {
    counts: Vec<u64>,
    n: u64,
    most_ns: u64,
}

/// On wire and disk: only buckets that hold something, as place and count.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Sparse {
    most_ns: u64,
    buckets: Vec<(u32, u64)>,
}

impl Latencies {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn record(&mut self, latency_ns: u64) {
        self.record_n(latency_ns, 1);
    }

    /// The same latency `n` times.
    pub fn record_n(&mut self, latency_ns: u64, n: u64) {
        if n > 0 {
            self.count(bucket_of(latency_ns), n);
            self.most_ns = self.most_ns.max(latency_ns);
        }
    }

    /// Adds the counts of another stretch or client.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, n) in other.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            self.count(bucket, *n);
        }
        self.most_ns = self.most_ns.max(other.most_ns);
    }

    fn count(&mut self, bucket: usize, n: u64) {
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        // What all buckets hold together must not wrap either.
        let n = n.min(u64::MAX - self.n);
        self.counts[bucket] += n;
        self.n += n;
    }

    pub fn len(&self) -> u64 {
        self.n
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The highest latency, exactly. `None` if nothing was counted.
    pub fn most_ns(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.most_ns)
    }

    /// The latency that a share of `q` does not exceed, in nanoseconds. `None` if nothing was
    /// counted, and where fewer than [`BEYOND_MIN`] are beyond: p99.9 of 2000 requests is the luck
    /// of two.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAShare`] if `q` is not between 0 and 1.
    pub fn quantile_ns(&self, q: f64) -> Result<Option<f64>, Refusal> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Refusal::NotAShare("quantile".into()));
        }
        let beyond = (1.0 - q) * self.n as f64;
        // A little less, since 1 - 0.999 is.
        if self.is_empty() || beyond < BEYOND_MIN - 1e-6 {
            return Ok(None);
        }
        let rank = (libm::ceil(q * self.n as f64 - 1e-6) as u64).clamp(1, self.n);
        let mut counted = 0;
        let is_reached = |n: &u64| {
            counted += n;
            counted >= rank
        };
        let bucket = self.counts.iter().position(is_reached);
        Ok(bucket.map(|bucket| middle_of(bucket).min(self.most_ns as f64)))
    }
}

/// So many latencies must lie beyond a quantile.
pub const BEYOND_MIN: f64 = 10.0;

fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS_MAX) - 1);
    let shift = (64 - value.leading_zeros()).saturating_sub(BUCKET_BITS + 1);
    (u64::from(shift) * PER_DOUBLING + (value >> shift)) as usize
}

fn middle_of(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let shift = (bucket / PER_DOUBLING).saturating_sub(1);
    let low = (bucket - shift * PER_DOUBLING) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

impl From<Latencies> for Sparse {
    fn from(latencies: Latencies) -> Self {
        let buckets = (0..).zip(latencies.counts).filter(|(_, n)| *n > 0).collect();
        Self { most_ns: latencies.most_ns, buckets }
    }
}

impl TryFrom<Sparse> for Latencies {
    type Error = Refusal;

    fn try_from(sparse: Sparse) -> Result<Self, Refusal> {
        let mut latencies = Self { counts: vec![], n: 0, most_ns: sparse.most_ns };
        for (bucket, n) in sparse.buckets {
            let bucket = bucket as usize;
            if bucket >= BUCKETS_MAX {
                let what = "buckets".into();
                return Err(Refusal::Count {
                    what,
                    there: bucket,
                    least: 0,
                    most: BUCKETS_MAX - 1,
                });
            }
            latencies.count(bucket, n);
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::compare::chance::Chance;
    use crate::compare::tests::world::normal;

    #[test]
    fn every_value_is_within_the_error_of_its_bucket() {
        let near = |bits: u32| [(1 << bits) - 1, 1 << bits, (1 << bits) + (1 << bits >> 1)];
        for value in (0..VALUE_BITS_MAX).flat_map(near).chain(0..5000) {
            let bucket = bucket_of(value);
            assert!(bucket < BUCKETS_MAX);
            let off = (middle_of(bucket) - value as f64).abs();
            assert!(off <= RELATIVE_ERROR_MAX * value as f64, "{value}: {off}");
        }
        let buckets: Vec<usize> = (0..5000).map(bucket_of).collect();
        assert!(buckets.windows(2).all(|pair| pair[1] - pair[0] <= 1), "no bucket is left out");
        assert_eq!(bucket_of(u64::MAX), BUCKETS_MAX - 1);
    }

    /// Latencies around a millisecond, one in a hundred of them a hundred times that.
    fn latencies(n: usize, seed: u64) -> Vec<u64> {
        let mut chance = Chance::new(seed);
        let mut one = |_| {
            let slow = if chance.unit() < 0.01 { 100.0 } else { 1.0 };
            (1e6 * slow * libm::exp(0.3 * normal(&mut chance))) as u64
        };
        (0..n).map(&mut one).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values_within_the_error() {
        let mut values = latencies(20_000, 4);
        let mut counted = Latencies::new();
        values.iter().for_each(|value| counted.record(*value));
        values.sort_unstable();
        for q in [0.0, 0.001, 0.5, 0.9, 0.99, 0.999] {
            let rank = (libm::ceil(q * values.len() as f64) as usize).max(1);
            let exact = values[rank - 1] as f64;
            let quantile = counted.quantile_ns(q).unwrap().unwrap();
            assert!(
                (quantile - exact).abs() <= RELATIVE_ERROR_MAX * exact,
                "{q} {quantile} {exact}"
            );
        }
        assert_eq!(counted.most_ns(), values.last().copied());
        assert_eq!(counted.len(), 20_000);
    }

    #[test]
    fn a_quantile_of_too_few_is_not_told() {
        let mut counted = Latencies::new();
        assert_eq!(counted.quantile_ns(0.5), Ok(None));
        assert_eq!(counted.most_ns(), None);
        counted.record_n(7, 9_999);
        assert_eq!(counted.quantile_ns(0.999), Ok(None));
        counted.record(7);
        assert_eq!(counted.quantile_ns(0.999), Ok(Some(7.0)));
        assert_eq!(counted.quantile_ns(1.0), Ok(None));
        for q in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(counted.quantile_ns(q), Err(Refusal::NotAShare("quantile".into())));
        }
    }

    #[test]
    fn counts_are_added_and_kept_as_they_are() {
        let (one, other) = (latencies(3000, 1), latencies(10, 2));
        let of = |values: &[u64]| {
            let mut counted = Latencies::new();
            values.iter().for_each(|value| counted.record(*value));
            counted
        };
        let mut merged = of(&one);
        merged.merge(&of(&other));
        assert_eq!(merged, of(&[one, other].concat()));
        let text = serde_json::to_string(&merged).unwrap();
        assert_eq!(serde_json::from_str::<Latencies>(&text).unwrap(), merged);
        let refused = serde_json::from_str::<Latencies>(r#"{"most_ns":1,"buckets":[[9999,1]]}"#);
        assert!(refused.unwrap_err().to_string().contains("buckets are 9999"));
    }

    #[test]
    fn counts_that_are_too_large_stop_and_do_not_wrap() {
        let mut counted = Latencies::new();
        counted.record_n(1, u64::MAX);
        counted.record_n(2, 5);
        assert_eq!(counted.len(), u64::MAX);
        assert_eq!(counted.quantile_ns(0.5), Ok(Some(1.0)));
    }
}

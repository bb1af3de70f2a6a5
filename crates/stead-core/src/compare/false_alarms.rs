//! How often equal environments are called different: counted, with the count's own interval.

use serde::{Deserialize, Serialize};

use super::design::Refusal;
use super::interval::Interval;
use super::math::normal_quantile;

/// How many of how many. Those of several comparisons can be added.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tally {
    pub n: u64,
    pub of: u64,
}

impl Tally {
    pub fn add(&mut self, is_counted: bool) {
        self.n = self.n.saturating_add(u64::from(is_counted));
        self.of = self.of.saturating_add(1);
    }

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { n: self.n.saturating_add(other.n), of: self.of.saturating_add(other.of) }
    }

    /// From 0 to 1; 0 if nothing was counted.
    pub fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.n.min(self.of) as f64 / self.of as f64 }
    }

    /// Where the true share lies, wrong with a chance of about `alpha`: Wilson's interval, which
    /// unlike the usual one is of use when the share is near 0. From 0 to 1 if nothing was counted.
    ///
    /// # Errors
    ///
    /// [`Refusal::Alpha`] if `alpha` is not between 0 and 0.5.
    pub fn wilson(self, alpha: f64) -> Result<Interval, Refusal> {
        if !(alpha > 0.0 && alpha <= 0.5) {
            return Err(Refusal::Alpha);
        }
        if self.of == 0 {
            return Ok(Interval { low: 0.0, high: 1.0 });
        }
        let (n, share) = (self.of as f64, self.share());
        let z = -normal_quantile(alpha / 2.0);
        let scale = 1.0 + z * z / n;
        let middle = (share + z * z / (2.0 * n)) / scale;
        let spread = share * (1.0 - share) / n + z * z / (4.0 * n * n);
        let half = z * libm::sqrt(spread) / scale;
        Ok(Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_is_that_of_the_tables() {
        // `scipy.stats.binomtest(n, of).proportion_ci(0.95, "wilson")` of scipy 1.17.1.
        let cases = [
            (0, 200, 0.0, 0.018_845_326_377_266_575),
            (10, 200, 0.027_382_645_600_763_92, 0.089_578_148_138_775_99),
            (200, 200, 0.981_154_673_622_733_4, 1.0),
            (1, 6, 0.030_053_369_748_306_69, 0.563_502_822_186_470_2),
        ];
        for (n, of, low, high) in cases {
            let interval = Tally { n, of }.wilson(0.05).unwrap();
            let is_close = (interval.low - low).abs() < 1e-9 && (interval.high - high).abs() < 1e-9;
            assert!(is_close, "{n} of {of}: {interval:?}");
        }
        let all = Interval { low: 0.0, high: 1.0 };
        assert_eq!(Tally::default().wilson(0.05), Ok(all));
        assert_eq!(Tally::default().wilson(f64::NAN), Err(Refusal::Alpha));
    }

    #[test]
    fn counts_of_several_comparisons_are_added() {
        let mut tally = Tally::default();
        tally.add(true);
        tally.add(false);
        assert_eq!(tally.with(tally), Tally { n: 2, of: 4 });
        assert_eq!((tally.share(), Tally::default().share()), (0.5, 0.0));
        let most = Tally { n: u64::MAX, of: u64::MAX };
        assert_eq!(most.with(most).share(), 1.0);
    }
}

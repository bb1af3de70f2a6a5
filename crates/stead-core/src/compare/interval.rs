//! How sure a center is: the hierarchical bootstrap.
//!
//! A resample draws blocks, and then values within each trial it drew: the luck of a start is
//! larger than that of a stretch within it, and both are in the interval. Noise within a trial is
//! counted a little twice that way, so with several values in each trial the interval is on the
//! wide side: it is wrong in 1 to 3 % instead of 5 %.
//!
//! Of the resampled Hodges-Lehmann centers the interval takes quantiles that are further out than
//! named, as those of a t are further out than those of a normal number (the *expanded percentile
//! interval* of Hesterberg 2014). The plain percentile interval is too narrow with few blocks,
//! since resamples vary by (n - 1) / n of what samples do: it is wrong in 7.5 % of simulations
//! with 8 blocks, and in 6.5 % with 20. BCa mends skew, of which differences of pairs have next to
//! none, and not the width: that of scipy was wrong as often as the plain one in the same noise.
//! This one is wrong in 4 to 5 %, from 8 blocks to 40.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::math::{median_of, normal_cdf, quantile_of_sorted, t_two_sided};
use super::pairs::{Pair, Pairs, hodges_lehmann_in};

/// Enough that another seed moves a 95 % interval by a few hundredths of its width.
pub const RESAMPLES: u32 = 2000;

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub fn has(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    pub fn is_within(self, margin: f64) -> bool {
        -margin <= self.low && self.high <= margin
    }

    pub fn half_width(self) -> f64 {
        self.high / 2.0 - self.low / 2.0
    }
}

/// Where the center of all differences lies, wrong with a chance of `alpha`, from 0 to 0.5. `None`
/// with fewer than two blocks, without resamples, and for any other `alpha`.
pub fn interval(pairs: &Pairs, alpha: f64, resamples: u32, seed: u64) -> Option<Interval> {
    if !(alpha > 0.0 && alpha <= 0.5) {
        return None;
    }
    quantiles(pairs, expanded(alpha, pairs.len()), resamples, seed)
}

/// The level at which the percentile interval of `n` blocks has the width that one at `alpha`
/// needs.
fn expanded(alpha: f64, n: usize) -> f64 {
    let (n, freedom) = (n as f64, n.saturating_sub(1).max(1) as u32);
    2.0 * normal_cdf(-t_two_sided(alpha, freedom) * libm::sqrt(n / (n - 1.0)))
}

fn quantiles(pairs: &Pairs, alpha: f64, resamples: u32, seed: u64) -> Option<Interval> {
    if pairs.len() < 2 {
        return None;
    }
    let mut centers = resampled(pairs, resamples, seed);
    centers.sort_unstable_by(f64::total_cmp);
    let low = quantile_of_sorted(&centers, alpha / 2.0)?;
    let high = quantile_of_sorted(&centers, 1.0 - alpha / 2.0)?;
    Some(Interval { low, high })
}

/// The centers of `resamples` resamples. Neither the order of blocks nor which environment is the
/// baseline changes what is drawn.
fn resampled(pairs: &Pairs, resamples: u32, seed: u64) -> Vec<f64> {
    let mut chance = Chance::new(seed);
    let mut whole: Vec<(f64, &Pair)> =
        pairs.pairs().iter().map(|pair| (pair.difference(), pair)).collect();
    whole.sort_by(|(one, _), (other, _)| one.abs().total_cmp(&other.abs()));
    let mut drawn = Vec::with_capacity(whole.len());
    let (mut walsh, mut scratch) = (Vec::new(), Vec::new());
    (0..resamples)
        .filter_map(|_| {
            drawn.clear();
            for _ in 0..whole.len() {
                let (difference, Pair { baseline, candidate, .. }) =
                    whole[chance.below(whole.len())];
                drawn.push(if baseline.len() == 1 && candidate.len() == 1 {
                    difference
                } else if difference < 0.0 {
                    let old = middle(baseline, &mut chance, &mut scratch);
                    middle(candidate, &mut chance, &mut scratch) - old
                } else {
                    let new = middle(candidate, &mut chance, &mut scratch);
                    new - middle(baseline, &mut chance, &mut scratch)
                });
            }
            hodges_lehmann_in(&drawn, &mut walsh)
        })
        .collect()
}

/// The middle of as many values as there are, drawn from them.
fn middle(values: &[f64], chance: &mut Chance, scratch: &mut Vec<f64>) -> f64 {
    if let [value] = values {
        return *value;
    }
    scratch.clear();
    scratch.extend((0..values.len()).map(|_| values[chance.below(values.len())]));
    median_of(scratch).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::compare::design::{Metric, Scale};
    use crate::compare::false_alarms::Tally;
    use crate::compare::tests::world;
    use crate::compare::{design::Visitor, sequential::Looks};

    fn pairs_of(differences: &[f64]) -> Pairs {
        let values: Vec<_> = differences.iter().map(|one| (0.0, *one)).collect();
        Pairs::of_values(Scale::Difference, &values).unwrap()
    }

    #[test]
    fn resamples_are_drawn_as_often_as_they_are_likely() {
        // All 27 resamples of three blocks, by hand.
        let differences = [0.0, 1.0, 5.0];
        let mut all = Vec::new();
        for at in 0..27 {
            let drawn = [at % 3, at / 3 % 3, at / 9].map(|at| differences[at]);
            all.push(hodges_lehmann_in(&drawn, &mut Vec::new()).unwrap());
        }
        let drawn = resampled(&pairs_of(&differences), 27_000, 1);
        for center in [0.0, 0.5, 1.0, 2.5, 5.0] {
            let expected = all.iter().filter(|one| **one <= center).count() * 1000;
            let found = drawn.iter().filter(|one| **one <= center).count();
            assert!(found.abs_diff(expected) < 450, "{center}: {found} {expected}");
        }
    }

    #[test]
    fn the_level_is_moved_as_a_t_is_wider() {
        // `2 * norm.cdf(-t.ppf(1 - alpha / 2, n - 1) * sqrt(n / (n - 1)))` of scipy 1.17.1.
        let cases = [(0.05, 20, 0.031761659840696), (0.01, 10, 0.000613381095874)];
        for (alpha, n, expected) in cases {
            assert!((expanded(alpha, n) - expected).abs() < 1e-8, "{alpha} {n}");
        }
    }

    #[test]
    fn few_and_equal_differences_have_an_interval_or_none() {
        assert_eq!(interval(&pairs_of(&[]), 0.05, 100, 1), None);
        assert_eq!(interval(&pairs_of(&[1.0]), 0.05, 100, 1), None);
        assert_eq!(interval(&pairs_of(&[1.0, 2.0]), 0.05, 0, 1), None);
        for alpha in [0.0, -1.0, 0.6, f64::NAN] {
            assert_eq!(interval(&pairs_of(&[1.0, 2.0]), alpha, 100, 1), None);
        }
        let same = Interval { low: 3.0, high: 3.0 };
        assert_eq!(interval(&pairs_of(&[3.0, 3.0]), 0.05, 100, 1), Some(same));
        assert!(same.is_within(3.0) && !same.is_within(2.9) && same.has(3.0) && !same.has(0.0));
        let huge = interval(&pairs_of(&[-1e300, 1e300, 1e300]), 0.05, 100, 1).unwrap();
        assert!(huge.low.is_finite() && huge.high.is_finite());
    }

    #[test]
    fn neither_order_nor_names_of_environments_change_the_interval() {
        let values: Vec<(f64, f64)> =
            (1..15).map(|at| (f64::from(at), f64::from(at * 7 % 5) + 0.3)).collect();
        let interval_of = |values: &[(f64, f64)]| {
            let pairs = Pairs::of_values(Scale::Ratio, values).unwrap();
            interval(&pairs, 0.05, 500, 9).unwrap()
        };
        let expected = interval_of(&values);
        let reversed: Vec<_> = values.iter().rev().copied().collect();
        assert_eq!(interval_of(&reversed), expected);
        let swapped: Vec<_> = values.iter().map(|(old, new)| (*new, *old)).collect();
        let Interval { low, high } = interval_of(&swapped);
        assert!((low + expected.high).abs() < 1e-12 && (high + expected.low).abs() < 1e-12);
    }

    /// How often intervals of equal environments leave 0 out, over many runs of the world.
    fn misses(
        runs: core::ops::Range<u64>,
        blocks_n: u32,
        metric: &str,
        interval: fn(&Pairs, u64) -> Interval,
    ) -> Tally {
        let design = world::design(1, Looks::once(0.05, blocks_n));
        let metric: Vec<&Metric> = design.metrics.iter().filter(|one| one.name == metric).collect();
        let mut tally = Tally::default();
        for seed in runs {
            let trials = world::run(&design, blocks_n, seed, &[]);
            let (old, new) = (Visitor::of("bare"), Visitor::of("vm"));
            let pairs = Pairs::new(&trials, metric[0], &old, &new).unwrap();
            tally.add(!interval(&pairs, seed).has(0.0));
        }
        tally
    }

    #[test]
    fn the_interval_holds_its_level_where_the_plain_one_does_not() {
        let ours = |pairs: &Pairs, seed| interval(pairs, 0.05, 1000, seed).unwrap();
        let plain = |pairs: &Pairs, seed| quantiles(pairs, 0.05, 1000, seed).unwrap();
        let mut all = vec![];
        // One value in each trial, and five.
        for metric in ["recovery_ns", "latency_p99_ns"] {
            for blocks_n in [8, 20] {
                let tally = misses(0..400, blocks_n, metric, ours);
                assert!(tally.share() <= 0.075, "{metric} {blocks_n}: {tally:?}");
                all.push(tally);
            }
        }
        let all = all.into_iter().fold(Tally::default(), Tally::with);
        assert!(all.share() <= 0.05, "{all:?}");
        // The control: misses in more than 5 %, beyond chance.
        let control = misses(0..1000, 8, "recovery_ns", plain);
        assert!(control.wilson(0.05).unwrap().low > 0.05, "{control:?}");
    }
}

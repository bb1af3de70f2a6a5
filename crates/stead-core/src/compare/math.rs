//! The few functions of probability that the rest needs.

use alloc::vec::Vec;
use core::f64::consts::{FRAC_1_SQRT_2, PI};

/// The middle one, or the mean of the two in the middle; the order of `values` is lost. `None` if
/// there are none.
pub(crate) fn median_of(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    if n <= FEW {
        sort_few(values);
        let middle = values[n / 2];
        let is_odd = n % 2 == 1;
        return Some(if is_odd { middle } else { f64::midpoint(values[n / 2 - 1], middle) });
    }
    let (below, middle, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return Some(*middle);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(f64::midpoint(lower, *middle))
}

/// So many are sorted sooner than split: the values of one trial, a million times in a bootstrap.
const FEW: usize = 8;

fn sort_few(values: &mut [f64]) {
    for end in 1..values.len() {
        let value = values[end];
        let mut at = end;
        while at > 0 && values[at - 1] > value {
            values[at] = values[at - 1];
            at -= 1;
        }
        values[at] = value;
    }
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    median_of(&mut values.to_vec())
}

/// Standard deviation by the median of distances from the median, as if they were normal.
pub(crate) fn robust_sd(values: &[f64]) -> f64 {
    let Some(middle) = median(values) else { return 0.0 };
    let mut apart: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    1.482_602_218_505_602 * median_of(&mut apart).unwrap_or(0.0)
}

/// The number below which a share of `q` of `sorted` lies, by a line between neighbors (type 7 of
/// Hyndman and Fan). `None` if there are none.
pub(crate) fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let low = (at as usize).min(last);
    let high = (low + 1).min(last);
    let part = at - low as f64;
    Some(sorted[low] + part * (sorted[high] - sorted[low]))
}

/// How much more the mean of a series varies than one of independent numbers: that of a series in
/// which each number is `r` times the one before and noise. By ranks, so that spikes do not hide
/// it, and corrected for what a fit of so many parameters took out of `r` (Kendall 1954).
pub(crate) fn variance_growth(left: &[f64], parameters_n: usize) -> f64 {
    let ranks = ranks(left);
    let (n, lost) = (ranks.len() as f64, parameters_n as f64);
    let middle = (n + 1.0) / 2.0;
    let product = |pair: &[f64]| (pair[0] - middle) * (pair[1] - middle);
    let own: f64 = ranks.iter().map(|rank| (rank - middle) * (rank - middle)).sum();
    if own <= 0.0 {
        return 1.0;
    }
    let r = ranks.windows(2).map(product).sum::<f64>() / own;
    let r = (r + (lost + (lost + 2.0) * r) / n).clamp(0.0, 1.0 - 2.0 / n);
    (1.0 + r) / (1.0 - r)
}

/// From 1; equal values share theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = alloc::vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|at| ranks[*at] = rank);
        before += equal.len();
    }
    ranks
}

/// How likely a standard normal number is below `z`.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// The inverse of [`normal_cdf`], for a `p` between 0 and 1: Acklam's rational approximation and
/// one step of Halley, which gives all but the last digits.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let z = acklam(p);
    let error = (normal_cdf(z) - p) * libm::sqrt(2.0 * PI) * libm::exp(z * z / 2.0);
    z - error / (1.0 + z * error / 2.0)
}

fn acklam(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    let polynomial = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    let tail = |p: f64| {
        let x = libm::sqrt(-2.0 * libm::log(p));
        polynomial(&C, x) / polynomial(&D, x)
    };
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let x = p - 0.5;
        x * polynomial(&A, x * x) / polynomial(&B, x * x)
    }
}

/// Beyond so many degrees of freedom a t is a normal number to three digits.
const T_FREEDOM_MAX: u32 = 400;

/// How far from 0 a t with so many degrees of freedom is with a chance of `p` in both directions
/// together.
pub(crate) fn t_two_sided(p: f64, freedom: u32) -> f64 {
    if freedom > T_FREEDOM_MAX {
        return normal_quantile(1.0 - p / 2.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while 1.0 - t_within(high, freedom) > p && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if 1.0 - t_within(middle, freedom) > p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// How likely a t lies between `-t` and `t`: the finite sums 26.7.3 and 26.7.4 of Abramowitz and
/// Stegun.
fn t_within(t: f64, freedom: u32) -> f64 {
    let angle = libm::atan(t / libm::sqrt(f64::from(freedom)));
    let (sin, cos) = (libm::sin(angle), libm::cos(angle));
    let is_odd = freedom % 2 == 1;
    let mut term = if is_odd { cos } else { 1.0 };
    let mut sum = if is_odd && freedom == 1 { 0.0 } else { term };
    let mut at = if is_odd { 3 } else { 2 };
    while at + 2 <= freedom {
        term *= f64::from(at - 1) / f64::from(at) * cos * cos;
        sum += term;
        at += 2;
    }
    if is_odd { 2.0 / PI * (angle + sin * sum) } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::world::correlated;

    /// Of scipy 1.17.1: `norm.ppf(p)`.
    #[test]
    fn normal_numbers_are_those_of_the_tables() {
        let cases = [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.001, -3.090_232_306_167_813),
            (0.02, -2.053_748_910_631_823),
            (1e-9, -5.997_807_015_007_686),
            (0.999_999, 4.753_424_308_817_087),
        ];
        for (p, z) in cases {
            assert!((normal_quantile(p) - z).abs() < 1e-9, "{p}: {}", normal_quantile(p));
            assert!((normal_cdf(z) - p).abs() < 1e-12, "{z}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
    }

    /// Of scipy 1.17.1: `t.ppf(1 - p / 2, freedom)`.
    #[test]
    fn t_numbers_are_those_of_the_tables() {
        let cases = [
            (0.05, 1, 12.706_204_736_174_694),
            (0.05, 2, 4.302_652_729_749_462),
            (0.05, 3, 3.182_446_305_283_708),
            (0.05, 9, 2.262_157_162_798_205),
            (0.01, 19, 2.860_934_606_464_979),
            (0.001, 30, 3.645_958_635_042_063),
            (0.05, 100, 1.983_971_518_523_552),
        ];
        for (p, freedom, t) in cases {
            assert!((t_two_sided(p, freedom) - t).abs() < 1e-6, "{p} {freedom}");
        }
    }

    #[test]
    fn middles_and_quantiles_are_as_by_hand() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 6.0]), Some(5.0));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
        let many = |n: u32| (0..n).map(|at| f64::from(at * 7 % n)).collect::<Vec<_>>();
        assert_eq!(median(&many(9)), Some(4.0));
        assert_eq!(median(&many(10)), Some(4.5));
        assert_eq!(quantile_of_sorted(&[], 0.5), None);
        assert_eq!(quantile_of_sorted(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile_of_sorted(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert!((robust_sd(&[1.0, 2.0, 3.0, 4.0, 500.0]) - 1.482_602).abs() < 1e-6);
        assert_eq!(robust_sd(&[]), 0.0);
    }

    #[test]
    fn what_hangs_together_varies_more() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(variance_growth(&[1.0; 30], 2), 1.0);
        // (1 + r) / (1 - r), by hand.
        for (r, expected) in [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)] {
            let growth = variance_growth(&correlated(1, 20_000, r), 1);
            assert!((growth / expected - 1.0).abs() < 0.1, "{r}: {growth}");
        }
    }
}

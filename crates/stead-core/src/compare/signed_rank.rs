//! Whether differences of pairs are on one side of 0: the exact signed-rank test.
//!
//! If two environments are alike, the random order of a block makes each difference as likely as
//! its opposite. So the chance of the ranks that were seen can be counted, whatever the noise
//! looks like, with equal values and with few blocks. The bootstrap promises no more than about
//! its level; this keeps it.

use alloc::vec;
use alloc::vec::Vec;

use super::math::normal_cdf;

/// With more differences the sum of ranks is counted as normal; counting takes their cube.
const EXACT_MAX: usize = 200;

/// The chance, in both directions, of ranks at least as one-sided as those of `differences`.
/// Zeros count for neither side; 1 if there is nothing else.
pub fn signed_rank_p(differences: &[f64]) -> f64 {
    let ranks = doubled_ranks(differences);
    let total: usize = ranks.iter().map(|(rank, _)| rank).sum();
    let up: usize = ranks.iter().filter(|(_, is_up)| *is_up).map(|(rank, _)| rank).sum();
    let fewer = up.min(total - up);
    let share = if ranks.len() > EXACT_MAX { normal_share_up_to } else { exact_share_up_to };
    (2.0 * share(&ranks, total, fewer)).min(1.0)
}

/// The smallest p that so many differences can have.
pub(crate) fn least_p(n: u32) -> f64 {
    libm::pow(2.0, 1.0 - f64::from(n)).min(1.0)
}

/// Twice the rank of each distance from 0, equal ones sharing theirs, and on which side it is.
fn doubled_ranks(differences: &[f64]) -> Vec<(usize, bool)> {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|one| *one != 0.0).collect();
    sorted.sort_unstable_by(|one, other| one.abs().total_cmp(&other.abs()));
    let mut ranks = Vec::with_capacity(sorted.len());
    for equal in sorted.chunk_by(|one, other| one.abs() == other.abs()) {
        let rank = 2 * ranks.len() + 1 + equal.len();
        ranks.extend(equal.iter().map(|one| (rank, *one > 0.0)));
    }
    ranks
}

/// Of all ways to give each rank a side, the share with `most` or less on one.
fn exact_share_up_to(ranks: &[(usize, bool)], _total: usize, most: usize) -> f64 {
    let mut chances = vec![0.0; most + 1];
    chances[0] = 1.0;
    for (rank, _) in ranks {
        for sum in (*rank..=most).rev() {
            chances[sum] = 0.5 * (chances[sum] + chances[sum - rank]);
        }
        chances.iter_mut().take(*rank).for_each(|chance| *chance *= 0.5);
    }
    chances.iter().sum()
}

/// The same for many ranks, whose sum is as good as normal.
fn normal_share_up_to(ranks: &[(usize, bool)], total: usize, most: usize) -> f64 {
    let variance: f64 = ranks.iter().map(|(rank, _)| (*rank as f64) * (*rank as f64) / 4.0).sum();
    // The next rank sum is two doubled ranks on, and half of that belongs to this one.
    normal_cdf((most as f64 + 1.0 - total as f64 / 2.0) / libm::sqrt(variance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_that_of_the_tables() {
        // `scipy.stats.wilcoxon(.., method="exact")` of scipy 1.17.1; the case with equal values,
        // which that refuses, by counting all 2^6 signs.
        let cases: [(&[f64], f64); 7] = [
            (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.031_25),
            (&[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], 0.031_25),
            (&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 0.023_437_5),
            (&[0.3, -0.1, 0.2, 0.5, -0.4, 0.7, 0.6, 0.9, -0.8, 1.1], 0.160_156_25),
            (&[1.0, 1.0, 1.0, -1.0, 2.0, 2.0], 0.156_25),
            (&[0.0, 0.0], 1.0),
            (&[], 1.0),
        ];
        for (differences, expected) in cases {
            let p = signed_rank_p(differences);
            assert!((p - expected).abs() < 1e-12, "{differences:?}: {p}");
        }
    }

    #[test]
    fn counted_and_normal_chances_meet_where_one_takes_over() {
        let ranks: Vec<(usize, bool)> = (1..=EXACT_MAX).map(|rank| (2 * rank, true)).collect();
        let total: usize = ranks.iter().map(|(rank, _)| rank).sum();
        for tenths in [40, 43, 46, 48] {
            let most = total * tenths / 100;
            let exact = exact_share_up_to(&ranks, total, most);
            let normal = normal_share_up_to(&ranks, total, most);
            assert!((exact - normal).abs() < 0.02 * exact, "{exact} {normal}");
        }
    }
}

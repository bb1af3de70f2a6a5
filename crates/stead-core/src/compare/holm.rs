//! Many metrics, one chance of a false alarm: Holm's step-down.
//!
//! Twenty metrics of two equal environments are "different" at 5 % somewhere in two comparisons
//! of three. Holm keeps the chance that *any* metric is called different wrongly at its level,
//! however the metrics hang together.

use alloc::vec;
use alloc::vec::Vec;

/// For each p, the level at which it is rejected with all others in sight. In the order given; a
/// p that is not a number counts as 1.
pub fn adjust(ps: &[f64]) -> Vec<f64> {
    let p_of = |at: usize| if ps[at].is_nan() { 1.0 } else { ps[at].clamp(0.0, 1.0) };
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|one, other| p_of(*one).total_cmp(&p_of(*other)));
    let mut adjusted = vec![1.0; ps.len()];
    let mut least = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p_of(at) * (ps.len() - rank) as f64).min(1.0));
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_adjusted_as_by_hand() {
        // The first is the example of R's `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`.
        let cases: [(&[f64], &[f64]); 5] = [
            (&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]),
            (&[0.6, 0.7], &[1.0, 1.0]),
            (&[0.02], &[0.02]),
            (&[f64::NAN, 0.01], &[1.0, 0.02]),
            (&[], &[]),
        ];
        for (ps, expected) in cases {
            let adjusted = adjust(ps);
            let is_close = |(one, other): (&f64, &f64)| (one - other).abs() < 1e-12;
            assert!(adjusted.iter().zip(expected).all(is_close), "{ps:?}: {adjusted:?}");
        }
    }
}

//! What many measurements of one thing come down to.

use serde::Serialize;

/// At least one measurement, all of them numbers, in order of size.
pub(super) struct Samples(Vec<f64>);

/// A median never goes without these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) spread: Spread,
    pub(super) n: usize,
}

/// What `low` and `high` are: a tenth is only spoken of when there are ten.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) enum Spread {
    #[serde(rename = "min..max")]
    MinMax,
    #[serde(rename = "p10..p90")]
    Tenths,
}

impl Samples {
    const FOR_TENTHS_N: usize = 10;

    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let sound = !values.is_empty() && values.iter().all(|value| value.is_finite());
        sound.then_some(Self(values))
    }

    /// The value below which `share` of the samples lie, between neighbours in proportion.
    fn percentile(&self, share: f64) -> f64 {
        let position = share.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let (low, high) = (self.0[below], self.0[above]);
        low + (high - low) * position.fract()
    }

    pub(super) fn figure(&self) -> Figure {
        let n = self.0.len();
        let (spread, tail) =
            if n < Self::FOR_TENTHS_N { (Spread::MinMax, 0.0) } else { (Spread::Tenths, 0.1) };
        Figure {
            median: self.percentile(0.5),
            low: self.percentile(tail),
            high: self.percentile(1.0 - tail),
            spread,
            n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64]) -> Figure {
        Samples::of(values.to_vec()).expect("the values are sound").figure()
    }

    #[test]
    fn the_median_is_the_middle_or_halfway_between_the_two_in_the_middle() {
        for (values, median) in
            [(&[5.0][..], 5.0), (&[3.0, 1.0, 2.0], 2.0), (&[4.0, 1.0, 3.0, 2.0], 2.5)]
        {
            assert_eq!(figure(values).median, median, "{values:?}");
        }
    }

    #[test]
    fn one_outlier_moves_the_spread_and_not_the_median() {
        let calm = figure(&[1.0, 1.0, 1.0, 1.0, 1.0]);
        let upset = figure(&[1.0, 1.0, 1.0, 1.0, 900.0]);
        assert_eq!((calm.median, calm.high), (1.0, 1.0));
        assert_eq!((upset.median, upset.high), (1.0, 900.0));
    }

    #[test]
    fn a_tenth_is_cut_off_each_side_once_there_are_ten() {
        let eleven: Vec<_> = (0..=10).map(f64::from).collect();
        let figure = figure(&eleven);
        assert_eq!((figure.low, figure.high, figure.spread), (1.0, 9.0, Spread::Tenths));
    }

    #[test]
    fn a_tenth_between_two_samples_is_taken_in_proportion() {
        let twelve: Vec<_> = (0..12).map(f64::from).collect();
        let figure = figure(&twelve);
        assert!((figure.low - 1.1).abs() < 1e-9, "{figure:?}");
        assert!((figure.high - 9.9).abs() < 1e-9, "{figure:?}");
    }

    #[test]
    fn fewer_than_ten_show_their_ends() {
        let figure = figure(&[2.0, 9.0, 4.0]);
        assert_eq!((figure.low, figure.high, figure.spread), (2.0, 9.0, Spread::MinMax));
    }

    #[test]
    fn nothing_and_what_is_not_a_number_have_no_figure() {
        assert!(Samples::of(Vec::new()).is_none());
        assert!(Samples::of(vec![1.0, f64::NAN]).is_none());
    }
}

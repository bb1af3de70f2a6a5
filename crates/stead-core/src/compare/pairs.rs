//! Trials of two environments side by side: one difference per block, and its Hodges-Lehmann
//! center.
//!
//! What a block has in common (the hour, the neighbors, the temperature) is in both trials of a
//! pair and falls out of their difference.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::design::{Metric, Reading, Refusal, Scale, Trial, VALUES_MAX, Visitor};
use super::math::median_of;

/// One metric of two visitors, block by block; values are logarithms where ratios are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    pairs: Vec<Pair>,
}

/// The readings of one block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) block: u32,
    pub(crate) baseline: Vec<f64>,
    pub(crate) candidate: Vec<f64>,
}

impl Pairs {
    /// All blocks in which both visitors have a reading of the metric. The order of `trials` does
    /// not matter.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names the reading which has no value, too many, one that is not finite,
    /// or one that is not above 0 where ratios are compared; or the trial that is there twice.
    pub fn new(
        trials: &[Trial],
        metric: &Metric,
        baseline: &Visitor,
        candidate: &Visitor,
    ) -> Result<Self, Refusal> {
        let old = by_block(trials, metric, baseline)?;
        let mut new = by_block(trials, metric, candidate)?;
        let pairs = old
            .into_iter()
            .filter_map(|(block, baseline)| {
                Some(Pair { block, baseline, candidate: new.remove(&block)? })
            })
            .collect();
        Ok(Self { pairs })
    }

    /// One value for each block and environment.
    ///
    /// # Errors
    ///
    /// As [`Pairs::new`].
    pub fn of_values(scale: Scale, values: &[(f64, f64)]) -> Result<Self, Refusal> {
        let pair = |(block, (old, new)): (u32, &(f64, f64))| {
            let place = || format!("block {block}");
            let inward = |value: f64| inward(scale, value, place);
            Ok(Pair { block, baseline: [inward(*old)?].into(), candidate: [inward(*new)?].into() })
        };
        let pairs = (0..).zip(values).map(pair).collect::<Result<_, _>>()?;
        Ok(Self { pairs })
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Candidate minus baseline, for each block.
    pub fn differences(&self) -> Vec<f64> {
        self.pairs.iter().map(Pair::difference).collect()
    }

    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Blocks that were drawn, with the two trials of one changed for each other where `is_swapped`
    /// says so. Blocks in which there is no pair are left out.
    pub(crate) fn redrawn(&self, drawn: &[(u32, bool)]) -> Self {
        let pick = |(block, is_swapped): &(u32, bool)| {
            let at = self.pairs.binary_search_by_key(block, |pair| pair.block).ok()?;
            let pair = self.pairs[at].clone();
            Some(if *is_swapped { pair.swapped() } else { pair })
        };
        Self { pairs: drawn.iter().filter_map(pick).collect() }
    }
}

impl Pair {
    /// Of the middles, so that a spike in one stretch of a trial moves nothing.
    pub(crate) fn difference(&self) -> f64 {
        let middle = |values: &[f64]| median_of(&mut values.to_vec()).unwrap_or(0.0);
        middle(&self.candidate) - middle(&self.baseline)
    }

    fn swapped(self) -> Self {
        Self { block: self.block, baseline: self.candidate, candidate: self.baseline }
    }
}

fn by_block(
    trials: &[Trial],
    metric: &Metric,
    visitor: &Visitor,
) -> Result<BTreeMap<u32, Vec<f64>>, Refusal> {
    let mut found = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.visitor == *visitor) {
        for reading in trial.readings.iter().filter(|reading| reading.metric == metric.name) {
            let place = || format!("`{}` of block {}", metric.name, trial.block);
            let values = read(metric.scale, reading, place)?;
            if found.insert(trial.block, values).is_some() {
                return Err(Refusal::Twice(place()));
            }
        }
    }
    Ok(found)
}

fn read(
    scale: Scale,
    reading: &Reading,
    place: impl Fn() -> alloc::string::String,
) -> Result<Vec<f64>, Refusal> {
    let values = &reading.values;
    if values.is_empty() {
        return Err(Refusal::NoValue(place()));
    }
    if values.len() > VALUES_MAX {
        let what = format!("values of {}", place());
        return Err(Refusal::Count { what, there: values.len(), least: 1, most: VALUES_MAX });
    }
    values.iter().map(|value| inward(scale, *value, &place)).collect()
}

/// Differences between huge numbers must be finite as well.
const VALUE_MAX: f64 = 1e300;

fn inward(
    scale: Scale,
    value: f64,
    place: impl Fn() -> alloc::string::String,
) -> Result<f64, Refusal> {
    if !value.is_finite() || value.abs() > VALUE_MAX {
        return Err(Refusal::NotFinite(place()));
    }
    if scale == Scale::Ratio && value <= 0.0 {
        return Err(Refusal::NotPositive(place()));
    }
    Ok(scale.inward(value))
}

/// The median of the means of all pairs of `differences`, each with itself as well (Walsh
/// averages): nearly as sharp as the mean where they are normal, and unmoved by a few that are far
/// off. `None` if there are none.
pub fn hodges_lehmann(differences: &[f64]) -> Option<f64> {
    hodges_lehmann_in(differences, &mut Vec::new())
}

/// The same in memory that is used again.
pub(crate) fn hodges_lehmann_in(differences: &[f64], walsh: &mut Vec<f64>) -> Option<f64> {
    walsh.clear();
    for (at, first) in differences.iter().enumerate() {
        // No sum overflows, since values are far below the largest number.
        walsh.extend(differences[at..].iter().map(|second| (first + second) * 0.5));
    }
    median_of(walsh)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::compare::design::{Concern, Direction};

    #[test]
    fn the_center_is_the_median_of_walsh_averages() {
        // The first by hand; the others as `numpy.median` of the upper triangle of averages.
        let cases: [(&[f64], f64); 5] = [
            (&[1.0, 2.0, 6.0], 2.75),
            (&[0.1, -0.2, 0.05, 0.3], 0.0625),
            (&[3.0], 3.0),
            (&[0.0, 0.0, 0.0], 0.0),
            (&[1.0, 1.1, 0.9, 1.05, 900.0], 1.05),
        ];
        for (differences, expected) in cases {
            let center = hodges_lehmann(differences).unwrap();
            assert!((center - expected).abs() < 1e-12, "{differences:?}: {center}");
        }
        assert_eq!(hodges_lehmann(&[]), None);
    }

    fn metric(scale: Scale) -> Metric {
        Metric {
            name: "rss_bytes".into(),
            concern: Concern::Mean,
            better: Direction::Lower,
            scale,
            margin: 0.05,
        }
    }

    fn trial(block: u32, visitor: Visitor, values: &[f64]) -> Trial {
        let reading = Reading { metric: "rss_bytes".into(), values: values.to_vec() };
        Trial { block, visitor, readings: vec![reading] }
    }

    #[test]
    fn only_blocks_with_both_trials_are_paired() {
        let (old, new) = (Visitor::of("bare"), Visitor::of("vm"));
        let trials = [
            trial(7, new.clone(), &[6.0]),
            trial(1, old.clone(), &[1.0, 9.0, 2.0]),
            trial(1, new.clone(), &[5.0, 3.0]),
            trial(7, old.clone(), &[4.0]),
            trial(2, old.clone(), &[1.0]),
            trial(3, new.clone(), &[1.0]),
            trial(1, Visitor::twin_of("bare"), &[100.0]),
        ];
        let pairs = Pairs::new(&trials, &metric(Scale::Difference), &old, &new).unwrap();
        assert_eq!(pairs.differences(), [2.0, 2.0]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_by_name() {
        let (old, new) = (Visitor::of("bare"), Visitor::of("vm"));
        let place = || "`rss_bytes` of block 4".into();
        let too_many = Refusal::Count {
            what: "values of `rss_bytes` of block 4".into(),
            there: 257,
            least: 1,
            most: 256,
        };
        let cases = [
            (Scale::Ratio, vec![f64::NAN], Refusal::NotFinite(place())),
            (Scale::Difference, vec![1.0, f64::INFINITY], Refusal::NotFinite(place())),
            (Scale::Difference, vec![f64::MAX], Refusal::NotFinite(place())),
            (Scale::Ratio, vec![0.0], Refusal::NotPositive(place())),
            (Scale::Ratio, vec![-1.0], Refusal::NotPositive(place())),
            (Scale::Ratio, vec![], Refusal::NoValue(place())),
            (Scale::Ratio, vec![1.0; 257], too_many),
        ];
        for (scale, values, expected) in cases {
            let trials = [trial(4, old.clone(), &values)];
            assert_eq!(Pairs::new(&trials, &metric(scale), &old, &new), Err(expected));
        }
        let twice = [trial(4, old.clone(), &[1.0]), trial(4, old.clone(), &[1.0])];
        let refused = Pairs::new(&twice, &metric(Scale::Ratio), &old, &new);
        assert_eq!(refused, Err(Refusal::Twice(place())));
        let values = [(1.0, 2.0), (1.0, f64::NAN)];
        let refused = Pairs::of_values(Scale::Ratio, &values);
        assert_eq!(refused, Err(Refusal::NotFinite("block 1".into())));
    }
}

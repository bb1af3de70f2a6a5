//! Whether a trial comes to rest, and after how long.
//!
//! Services warm up: caches fill, compilers compile. Only what comes after is to be compared. But
//! at most 43.5 % of pairs of VM and benchmark reach a steady peak at all (Barrett and others
//! 2017), so "never" is a result. The series is cut where its level changes (optimal
//! partitioning, Jackson and others 2005: exact, and no chance in it); neighbors of about the same
//! level are one stretch; the trial is steady from where its last stretch begins, if that is long
//! enough. Trials without a steady state are not to be left out in silence: how many there are is
//! a metric of its own, by difference.

use alloc::vec;
use alloc::vec::Vec;
use core::f64::consts::FRAC_1_SQRT_2;

use serde::{Deserialize, Serialize};

use super::design::Refusal;
use super::math::{median, robust_sd, variance_growth};

/// With fewer numbers a level and its change look alike.
pub const SERIES_MIN: usize = 20;

/// More are to be averaged first: cutting takes the square of them.
pub const SERIES_MAX: usize = 2000;

/// No stretch is shorter.
const STRETCH_MIN: usize = 5;

/// The last level must hold for this share of the series.
const STEADY_SHARE: f64 = 0.25;

/// A number further from its neighborhood than this many standard deviations is moved that near:
/// a spike is no change of level.
const CLIP_SD: f64 = 3.0;

/// So many numbers on each side are a neighborhood.
const NEIGHBORS: usize = 7;

/// A cut must explain this many times the variance and the logarithm of the length: twice what is
/// enough for independent noise, and half of what Barrett and others take, who do not allow for
/// neighbors that hang together.
const PENALTY: f64 = 8.0;

/// What a series does. Places are indices into it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Course {
    pub shape: Shape,
    pub stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One level from the start.
    Flat,
    /// Levels that end in a last one from here on; what was before is warm-up.
    SteadyFrom(usize),
    /// The last level is too short to be one: it changes until the end.
    NoSteadyState,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stretch {
    /// The first of it; it ends where the next one begins.
    pub from: usize,
    pub level: f64,
}

impl Course {
    /// The numbers after the warm-up. `None` without a steady state.
    pub fn steady_part<'a>(&self, series: &'a [f64]) -> Option<&'a [f64]> {
        match self.shape {
            Shape::Flat => Some(series),
            Shape::SteadyFrom(from) => series.get(from..),
            Shape::NoSteadyState => None,
        }
    }
}

/// Cuts a series of evenly spaced numbers. Levels that are less than `alike` apart, in parts of
/// the last level (0.01 is 1 %), are one.
///
/// # Errors
///
/// A [`Refusal`]: too few or too many numbers, one that is not finite, or an `alike` that is not
/// between 0 and 1.
pub fn course(series: &[f64], alike: f64) -> Result<Course, Refusal> {
    if !(SERIES_MIN..=SERIES_MAX).contains(&series.len()) {
        let (there, least, most) = (series.len(), SERIES_MIN, SERIES_MAX);
        return Err(Refusal::Count { what: "numbers of a series".into(), there, least, most });
    }
    if !series.iter().all(|value| value.is_finite()) {
        return Err(Refusal::NotFinite("series".into()));
    }
    if !(0.0..=1.0).contains(&alike) {
        return Err(Refusal::NotAShare("`alike`".into()));
    }
    let clipped = clipped(series);
    let stretches = joined(&clipped, &cut(&clipped).1, alike);
    let from = stretches.last().map_or(0, |last| last.from);
    let is_long = (series.len() - from) as f64 >= STEADY_SHARE * series.len() as f64;
    let shape = match (from, is_long) {
        (0, _) => Shape::Flat,
        (from, true) => Shape::SteadyFrom(from),
        (_, false) => Shape::NoSteadyState,
    };
    Ok(Course { shape, stretches })
}

/// The series with spikes moved near to their neighborhood.
fn clipped(series: &[f64]) -> Vec<f64> {
    let near = |at: usize| {
        let around = &series[at.saturating_sub(NEIGHBORS)..(at + NEIGHBORS + 1).min(series.len())];
        let Some(middle) = median(around) else { return series[at] };
        let far = CLIP_SD * robust_sd(around);
        series[at].clamp(middle - far, middle + far)
    };
    (0..series.len()).map(near).collect()
}

/// A series in standard deviations of its noise from its first number, and where it is cut.
///
/// Noise that hangs together must not be cut for what it is, but how much it does is only known
/// once the levels are: so it is cut as if it were independent, and then again with the noise that
/// is left beside a line through each stretch, until that grows no more.
fn cut(series: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let most = series.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
    // In parts of the largest first, so that no square is too large to be a number.
    let parts: Vec<f64> = series.iter().map(|value| (value - series[0]) / most).collect();
    let scaled = |sd: f64| -> Vec<f64> { parts.iter().map(|part| part / sd).collect() };
    let mut sd = sd_of_steps(&parts).max(NOISE_MIN);
    let mut found = cuts(&scaled(sd));
    for _ in 0..ROUNDS_MAX {
        let left = beside_lines(&parts, &found);
        let growth = variance_growth(&left, 2 * found.len()).min(GROWTH_MAX);
        let grown = robust_sd(&left) * libm::sqrt(growth);
        if grown <= sd {
            break;
        }
        sd = grown;
        found = cuts(&scaled(sd));
    }
    (scaled(sd), found)
}

/// The first cut is mostly the last.
const ROUNDS_MAX: u32 = 5;

/// That of a series with r = 0.8; what hangs together more is a course of its own.
const GROWTH_MAX: f64 = 9.0;

/// In parts of the largest number: more than rounding.
const NOISE_MIN: f64 = 1e-9;

/// Of independent noise, by the differences of neighbors, in which changes of level are few.
fn sd_of_steps(series: &[f64]) -> f64 {
    let steps: Vec<f64> = series.windows(2).map(|pair| pair[1] - pair[0]).collect();
    robust_sd(&steps) * FRAC_1_SQRT_2
}

/// What is left of each stretch without the line through it.
fn beside_lines(series: &[f64], cuts: &[usize]) -> Vec<f64> {
    let ends = cuts.iter().copied().skip(1).chain([series.len()]);
    let beside = |(from, to): (&usize, usize)| {
        let stretch = &series[*from..to];
        let times: Vec<f64> = (0..stretch.len()).map(|at| at as f64).collect();
        let (middle, mean, slope) = line(&times, stretch);
        let left = |(time, value): (f64, &f64)| value - mean - slope * (time - middle);
        times.into_iter().zip(stretch).map(left).collect::<Vec<_>>()
    };
    cuts.iter().zip(ends).flat_map(beside).collect()
}

/// The line that leaves the fewest squares, by the point in its middle and its slope.
fn line(times: &[f64], values: &[f64]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let (middle, mean) = (times.iter().sum::<f64>() / n, values.iter().sum::<f64>() / n);
    let both = |(time, value): (&f64, &f64)| (time - middle) * (value - mean);
    let both: f64 = times.iter().zip(values).map(both).sum();
    let own: f64 = times.iter().map(|time| (time - middle) * (time - middle)).sum();
    (middle, mean, both / own)
}

/// Sums from the start, so that the cost of any stretch takes one step.
struct Sums {
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(series: &[f64]) -> Self {
        let (mut values, mut squares) = (vec![0.0], vec![0.0]);
        let (mut value_sum, mut square_sum) = (0.0, 0.0);
        for value in series {
            value_sum += value;
            square_sum += value * value;
            values.push(value_sum);
            squares.push(square_sum);
        }
        Self { values, squares }
    }

    /// Squares that are left when a stretch is replaced by its mean.
    fn cost(&self, from: usize, to: usize) -> f64 {
        let sum = self.values[to] - self.values[from];
        (self.squares[to] - self.squares[from] - sum * sum / (to - from) as f64).max(0.0)
    }
}

/// Where stretches begin, 0 first, so that squares and penalties together are least.
fn cuts(series: &[f64]) -> Vec<usize> {
    let n = series.len();
    let sums = Sums::new(series);
    let penalty = PENALTY * libm::log(n as f64);
    let mut best = vec![f64::INFINITY; n + 1];
    let mut last_cut = vec![0; n + 1];
    best[0] = -penalty;
    for to in STRETCH_MIN..=n {
        for from in 0..=to - STRETCH_MIN {
            let total = best[from] + sums.cost(from, to) + penalty;
            if total < best[to] {
                (best[to], last_cut[to]) = (total, from);
            }
        }
    }
    let mut found = vec![];
    let mut at = n;
    while at > 0 {
        at = last_cut[at];
        found.push(at);
    }
    found.reverse();
    found
}

/// From where on one line over `times` explains a series best, with levels before it: by what
/// squares they leave together, and a penalty for each cut. 0 if a line explains all of it.
pub(crate) fn line_from(times: &[f64], series: &[f64]) -> usize {
    let (scaled, cuts) = cut(&clipped(series));
    let sums = Sums::new(&scaled);
    let penalty = PENALTY * libm::log(series.len() as f64);
    let (mut of_levels, mut before) = (0.0, 0);
    let mut best = (f64::INFINITY, 0);
    for from in cuts {
        if from > before {
            of_levels += sums.cost(before, from) + penalty;
            before = from;
        }
        let total = of_levels + squares_beside_line(&times[from..], &scaled[from..]);
        if total < best.0 {
            best = (total, from);
        }
    }
    best.1
}

/// Squares that are left when a series is replaced by a line.
fn squares_beside_line(times: &[f64], series: &[f64]) -> f64 {
    let (middle, mean, slope) = line(times, series);
    let left = |(time, value): (&f64, &f64)| value - mean - slope * (time - middle);
    times.iter().zip(series).map(left).map(|left| left * left).sum()
}

/// Stretches with their levels; neighbors that are alike are one, and so is a tail of them.
fn joined(series: &[f64], cuts: &[usize], alike: f64) -> Vec<Stretch> {
    let level = |from: usize, to: usize| median(&series[from..to]).unwrap_or(0.0);
    let ends = cuts.iter().copied().skip(1).chain([series.len()]);
    let mut parts: Vec<(Stretch, usize)> = cuts
        .iter()
        .copied()
        .zip(ends)
        .map(|(from, to)| (Stretch { from, level: level(from, to) }, to))
        .collect();
    let far = alike * parts.last().map_or(0.0, |(last, _)| last.level.abs());
    let mut kept: Vec<(Stretch, usize)> = Vec::new();
    // From the end, since what is asked is how far back the last level reaches.
    while let Some((part, to)) = parts.pop() {
        match kept.last_mut() {
            Some((after, end)) if (after.level - part.level).abs() <= far => {
                *after = Stretch { from: part.from, level: level(part.from, *end) };
            }
            Some(_) | None => kept.push((part, to)),
        }
    }
    kept.into_iter().rev().map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::chance::Chance;
    use crate::compare::tests::world::{correlated, normal};

    /// 120 numbers around what `level` says of each place, with noise of 1.
    fn series(seed: u64, level: fn(f64) -> f64) -> Vec<f64> {
        let mut chance = Chance::new(seed);
        (0..120).map(|at| level(f64::from(at)) + normal(&mut chance)).collect()
    }

    #[test]
    fn each_series_has_the_shape_that_it_was_made_with() {
        type Case = (&'static str, fn(f64) -> f64, fn(Shape) -> bool);
        let is_near_30 = |shape| matches!(shape, Shape::SteadyFrom(25..=35));
        let cases: [Case; 8] = [
            ("flat", |_| 100.0, |shape| shape == Shape::Flat),
            ("warms up", |at| if at < 30.0 { 110.0 } else { 100.0 }, is_near_30),
            ("slows down", |at| if at < 30.0 { 95.0 } else { 100.0 }, is_near_30),
            (
                "warms up by and by",
                |at| 100.0 + 40.0 * libm::exp(-at / 8.0),
                |shape| matches!(shape, Shape::SteadyFrom(12..=45)),
            ),
            ("climbs", |at| 100.0 + at / 3.0, |shape| shape == Shape::NoSteadyState),
            (
                "changes at the end",
                |at| if at < 100.0 { 100.0 } else { 108.0 },
                |shape| shape == Shape::NoSteadyState,
            ),
            (
                "goes to and fro",
                |at| if at % 48.0 < 24.0 { 100.0 } else { 110.0 },
                |shape| shape == Shape::NoSteadyState,
            ),
            (
                "changes by too little to matter",
                |at| if at < 60.0 { 100.0 } else { 100.5 },
                |shape| shape == Shape::Flat,
            ),
        ];
        for (name, level, is_expected) in cases {
            for seed in 0..20 {
                let course = course(&series(seed, level), 0.01).unwrap();
                assert!(is_expected(course.shape), "{name}, seed {seed}: {course:?}");
            }
        }
    }

    #[test]
    fn the_steady_part_is_what_comes_after_the_warm_up() {
        let mut numbers = alloc::vec![9.0; 10];
        numbers.extend([7.0; 30]);
        let found = course(&numbers, 0.01).unwrap();
        let stretches = [Stretch { from: 0, level: 9.0 }, Stretch { from: 10, level: 7.0 }];
        assert_eq!((found.shape, &found.stretches[..]), (Shape::SteadyFrom(10), &stretches[..]));
        assert_eq!(found.steady_part(&numbers), Some(&numbers[10..]));
        numbers.reverse();
        numbers.truncate(35);
        let found = course(&numbers, 0.01).unwrap();
        assert_eq!((found.shape, found.steady_part(&numbers)), (Shape::NoSteadyState, None));
    }

    #[test]
    fn spikes_are_no_change_of_level_once_they_are_clipped() {
        let spiky = |seed| {
            let mut numbers = series(seed, |_| 100.0);
            for at in [20, 21, 60, 90, 118] {
                numbers[at] = 160.0;
            }
            numbers
        };
        for seed in 0..20 {
            let numbers = spiky(seed);
            assert_eq!(course(&numbers, 0.01).unwrap().shape, Shape::Flat, "seed {seed}");
            // The control: not clipped, they are cut out.
            assert!(cut(&numbers).1.len() > 1, "seed {seed}");
        }
    }

    #[test]
    fn noise_that_hangs_together_is_seldom_cut() {
        let share = |r: f64, cut: fn(&[f64]) -> Vec<usize>| {
            let is_cut = |seed: &u64| cut(&correlated(*seed, 120, r)).len() > 1;
            (0..300).filter(is_cut).count() as f64 / 300.0
        };
        let ours = |series: &[f64]| cut(series).1;
        for (r, most) in [(0.0, 0.01), (0.5, 0.03), (0.8, 0.10)] {
            assert!(share(r, ours) <= most, "{r}: {}", share(r, ours));
        }
        // The control: as if neighbors were independent.
        let once = |series: &[f64]| {
            let sd = sd_of_steps(series);
            cuts(&series.iter().map(|value| value / sd).collect::<Vec<_>>())
        };
        assert!(share(0.8, once) > 0.5, "{}", share(0.8, once));
    }

    #[test]
    fn odd_series_have_a_shape_or_a_named_refusal() {
        let count = |there| {
            let what = "numbers of a series".into();
            Err(Refusal::Count { what, there, least: SERIES_MIN, most: SERIES_MAX })
        };
        let shape_of = |numbers: &[f64], alike| course(numbers, alike).map(|course| course.shape);
        assert_eq!(shape_of(&[], 0.01), count(0));
        assert_eq!(shape_of(&[1.0; SERIES_MAX + 1], 0.01), count(SERIES_MAX + 1));
        assert_eq!(shape_of(&[0.0; 20], 0.01), Ok(Shape::Flat));
        assert_eq!(shape_of(&[-3.0; 20], 0.0), Ok(Shape::Flat));
        assert_eq!(shape_of(&[f64::MAX; 20], 0.01), Ok(Shape::Flat));
        let mut numbers = [1.0; 20];
        for odd in [f64::NAN, f64::INFINITY] {
            numbers[7] = odd;
            assert_eq!(shape_of(&numbers, 0.01), Err(Refusal::NotFinite("series".into())));
        }
        let refused = Err(Refusal::NotAShare("`alike`".into()));
        assert_eq!(shape_of(&[1.0; 20], f64::NAN), refused);
        // Any mixture of the smallest and the largest ends without a panic.
        let mixed: Vec<f64> =
            (0..60).map(|at| [f64::MAX, -f64::MAX, 5e-324, 0.0][at * at % 4]).collect();
        assert!(shape_of(&mixed, 0.01).is_ok());
    }
}

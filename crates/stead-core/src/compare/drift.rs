//! Whether a service gets slowly worse: the slope of a long series, and how sure it is.
//!
//! Theil and Sen's slope is the median of the slopes of all pairs of points: no spike moves it.
//! Its interval is Sen's, widened because neighbors in a series hang together: ten thousand
//! readings of a memory that wanders tell less than a hundred fresh ones, and without that the
//! test of Mann and Kendall finds "leaks" in half of all services that have none. A step (a
//! cache that was filled, a pool that grew) is no slope: only what comes after the last is read.
//! Memory of collected heaps goes up and down like a saw; its lower envelope does not.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::design::Refusal;
use super::interval::Interval;
use super::math::{median, median_of, t_two_sided, variance_growth};
use super::steady::line_from;

/// With fewer points the noise of a series cannot be told from its slope.
pub const POINTS_MIN: usize = 20;

/// All pairs are taken, so more are to be thinned by [`lower_envelope`] or by means.
pub const POINTS_MAX: usize = 1500;

const MS_PER_HOUR: f64 = 3_600_000.0;

/// A value at a time from any fixed moment.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Point {
    pub at_ms: u64,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Drift {
    /// In the value's unit.
    pub per_hour: f64,
    pub per_hour_interval: Interval,
    /// The median of what was read.
    pub level: f64,
    /// In parts of the level: 0.01 is 1 % of it in an hour. `None` if the level is not above 0.
    pub relative_per_hour: Option<f64>,
    pub relative_interval: Option<Interval>,
    /// How many independent points those that were read are worth.
    pub effective_n: f64,
    /// Where the series last steps to a new level, if it does; only what comes after is read.
    pub step_at_ms: Option<u64>,
}

/// The slope of a series in order of time, wrong with a chance of about `alpha`: at 5 %, in 3 to
/// 9 % of simulated series without a slope, of 30 to 400 points of which each is up to 0.95 times
/// the one before. Give it one life of one process: a restart is a step that everybody knows of.
///
/// # Errors
///
/// A [`Refusal`]: too few or too many points, a value that is not finite, times that do not rise,
/// or an alpha that is none.
pub fn drift(points: &[Point], alpha: f64) -> Result<Drift, Refusal> {
    check(points, alpha)?;
    let step = last_step(points);
    let read = &points[step.unwrap_or(0)..];
    let mut slopes = slopes(read);
    let per_hour = median(&slopes).unwrap_or(0.0);
    let left = residuals(read, per_hour);
    let grown = variance_growth(&left, LINE_PARAMETERS);
    let per_hour_interval = sen_interval(&mut slopes, &left, alpha, grown);
    let level = median_of(&mut read.iter().map(|point| point.value).collect::<Vec<_>>());
    let level = level.unwrap_or(0.0);
    let relative = |value: f64| Some(value / level).filter(|part| level > 0.0 && part.is_finite());
    let Interval { low, high } = per_hour_interval;
    let relative_interval =
        relative(low).zip(relative(high)).map(|(low, high)| Interval { low, high });
    Ok(Drift {
        per_hour,
        per_hour_interval,
        level,
        relative_per_hour: relative(per_hour),
        relative_interval,
        effective_n: read.len() as f64 / grown,
        step_at_ms: step.map(|at| points[at].at_ms),
    })
}

/// The lowest point of each window of `window_ms`, which is to be longer than one tooth of the saw.
/// An unfinished last window counts as well.
pub fn lower_envelope(points: &[Point], window_ms: u64) -> Vec<Point> {
    let window_of = |point: &Point| point.at_ms / window_ms.max(1);
    points
        .chunk_by(|one, other| window_of(one) == window_of(other))
        .filter_map(|window| {
            window.iter().copied().min_by(|one, other| one.value.total_cmp(&other.value))
        })
        .collect()
}

/// What a line takes out of a series.
const LINE_PARAMETERS: usize = 2;

fn check(points: &[Point], alpha: f64) -> Result<(), Refusal> {
    if !(POINTS_MIN..=POINTS_MAX).contains(&points.len()) {
        let (there, least, most) = (points.len(), POINTS_MIN, POINTS_MAX);
        return Err(Refusal::Count { what: "points of a series".into(), there, least, most });
    }
    // Slopes of these are finite too.
    let is_fit = |point: &Point| point.value.is_finite() && point.value.abs() < 1e290;
    if !points.iter().all(is_fit) {
        return Err(Refusal::NotFinite("series".into()));
    }
    if !points.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms) {
        return Err(Refusal::TimesOrder);
    }
    if !(alpha > 0.0 && alpha <= 0.5) {
        return Err(Refusal::Alpha);
    }
    Ok(())
}

fn hours(from: Point, to: Point) -> f64 {
    (to.at_ms - from.at_ms) as f64 / MS_PER_HOUR
}

fn slopes(points: &[Point]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (at, from) in points.iter().enumerate() {
        let after = points[at + 1..].iter();
        slopes.extend(after.map(|to| (to.value - from.value) / hours(*from, *to)));
    }
    slopes
}

/// What is left of each value without the line.
fn residuals(points: &[Point], per_hour: f64) -> Vec<f64> {
    points.iter().map(|point| point.value - per_hour * hours(points[0], *point)).collect()
}

/// Sen's interval: as many slopes to each side of the middle as Kendall's sum would vary.
fn sen_interval(slopes: &mut [f64], left: &[f64], alpha: f64, grown: f64) -> Interval {
    slopes.sort_unstable_by(f64::total_cmp);
    let n = left.len() as f64;
    let variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0 * grown;
    // How far neighbors hang together is itself only as sure as there is independent data.
    let freedom = (n / grown - 2.0).max(1.0) as u32;
    let reach = t_two_sided(alpha, freedom) * libm::sqrt(variance);
    let (count, last) = (slopes.len() as f64, slopes.len() - 1);
    let low = libm::floor((count - reach) / 2.0 - 1.0).max(0.0) as usize;
    let high = libm::ceil((count + reach) / 2.0).max(0.0) as usize;
    Interval { low: slopes[low.min(last)], high: slopes[high.min(last)] }
}

/// Where the series last goes from one level to another at once, if levels and then a line explain
/// it better than one line. Not so late that too few points remain.
fn last_step(points: &[Point]) -> Option<usize> {
    let times: Vec<f64> = points.iter().map(|point| hours(points[0], *point)).collect();
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let at = line_from(&times, &values);
    (at > 0 && points.len() - at >= POINTS_MIN).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::chance::Chance;
    use crate::compare::tests::world::{correlated, normal};

    const MINUTE_MS: u64 = 60_000;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        (0..).zip(values).map(|(at, value)| Point { at_ms: at * MINUTE_MS, value }).collect()
    }

    /// A level of 100 with noise that hangs together by `r`, and what is added at each place.
    fn noisy(seed: u64, n: usize, r: f64, added: impl Fn(f64) -> f64) -> Vec<Point> {
        let noise = correlated(seed, n, r).into_iter().enumerate();
        points(noise.map(|(at, noise)| 100.0 + noise + added(at as f64)))
    }

    #[test]
    fn the_slope_is_that_of_an_independent_implementation() {
        let values = [
            5.1, 4.9, 5.3, 5.2, 5.6, 5.4, 5.9, 5.7, 9.9, 6.1, 6.0, 6.3, 6.2, 6.6, 6.4, 6.9, 6.7,
            7.0, 1.2, 7.1, 7.3, 7.2, 7.6, 7.5,
        ];
        // `scipy.stats.theilslopes(values, minutes / 60, 0.95)` of scipy 1.17.1.
        let (slope, low, high) = (6.666666666667, 6.000000000000, 7.200000000000);
        let found = drift(&points(values), 0.05).unwrap();
        assert!((found.per_hour - slope).abs() < 1e-9, "{found:?}");
        // Ours takes a t for a normal number, and the next slope outwards.
        let interval = found.per_hour_interval;
        assert!(interval.low <= low && low - interval.low < 0.1 * (high - low), "{found:?}");
        assert!(interval.high >= high && interval.high - high < 0.1 * (high - low), "{found:?}");
        assert_eq!((found.level, found.step_at_ms), (6.25, None));
        assert_eq!(found.relative_per_hour, Some(found.per_hour / 6.25));
    }

    fn share_of_alarms(r: f64, is_alarm: impl Fn(&[Point]) -> bool) -> f64 {
        let found = (0..300).filter(|seed| is_alarm(&noisy(*seed, 120, r, |_| 0.0)));
        found.count() as f64 / 300.0
    }

    #[test]
    fn memory_that_wanders_is_no_leak() {
        let ours = |points: &[Point]| !drift(points, 0.05).unwrap().per_hour_interval.has(0.0);
        for r in [0.0, 0.5, 0.9, 0.95] {
            let share = share_of_alarms(r, ours);
            assert!(share <= 0.08, "{r}: {share}");
        }
        // The control: Sen's interval as if neighbors were independent.
        let plain = |points: &[Point]| {
            let mut slopes = slopes(points);
            let left = residuals(points, median(&slopes).unwrap());
            !sen_interval(&mut slopes, &left, 0.05, 1.0).has(0.0)
        };
        let share = share_of_alarms(0.9, plain);
        assert!(share > 0.4, "{share}");
    }

    #[test]
    fn a_leak_is_found_with_its_slope() {
        let mut found_n = 0;
        for seed in 0..100 {
            // 2 % of the level in an hour, for six hours.
            let leak = drift(&noisy(seed, 360, 0.5, |at| at / 30.0), 0.05).unwrap();
            let interval = leak.relative_interval.unwrap();
            found_n += u32::from(interval.low > 0.0 && interval.low < 0.022);
            let off = (leak.per_hour - 2.0).abs();
            assert!(off < 0.5 && leak.step_at_ms.is_none(), "seed {seed}: {leak:?}");
        }
        assert!(found_n >= 95, "{found_n}");
    }

    #[test]
    fn a_step_is_no_slope() {
        for seed in 0..50 {
            let filled = |at: f64| if at < 40.0 { 0.0 } else { 10.0 };
            let series = noisy(seed, 120, 0.5, filled);
            let found = drift(&series, 0.01).unwrap();
            assert_eq!(found.step_at_ms, Some(40 * MINUTE_MS), "seed {seed}");
            assert!(found.per_hour.abs() < 2.0, "seed {seed}: {found:?}");
            // The control: the line through all of it climbs.
            assert!(median(&slopes(&series)).unwrap() > 2.5, "seed {seed}");
        }
        // Nor are two.
        let twice = |at: f64| f64::from(u8::from(at >= 40.0) + u8::from(at >= 90.0)) * 10.0;
        let found = drift(&noisy(2, 160, 0.5, twice), 0.01).unwrap();
        assert_eq!(found.step_at_ms, Some(90 * MINUTE_MS), "{found:?}");
        // A leak after a step is a leak.
        let leaks = |at: f64| if at < 40.0 { 0.0 } else { 30.0 + at / 20.0 };
        let found = (0..50).filter(|seed| {
            let found = drift(&noisy(*seed, 200, 0.5, leaks), 0.05).unwrap();
            assert_eq!(found.step_at_ms, Some(40 * MINUTE_MS), "seed {seed}: {found:?}");
            assert!(found.per_hour_interval.low > 1.0, "seed {seed}: {found:?}");
            found.per_hour_interval.has(3.0)
        });
        assert!(found.count() >= 45);
    }

    #[test]
    fn the_lower_envelope_shows_what_the_saw_hides() {
        let mut chance = Chance::new(3);
        // Collected every 17 minutes; 1 an hour leaks, under teeth of 60.
        let tooth = |at: u64| 60.0 * (at % 17) as f64 / 17.0 + at as f64 / 60.0;
        let saw = points((0..600).map(|at| 100.0 + tooth(at) + normal(&mut chance)));
        let hidden = drift(&saw, 0.05).unwrap();
        assert!(hidden.per_hour_interval.has(0.0), "{hidden:?}");
        let envelope = lower_envelope(&saw, 20 * MINUTE_MS);
        assert_eq!(envelope.len(), 30);
        let shown = drift(&envelope, 0.05).unwrap();
        let interval = shown.per_hour_interval;
        assert!(interval.low > 0.5 && interval.has(1.0) && interval.high < 1.5, "{shown:?}");
        assert_eq!(lower_envelope(&[], 5), []);
        assert_eq!(lower_envelope(&saw, 0).len(), saw.len());
    }

    #[test]
    fn odd_series_have_a_slope_or_a_named_refusal() {
        let level = |value: f64| points([value; 30]);
        let none = Interval { low: 0.0, high: 0.0 };
        for value in [0.0, -1.0, 1.0, 1e289, 5e-324] {
            let found = drift(&level(value), 0.05).unwrap();
            assert_eq!((found.per_hour, found.per_hour_interval), (0.0, none), "{value}");
            assert_eq!(found.relative_per_hour.is_some(), value > 0.0);
        }
        let what = || "points of a series".into();
        let count =
            |there| Refusal::Count { what: what(), there, least: POINTS_MIN, most: POINTS_MAX };
        let mut backwards = level(1.0);
        backwards.reverse();
        let cases = [
            (Vec::new(), 0.05, count(0)),
            (points([1.0; POINTS_MAX + 1]), 0.05, count(POINTS_MAX + 1)),
            (level(f64::NAN), 0.05, Refusal::NotFinite("series".into())),
            (level(f64::INFINITY), 0.05, Refusal::NotFinite("series".into())),
            (backwards, 0.05, Refusal::TimesOrder),
            (level(1.0), 0.0, Refusal::Alpha),
            (level(1.0), f64::NAN, Refusal::Alpha),
        ];
        for (series, alpha, expected) in cases {
            assert_eq!(drift(&series, alpha), Err(expected));
        }
        // Any mixture of the smallest and the largest ends without a panic.
        let mixed = points((0..60).map(|at| [9e289, -9e289, 5e-324, 0.0][at * at % 4]));
        assert!(drift(&mixed, 0.05).is_ok());
    }
}

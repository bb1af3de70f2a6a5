//! What holds for whole comparisons.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::chance::Chance;
use super::design::{Design, Direction, Reading, Refusal, Scale, Trial, Visitor};
use super::drift::{Point, drift};
use super::false_alarms::Tally;
use super::interval::Interval;
use super::pairs::Pairs;
use super::sequential::Looks;
use super::steady::course;
use super::verdict::{Lack, OverallVerdict, Verdict};
use super::whole::Look;
use super::{Against, Comparison, compare};

mod truth;
pub(super) mod world;

pub(super) fn design() -> Design {
    world::design(1, Looks::once(0.05, 20))
}

/// What the comparison says of each metric of the only candidate.
fn verdicts(comparison: &Comparison) -> BTreeMap<&str, Verdict> {
    let findings = comparison.against.iter().flat_map(|against| &against.findings);
    findings.map(|finding| (&*finding.metric.name, finding.verdict)).collect()
}

#[test]
fn a_whole_comparison_says_what_was_planted_and_survives_json() {
    let design = design();
    let planted = [("latency_p50_ns", 0.9), ("latency_p999_to_p50", 0.6)];
    let comparison = compare(&design, &world::run(&design, 20, 3, &planted)).unwrap();
    let found = verdicts(&comparison);
    assert_eq!(found["latency_p50_ns"], Verdict::Better);
    assert_eq!(found["latency_p999_to_p50"], Verdict::Better);
    assert_eq!(found["memory_bytes"], Verdict::Same);
    let Against { findings, overall, .. } = &comparison.against[0];
    assert_eq!(overall.verdict, OverallVerdict::Better);
    assert_eq!(overall.better_in, ["latency_p50_ns", "latency_p999_to_p50"]);
    let effect = findings[0].effect.unwrap();
    assert!((effect.change + 0.1).abs() < 0.03 && effect.interval.has(-0.1), "{effect:?}");
    assert_eq!((comparison.blocks_n, findings[0].left_out_n), (20, 0));
    assert_eq!(comparison.twin.seen, Tally { n: 0, of: 1 });
    let redrawn = comparison.twin.redrawn;
    assert!(redrawn.of == 1000 && redrawn.share() <= 0.05, "{redrawn:?}");

    let text = serde_json::to_string(&comparison).unwrap();
    let read: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!((&read.design, verdicts(&read)), (&design, found));
    let p_holm = |comparison: &Comparison| comparison.against[0].findings[0].effect.unwrap().p_holm;
    assert!((p_holm(&read) - p_holm(&comparison)).abs() < 1e-15);
}

#[test]
fn a_metric_in_which_the_baseline_differs_from_itself_decides_nothing() {
    let design = design();
    let mut trials = world::run(&design, 20, 3, &[("latency_p50_ns", 1.2)]);
    let verdict = |trials: &[Trial]| verdicts(&compare(&design, trials).unwrap())["latency_p50_ns"];
    assert_eq!(verdict(&trials), Verdict::Worse);
    for trial in trials.iter_mut().filter(|trial| trial.visitor.is_twin) {
        trial.readings[0].values.iter_mut().for_each(|value| *value *= 1.2);
    }
    let because = Lack::TwinDiffers;
    assert_eq!(verdict(&trials), Verdict::NotEnoughData { because, further_blocks: None });
    assert_eq!(compare(&design, &trials).unwrap().twin.seen, Tally { n: 1, of: 1 });
    // Nor does one for which there is no twin.
    trials.retain(|trial| !trial.visitor.is_twin);
    let because = Lack::FewTwins;
    assert_eq!(verdict(&trials), Verdict::NotEnoughData { because, further_blocks: Some(9) });
    assert_eq!(compare(&design, &trials).unwrap().twin.redrawn, Tally::default());
}

#[test]
fn a_run_ends_when_all_is_decided_or_no_look_is_left() {
    let looks = Looks::thrice(0.05, 20, world::METRICS.len());
    let mut design = world::design(1, looks);
    let trials = world::run(&design, 20, 5, &[]);
    let up_to = |blocks_n: u32| -> Vec<Trial> {
        trials.iter().filter(|trial| trial.block < blocks_n).cloned().collect()
    };
    let next = |design: &Design, blocks_n| compare(design, &up_to(blocks_n)).unwrap().next_look;
    assert_eq!(next(&design, 12), Some(16));
    assert_eq!(next(&design, 20), None);
    let refused = compare(&design, &up_to(13));
    assert_eq!(refused, Err(Refusal::NotALook { blocks_n: 13 }));
    // So wide that all is the same at once.
    design.metrics.iter_mut().for_each(|metric| metric.margin = 5.0);
    assert_eq!(next(&design, 12), None);
}

#[test]
fn several_candidates_are_judged_apart_and_adjusted_together() {
    let mut design = design();
    let mut trials = world::run(&design, 20, 3, &[("latency_p50_ns", 1.06)]);
    let p_holm = |comparison: &Comparison| comparison.against[0].findings[0].effect.unwrap().p_holm;
    let alone = compare(&design, &trials).unwrap();
    design.candidates.push("container".into());
    let others: Vec<Trial> = trials.iter().filter(|trial| trial.visitor.is_twin).cloned().collect();
    trials.extend(
        others.into_iter().map(|trial| Trial { visitor: Visitor::of("container"), ..trial }),
    );
    let beside = compare(&design, &trials).unwrap();
    assert_eq!(beside.against.len(), 2);
    assert_eq!(beside.against[1].environment, "container");
    assert!(p_holm(&beside) > p_holm(&alone));
    let own = |comparison: &Comparison| comparison.against[0].findings[0].effect.unwrap().interval;
    assert_eq!(own(&beside), own(&alone));
}

#[test]
fn what_cannot_be_judged_is_refused_or_lacks_data() {
    let fit = design();
    let trials = world::run(&fit, 20, 3, &[]);
    let with = |change: fn(&mut Design)| {
        let mut design = fit.clone();
        change(&mut design);
        compare(&design, &trials).unwrap_err()
    };
    let unknown = |what: &str| Refusal::Unknown(what.into());
    assert_eq!(
        with(|design| design.metrics[0].margin = -0.1),
        Refusal::Margin("latency_p50_ns".into())
    );
    assert_eq!(
        with(|design| design.metrics[0].margin = f64::NAN),
        Refusal::Margin("latency_p50_ns".into())
    );
    assert_eq!(with(|design| design.looks.alpha = 1.0), Refusal::Alpha);
    assert_eq!(with(|design| design.looks.at_blocks.clear()), Refusal::LooksOrder);
    assert_eq!(
        with(|design| drop(design.metrics.pop())),
        unknown("metric `memory_percent_per_hour`")
    );
    assert_eq!(with(|design| design.candidates[0] = "vn".into()), unknown("environment `vm`"));
    let twice = Refusal::Twice("environment `bare`".into());
    assert_eq!(with(|design| design.candidates.push("bare".into())), twice);
    assert_eq!(
        with(|design| design.metrics.clear()),
        Refusal::Count { what: "metrics".into(), there: 0, least: 1, most: 64 }
    );
    assert_eq!(compare(&fit, &[]), Err(Refusal::NotALook { blocks_n: 0 }));

    // Trials in which nothing could be read leave too few pairs.
    for kept in [0, 1, 5] {
        let mut trials = trials.clone();
        trials
            .iter_mut()
            .filter(|trial| trial.block >= kept)
            .for_each(|trial| trial.readings.clear());
        let comparison = compare(&fit, &trials).unwrap();
        let finding = &comparison.against[0].findings[0];
        // Among 7 metrics 2 / 2^9 is the first below 0.05 / 7.
        let further_blocks = Some(9 - kept);
        let lacks = Verdict::NotEnoughData { because: Lack::FewBlocks, further_blocks };
        assert_eq!((finding.verdict, finding.left_out_n), (lacks, 20 - kept));
        assert_eq!(finding.effect.is_some(), kept >= 2);
    }
}

#[test]
fn equal_values_are_the_same() {
    let design = design();
    let mut trials = world::run(&design, 20, 3, &[]);
    let values = trials.iter_mut().flat_map(|trial| &mut trial.readings);
    values.for_each(|Reading { values, .. }| *values = [7.0].into());
    let comparison = compare(&design, &trials).unwrap();
    assert!(verdicts(&comparison).values().all(|verdict| *verdict == Verdict::Same));
    assert_eq!(comparison.against[0].overall.verdict, OverallVerdict::Same);
    assert_eq!(comparison.twin.redrawn.n, 0);
}

/// Which way round every difference is called.
fn turned(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Better => Verdict::Worse,
        Verdict::Worse => Verdict::Better,
        Verdict::Same | Verdict::NotEnoughData { .. } => verdict,
    }
}

fn planted() -> impl Strategy<Value = (u64, [(&'static str, f64); 3])> {
    let factor = || 0.8..1.25_f64;
    (any::<u64>(), factor(), factor(), factor()).prop_map(|(seed, one, two, three)| {
        (seed, [("latency_p50_ns", one), ("recovery_ns", two), ("memory_bytes", three)])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn environments_that_change_places_change_better_for_worse((seed, planted) in planted()) {
        let design = design();
        let trials = world::run(&design, 20, seed, &planted);
        let look = Look { level: 0.05, blocks_n: 20, resamples_n: 500, seed };
        let verdicts = |old: &str, new: &str| -> Vec<Verdict> {
            let (old, new) = (Visitor::of(old), Visitor::of(new));
            let pairs = |metric| (metric, Pairs::new(&trials, metric, &old, &new).unwrap());
            let hypotheses: Vec<_> = design.metrics.iter().map(pairs).collect();
            look.findings(&hypotheses, 1).iter().map(|finding| finding.verdict).collect()
        };
        let before: Vec<Verdict> = verdicts("bare", "vm").into_iter().map(turned).collect();
        prop_assert_eq!(verdicts("vm", "bare"), before);
    }

    #[test]
    fn another_unit_changes_no_verdict((seed, planted) in planted(), scale in 1e-6..1e6_f64) {
        let design = design();
        let mut trials = world::run(&design, 20, seed, &planted);
        let before = compare(&design, &trials).unwrap();
        let is_ratio = |name: &str| {
            design.metrics.iter().any(|metric| metric.name == name && metric.scale == Scale::Ratio)
        };
        for reading in trials.iter_mut().flat_map(|trial| &mut trial.readings) {
            if is_ratio(&reading.metric) {
                reading.values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        let after = compare(&design, &trials).unwrap();
        prop_assert_eq!(verdicts(&after), verdicts(&before));
    }

    #[test]
    fn the_order_of_blocks_changes_nothing((seed, planted) in planted()) {
        let design = design();
        let mut trials = world::run(&design, 20, seed, &planted);
        let before = compare(&design, &trials).unwrap();
        let mut chance = Chance::new(seed);
        chance.shuffle(&mut trials);
        let mut numbers: Vec<u32> = (0..20).collect();
        prop_assert_eq!(&compare(&design, &trials).unwrap(), &before);
        chance.shuffle(&mut numbers);
        trials.iter_mut().for_each(|trial| trial.block = numbers[trial.block as usize]);
        // What is drawn for the twin depends on the numbers, and is chance.
        prop_assert_eq!(compare(&design, &trials).unwrap().against, before.against);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn no_input_makes_a_panic(
        values in proptest::collection::vec(any::<f64>(), 36..120),
        margin in any::<f64>(),
        alpha in 0.0..0.1_f64,
    ) {
        let blocks_n = values.len().div_ceil(2).div_ceil(3) as u32;
        let mut design = world::design(1, Looks::once(alpha, blocks_n));
        design.metrics.truncate(1);
        design.metrics[0].margin = margin.abs();
        design.metrics[0].better = Direction::Higher;
        let visitors = [Visitor::of("bare"), Visitor::twin_of("bare"), Visitor::of("vm")];
        let trial = |at: usize, values: &[f64]| Trial {
            block: at as u32 / 3,
            visitor: visitors[at % 3].clone(),
            readings: [Reading { metric: "latency_p50_ns".into(), values: values.to_vec() }].into(),
        };
        for scale in [Scale::Ratio, Scale::Difference] {
            design.metrics[0].scale = scale;
            let sane = |value: &f64| match scale {
                Scale::Ratio => value.abs().clamp(1e-300, 1e300),
                Scale::Difference => value.clamp(-1e300, 1e300),
            };
            let fit: Vec<f64> = values.iter().map(sane).collect();
            for values in [&values, &fit] {
                let trials: Vec<Trial> =
                    values.chunks(2).enumerate().map(|(at, values)| trial(at, values)).collect();
                if let Ok(comparison) = compare(&design, &trials) {
                    let effect = comparison.against[0].findings[0].effect.unwrap();
                    prop_assert!(effect.change.is_finite() && effect.interval.low.is_finite());
                    prop_assert!(effect.interval.high.is_finite());
                }
            }
        }
    }
    #[test]
    fn any_series_has_a_course_and_a_slope_or_is_refused(
        values in proptest::collection::vec(any::<f64>(), 20..80),
        kind in 0..3_usize,
    ) {
        let values: Vec<f64> = values
            .into_iter()
            .map(|value| [value, value.clamp(-1e289, 1e289), value % 8.0][kind])
            .collect();
        if let Ok(course) = course(&values, 0.01) {
            prop_assert!(course.stretches.iter().all(|stretch| stretch.level.is_finite()));
        }
        let points: Vec<Point> =
            (0..).zip(values).map(|(at, value)| Point { at_ms: at * at + at, value }).collect();
        if let Ok(drift) = drift(&points, 0.05) {
            let Interval { low, high } = drift.per_hour_interval;
            prop_assert!(low <= drift.per_hour && drift.per_hour <= high);
            prop_assert!(low.is_finite() && high.is_finite());
        }
    }
}

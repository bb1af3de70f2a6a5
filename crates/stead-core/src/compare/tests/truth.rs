//! What the method promises, held against worlds in which the truth is known. Each promise has a
//! control: the same without what keeps it.

extern crate std;

use alloc::vec::Vec;

use super::world::{self, run, without_margins};
use crate::compare::design::{Design, Metric, Trial, Visitor};
use crate::compare::false_alarms::Tally;
use crate::compare::math::{median, normal_cdf};
use crate::compare::order::order;
use crate::compare::pairs::Pairs;
use crate::compare::sequential::Looks;
use crate::compare::signed_rank::signed_rank_p;
use crate::compare::verdict::Verdict;
use crate::compare::whole::Look;

const BLOCKS_N: u32 = 20;
const RUNS_N: u64 = 1000;

#[expect(clippy::print_stdout, reason = "a measured share is told with its interval")]
fn told(what: &str, tally: Tally) -> f64 {
    let interval = tally.wilson(0.05).unwrap();
    let percent = |share: f64| 100.0 * share;
    std::println!(
        "{what}: {} of {}, {:.1} % ({:.1} to {:.1} %)",
        tally.n,
        tally.of,
        percent(tally.share()),
        percent(interval.low),
        percent(interval.high)
    );
    tally.share()
}

fn hypotheses<'a>(design: &'a Design, trials: &[Trial]) -> Vec<(&'a Metric, Pairs)> {
    let (old, new) = (Visitor::of("bare"), Visitor::of("vm"));
    let pairs = |metric| (metric, Pairs::new(trials, metric, &old, &new).unwrap());
    design.metrics.iter().map(pairs).collect()
}

/// Which metrics are called different at the look after `blocks_n`, at `level`.
fn different(design: &Design, trials: &[Trial], blocks_n: u32, level: f64) -> Vec<bool> {
    let seen: Vec<Trial> = trials.iter().filter(|trial| trial.block < blocks_n).cloned().collect();
    // Fewer than in earnest, for time; it is the exact test that most is found by.
    let look = Look { level, blocks_n, resamples_n: 500, seed: design.seed };
    look.different(&hypotheses(design, &seen), 1)
}

/// Over many runs of equal environments, how often `is_alarm`.
fn alarms(design: &Design, is_alarm: impl Fn(&Design, &[Trial]) -> bool) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..RUNS_N {
        let design = Design { seed, ..design.clone() };
        tally.add(is_alarm(&design, &run(&design, BLOCKS_N, seed, &[])));
    }
    tally
}

fn any_at_the_end(design: &Design, trials: &[Trial]) -> bool {
    different(design, trials, BLOCKS_N, design.looks.alpha).contains(&true)
}

#[test]
fn equal_environments_are_called_different_in_one_of_twenty_comparisons_at_most() {
    let design = world::design(1, Looks::once(0.05, BLOCKS_N));
    let share = told("false alarms, with margins", alarms(&design, any_at_the_end));
    assert!(share <= 0.05, "{share}");
    let design = without_margins(design);
    let share = told("false alarms, any difference counts", alarms(&design, any_at_the_end));
    assert!(share <= 0.05, "{share}");
}

#[test]
fn without_holm_one_of_many_metrics_is_often_called_different() {
    let design = without_margins(world::design(1, Looks::once(0.05, BLOCKS_N)));
    let without_holm = |design: &Design, trials: &[Trial]| {
        hypotheses(design, trials)
            .iter()
            .any(|(_, pairs)| signed_rank_p(&pairs.differences()) <= 0.05)
    };
    let share = told("control: false alarms without Holm", alarms(&design, without_holm));
    assert!(share > 0.2, "{share}");
}

#[test]
fn looks_that_share_the_level_make_no_more_false_alarms_and_others_do() {
    let looks = Looks::thrice(0.05, BLOCKS_N, world::METRICS.len());
    assert_eq!(looks.at_blocks, [12, 16, 20]);
    let design = without_margins(world::design(1, looks));
    let at_any_look = |design: &Design, trials: &[Trial]| {
        design.looks.at_blocks.iter().any(|at| {
            let level = design.looks.level_at(*at).unwrap();
            different(design, trials, *at, level).contains(&true)
        })
    };
    let share = told("false alarms with three looks", alarms(&design, at_any_look));
    assert!(share <= 0.05, "{share}");

    // The control: a look after each block, at the whole level.
    let at_every_block = |design: &Design, trials: &[Trial]| {
        (9..=BLOCKS_N).any(|at| different(design, trials, at, 0.05).contains(&true))
    };
    let share = told("control: false alarms of looks at will", alarms(&design, at_every_block));
    assert!(share > 0.08, "{share}");
}

/// How often the planted differences in latency and in memory are found.
fn found(looks: &Looks, is_found: impl Fn(&Design, &[Trial]) -> [bool; 2]) -> [Tally; 2] {
    let planted = [("latency_p50_ns", 1.05), ("memory_bytes", 1.10)];
    let mut tallies = [Tally::default(); 2];
    for seed in 0..400 {
        let design = world::design(seed, looks.clone());
        let found = is_found(&design, &run(&design, BLOCKS_N, seed, &planted));
        for (tally, found) in tallies.iter_mut().zip(found) {
            tally.add(found);
        }
    }
    tallies
}

const LATENCY: usize = 0;
const MEMORY: usize = 4;

#[test]
fn five_percent_of_latency_and_ten_of_memory_are_found_in_nine_of_ten_runs() {
    let planted = |design: &Design, trials: &[Trial]| {
        let found = different(design, trials, BLOCKS_N, 0.05);
        [found[LATENCY], found[MEMORY]]
    };
    let once = Looks::once(0.05, BLOCKS_N);
    let [latency, memory] = found(&once, planted);
    assert!(told("5 % of latency found", latency) >= 0.9);
    assert!(told("10 % of memory found", memory) >= 0.9);

    let at_any_look = |design: &Design, trials: &[Trial]| {
        let at = |at: &u32| different(design, trials, *at, design.looks.level_at(*at).unwrap());
        let looks: Vec<_> = design.looks.at_blocks.iter().map(at).collect();
        [LATENCY, MEMORY].map(|metric| looks.iter().any(|found| found[metric]))
    };
    let thrice = Looks::thrice(0.05, BLOCKS_N, world::METRICS.len());
    let [latency, memory] = found(&thrice, at_any_look);
    assert!(told("5 % of latency found with three looks", latency) >= 0.9);
    assert!(told("10 % of memory found with three looks", memory) >= 0.9);

    // The control: the same trials, not paired by their blocks.
    let [latency, memory] = found(&once, |_, trials| {
        ["latency_p50_ns", "memory_bytes"].map(|metric| {
            let [old, new] = ["bare", "vm"].map(|name| middles(trials, &Visitor::of(name), metric));
            t_test_p(&old, &new) <= 0.05
        })
    });
    assert!(told("control: 5 % of latency found without pairs", latency) < 0.5);
    assert!(told("control: 10 % of memory found without pairs", memory) < 0.8);
}

/// On a host that is slower for whoever comes first in a block.
fn alarms_of_the_first_place(order: fn(&Design) -> Vec<Vec<Visitor>>) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..300 {
        let design = without_margins(world::design(seed, Looks::once(0.05, BLOCKS_N)));
        let mut trials = world::run_in(order(&design), seed, &[]);
        let visitors_n = trials.len() / BLOCKS_N as usize;
        let firsts = trials.iter_mut().step_by(visitors_n).flat_map(|trial| &mut trial.readings);
        firsts.flat_map(|reading| &mut reading.values).for_each(|value| *value *= 1.1);
        tally.add(any_at_the_end(&design, &trials));
    }
    tally
}

#[test]
fn who_comes_first_is_chance_and_so_favors_nobody() {
    let random = alarms_of_the_first_place(|design| order(design, BLOCKS_N));
    assert!(told("false alarms where the first is slower", random) <= 0.05);
    // The control: always in the same order.
    let fixed = alarms_of_the_first_place(|_| {
        let block = [Visitor::of("bare"), Visitor::of("vm"), Visitor::twin_of("bare")];
        alloc::vec![block.to_vec(); BLOCKS_N as usize]
    });
    assert!(told("control: the same in a fixed order", fixed) > 0.5);
}

/// Of runs that lack data for a metric after 20 blocks, how many are decided with so many times as
/// many more as were asked for.
fn decided_with(times: f64) -> Tally {
    let mut design = world::design(1, Looks::once(0.05, BLOCKS_N));
    design.metrics.retain(|metric| metric.name == "latency_p99_ns");
    let mut tally = Tally::default();
    for seed in 0..60 {
        let verdict = |blocks_n: u32| {
            let trials = run(&design, blocks_n, seed, &[]);
            let look = Look { level: 0.05, blocks_n, resamples_n: 300, seed };
            look.findings(&hypotheses(&design, &trials), 1)[0].verdict
        };
        if let Verdict::NotEnoughData { further_blocks: Some(further), .. } = verdict(BLOCKS_N) {
            let further = libm::ceil(f64::from(further) * times) as u32;
            tally.add(verdict(BLOCKS_N + further).is_decided());
        }
    }
    tally
}

#[test]
fn as_many_further_blocks_as_were_asked_for_mostly_do() {
    let asked = decided_with(1.0);
    assert!(asked.of >= 20, "{asked:?}");
    assert!(told("decided with the blocks that were asked for", asked) >= 0.5);
    // The control: with a quarter of them.
    assert!(told("control: decided with a quarter of them", decided_with(0.25)) < 0.35);
}

#[test]
fn a_difference_as_large_as_the_margin_is_seldom_called_the_same() {
    let mut design = world::design(1, Looks::thrice(0.05, BLOCKS_N, 1));
    design.metrics.truncate(1);
    let planted = [("latency_p50_ns", 1.0 + design.metrics[0].margin)];
    let (mut same, mut not_shown) = (Tally::default(), Tally::default());
    for seed in 0..300 {
        let trials = run(&design, BLOCKS_N, seed, &planted);
        let is_same = |blocks_n: &u32| {
            let seen: Vec<Trial> =
                trials.iter().filter(|trial| trial.block < *blocks_n).cloned().collect();
            let level = design.looks.level_at(*blocks_n).unwrap();
            let look = Look { level, blocks_n: *blocks_n, resamples_n: 500, seed };
            look.findings(&hypotheses(&design, &seen), 1)[0].verdict == Verdict::Same
        };
        same.add(design.looks.at_blocks.iter().any(is_same));
        let all = hypotheses(&design, &trials);
        not_shown.add(signed_rank_p(&all[0].1.differences()) > 0.05);
    }
    assert!(told("called the same at the margin", same) <= 0.05);
    // The control: what is not shown to differ is taken for the same.
    assert!(told("control: not shown to differ at the margin", not_shown) > 0.2);
}

/// The usual way: first all of one, then all of the other, and a t-test over every value.
#[test]
fn one_after_the_other_and_a_t_test_of_all_values_calls_equals_different() {
    let design = world::design(1, Looks::once(0.05, BLOCKS_N));
    let usual = |_: &Design, trials: &[Trial]| {
        let of = |is_meant: fn(u32) -> bool| -> Vec<f64> {
            let trials = trials
                .iter()
                .filter(|trial| trial.visitor == Visitor::of("bare") && is_meant(trial.block));
            trials.flat_map(|trial| logs(trial, "latency_p50_ns")).collect()
        };
        t_test_p(&of(|block| block < BLOCKS_N / 2), &of(|block| block >= BLOCKS_N / 2)) <= 0.05
    };
    let share = told("control: false alarms of one metric, the usual way", alarms(&design, usual));
    assert!(share > 0.25, "{share}");
}

fn logs(trial: &Trial, metric: &str) -> Vec<f64> {
    let reading = trial.readings.iter().find(|reading| reading.metric == metric).unwrap();
    reading.values.iter().map(|value| libm::log(*value)).collect()
}

fn middles(trials: &[Trial], visitor: &Visitor, metric: &str) -> Vec<f64> {
    let own = trials.iter().filter(|trial| trial.visitor == *visitor);
    own.map(|trial| median(&logs(trial, metric)).unwrap()).collect()
}

/// Welch's, with a normal number for the t.
fn t_test_p(one: &[f64], other: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let of_mean = |values: &[f64]| {
        let middle = mean(values);
        let squares: f64 = values.iter().map(|value| (value - middle) * (value - middle)).sum();
        squares / (values.len() as f64 - 1.0) / values.len() as f64
    };
    let t = (mean(one) - mean(other)) / libm::sqrt(of_mean(one) + of_mean(other));
    2.0 * normal_cdf(-t.abs())
}

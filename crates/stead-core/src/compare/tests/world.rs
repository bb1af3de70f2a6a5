//! A world with known truth: services whose numbers are noisy as those of real hosts are.
//!
//! Log-normal trials; blocks that all environments have in common, and that move far more than
//! trials do; one trial in ten with three times the noise (heavy tails); and now and then a spike
//! upwards that no other trial shares.

use alloc::string::String;
use alloc::vec::Vec;

use crate::compare::chance::Chance;
use crate::compare::design::{Concern, Design, Direction, Metric, Reading, Scale, Trial, Visitor};
use crate::compare::order::order;
use crate::compare::sequential::Looks;

/// Name, concern, margin, standard deviation of a trial and of a stretch within it.
pub(in crate::compare) const METRICS: [(&str, Concern, f64, f64, f64); 7] = [
    ("latency_p50_ns", Concern::Mean, 0.02, 0.02, 0.015),
    ("latency_p99_ns", Concern::Spread, 0.05, 0.06, 0.04),
    ("latency_p999_to_p50", Concern::Spread, 0.10, 0.12, 0.10),
    ("recovery_ns", Concern::Spread, 0.10, 0.10, 0.0),
    ("memory_bytes", Concern::Mean, 0.05, 0.03, 0.01),
    ("cpu_milli", Concern::Mean, 0.05, 0.03, 0.02),
    (DRIFT, Concern::Drift, 0.5, 0.3, 0.0),
];

/// In percent of the level in an hour; may be below 0.
const DRIFT: &str = "memory_percent_per_hour";

const BLOCK_SD: f64 = 0.15;
const TAIL_SHARE: f64 = 0.1;
const TAIL_SD: f64 = 3.0;
const SPIKE_SHARE: f64 = 0.02;

/// So many standard deviations a spike is high on average.
const SPIKE_SD: f64 = 8.0;

pub(in crate::compare) const STRETCHES_N: usize = 5;

pub(in crate::compare) fn design(seed: u64, looks: Looks) -> Design {
    let metrics = METRICS.iter().map(|(name, concern, margin, ..)| Metric {
        name: (*name).into(),
        concern: *concern,
        better: Direction::Lower,
        scale: if *name == DRIFT { Scale::Difference } else { Scale::Ratio },
        margin: *margin,
    });
    Design {
        baseline: "bare".into(),
        candidates: [String::from("vm")].into(),
        metrics: metrics.collect(),
        looks,
        seed,
    }
}

/// Nothing is of no account: every false difference counts.
pub(in crate::compare) fn without_margins(mut design: Design) -> Design {
    for metric in &mut design.metrics {
        metric.margin = 0.0;
    }
    design
}

/// A run of `blocks_n` blocks in which `vm` has `factor` times the metrics named, and is otherwise
/// the same.
pub(in crate::compare) fn run(
    design: &Design,
    blocks_n: u32,
    seed: u64,
    planted: &[(&str, f64)],
) -> Vec<Trial> {
    run_in(order(design, blocks_n), seed, planted)
}

/// The same in an order of one's own. Trials come in that order.
pub(in crate::compare) fn run_in(
    blocks: Vec<Vec<Visitor>>,
    seed: u64,
    planted: &[(&str, f64)],
) -> Vec<Trial> {
    let mut chance = Chance::stream(seed, 77);
    let mut trials = Vec::new();
    for (block, visitors) in (0..).zip(blocks) {
        let shared: Vec<f64> = METRICS.iter().map(|_| BLOCK_SD * normal(&mut chance)).collect();
        for visitor in visitors {
            let readings = METRICS
                .iter()
                .zip(&shared)
                .map(|((name, _, _, sd, within_sd), shared)| {
                    let center = shared + sd * noise(&mut chance) + effect(&visitor, name, planted);
                    let stretches_n = if *within_sd > 0.0 { STRETCHES_N } else { 1 };
                    let mut stretch = || center + within_sd * noise(&mut chance);
                    let out = |log: f64| if *name == DRIFT { log } else { 1e6 * libm::exp(log) };
                    let values = (0..stretches_n).map(|_| out(stretch())).collect();
                    Reading { metric: (*name).into(), values }
                })
                .collect();
            trials.push(Trial { block, visitor, readings });
        }
    }
    trials
}

fn effect(visitor: &Visitor, name: &str, planted: &[(&str, f64)]) -> f64 {
    let factor = planted.iter().find(|(metric, _)| *metric == name).map_or(1.0, |(_, by)| *by);
    if visitor.environment == "vm" { libm::log(factor) } else { 0.0 }
}

pub(in crate::compare) fn normal(chance: &mut Chance) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - chance.unit()));
    radius * libm::cos(2.0 * core::f64::consts::PI * chance.unit())
}

/// Of about one standard deviation, with heavy tails and spikes.
pub(in crate::compare) fn noise(chance: &mut Chance) -> f64 {
    let spike =
        if chance.unit() < SPIKE_SHARE { -SPIKE_SD * libm::log(1.0 - chance.unit()) } else { 0.0 };
    let wide = if chance.unit() < TAIL_SHARE { TAIL_SD } else { 1.0 };
    spike + wide * normal(chance)
}

/// Numbers with noise of 1, each `r` times the one before and new noise.
pub(in crate::compare) fn correlated(seed: u64, n: usize, r: f64) -> Vec<f64> {
    let mut chance = Chance::stream(seed, 78);
    let mut value = 0.0;
    let mut next = || {
        value = r * value + normal(&mut chance);
        value
    };
    // What comes first has not yet the spread of the rest.
    (0..100).for_each(|_| _ = next());
    (0..n).map(|_| next()).collect()
}

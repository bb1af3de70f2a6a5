//! What is fixed before the first trial: environments, metrics, margins, looks and the seed.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sequential::Looks;

/// A comparison as it is stated before it is run. What is changed after a look at the data makes
/// every number of the result worthless, so a report prints this beside it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Design {
    /// What the others are held against, and what the A/A visit repeats.
    pub baseline: String,
    pub candidates: Vec<String>,
    pub metrics: Vec<Metric>,
    pub looks: Looks,
    /// Of every order and every resample.
    pub seed: u64,
}

/// One number per reading, and when a difference in it would matter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Metric {
    /// With its unit, such as `latency_p99_ns`.
    pub name: String,
    pub concern: Concern,
    pub better: Direction,
    pub scale: Scale,
    /// Differences up to this are of no account. In parts of the baseline's value by
    /// [`Scale::Ratio`] (0.03 is 3 %), in the metric's own unit by [`Scale::Difference`].
    pub margin: f64,
}

/// What a metric says of a service. Steadiness is the question, so it is asked first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Concern {
    /// How far apart its readings are: p99.9 against p50, the worst block, how long recovery takes.
    Spread,
    /// How fast it gets worse: slope of memory or latency over a soak.
    Drift,
    /// How much it takes on average.
    Mean,
}

impl Concern {
    pub(crate) fn is_steadiness(self) -> bool {
        match self {
            Self::Spread | Self::Drift => true,
            Self::Mean => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Lower,
    Higher,
}

/// How two values are held against each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// By their ratio; each must be above 0.
    Ratio,
    /// By their difference, for what may be 0 or below: a slope, a share of lost requests.
    Difference,
}

impl Scale {
    /// A value where ratios are differences.
    pub(crate) fn inward(self, value: f64) -> f64 {
        match self {
            Self::Ratio => libm::log(value),
            Self::Difference => value,
        }
    }

    /// What a difference there is in parts of the baseline (0.05 is 5 % more), or in the unit.
    pub(crate) fn outward(self, difference: f64) -> f64 {
        match self {
            Self::Ratio => libm::expm1(difference).min(f64::MAX),
            Self::Difference => difference,
        }
    }

    /// How far a difference may be from 0 in both directions. For ratios the same factor up and
    /// down, so that it does not matter which environment is called the baseline.
    pub(crate) fn margin_inward(self, margin: f64) -> f64 {
        match self {
            Self::Ratio => libm::log1p(margin),
            Self::Difference => margin,
        }
    }
}

/// One fresh start of the service in one environment. Everything that is measured while it lives
/// is one observation: requests of one start have the luck of that start in common.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Trial {
    pub block: u32,
    pub visitor: Visitor,
    pub readings: Vec<Reading>,
}

/// What comes by once in every block.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Visitor {
    pub environment: String,
    /// The baseline's second visit of the block, under another name: its A/A twin.
    pub is_twin: bool,
}

impl Visitor {
    pub fn of(environment: &str) -> Self {
        Self { environment: environment.to_string(), is_twin: false }
    }

    pub fn twin_of(environment: &str) -> Self {
        Self { environment: environment.to_string(), is_twin: true }
    }
}

/// One metric in one trial: one value, or one for each stretch of the trial after its warm-up.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reading {
    pub metric: String,
    pub values: Vec<f64>,
}

/// A resample takes time by the square of the blocks, and nobody has a month for more.
pub const BLOCKS_MAX: u32 = 200;

/// More stretches of one trial tell nothing new of it.
pub const VALUES_MAX: usize = 256;

/// So many numbers can be judged together before the exact test cannot reach its level.
pub const METRICS_MAX: usize = 64;

/// With fewer, the median of a pair's difference has no interval at 95 %.
pub const BLOCKS_MIN: u32 = 6;

/// Why numbers cannot be compared, and what to try.
#[derive(Clone, Debug, Deserialize, Error, PartialEq, Serialize)]
pub enum Refusal {
    #[error("{0} holds a number that is not finite: leave the reading out, and say why it failed")]
    NotFinite(String),
    #[error(
        "{0} is not above 0, so it has no ratio: compare it by `difference`, or leave it out if \
         nothing was measured"
    )]
    NotPositive(String),
    #[error("{0} has no value: leave the reading out")]
    NoValue(String),
    #[error("{0} is there more than once: number the blocks anew")]
    Twice(String),
    #[error("{what} are {there}, and {least} to {most} can be judged")]
    Count { what: String, there: usize, least: usize, most: usize },
    #[error("{0} is not in the design: add it before the run, or leave it out")]
    Unknown(String),
    #[error("margin of `{0}` is below 0 or not finite: state the least difference that matters")]
    Margin(String),
    #[error("alpha is not between 0 and 0.5: take 0.05")]
    Alpha,
    #[error("looks must rise, and end at {BLOCKS_MAX} blocks at most")]
    LooksOrder,
    #[error("{blocks_n} blocks are not one of the looks of the design: go on to the next look")]
    NotALook { blocks_n: u32 },
    #[error("times of a series do not rise: sort the points, and give one life of a process")]
    TimesOrder,
    #[error("{0} is not between 0 and 1")]
    NotAShare(String),
}

impl Design {
    /// Whether it can be run at all.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names what is wrong.
    pub fn check(&self) -> Result<(), Refusal> {
        let count = |what: &str, there: usize, most: usize| {
            let refusal = Refusal::Count { what: what.to_string(), there, least: 1, most };
            if (1..=most).contains(&there) { Ok(()) } else { Err(refusal) }
        };
        count("metrics", self.metrics.len(), METRICS_MAX)?;
        count("candidates", self.candidates.len(), METRICS_MAX)?;
        if let Some(name) = first_twice(self.metrics.iter().map(|metric| &*metric.name)) {
            return Err(Refusal::Twice(alloc::format!("metric `{name}`")));
        }
        let environments = self.candidates.iter().map(|name| &**name);
        if let Some(name) = first_twice(environments.chain([&*self.baseline])) {
            return Err(Refusal::Twice(alloc::format!("environment `{name}`")));
        }
        let is_margin = |margin: f64| margin.is_finite() && margin >= 0.0;
        if let Some(metric) = self.metrics.iter().find(|metric| !is_margin(metric.margin)) {
            return Err(Refusal::Margin(metric.name.clone()));
        }
        self.looks.check()
    }
}

fn first_twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

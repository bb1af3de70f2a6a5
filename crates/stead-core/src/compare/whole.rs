//! From trials to the whole result: every candidate, every metric, and the A/A twin beside them.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::design::{Design, Metric, Refusal, Trial, Visitor};
use super::false_alarms::Tally;
use super::holm;
use super::interval::{Interval, RESAMPLES, interval};
use super::pairs::{Pairs, hodges_lehmann};
use super::sequential::blocks_min;
use super::signed_rank::signed_rank_p;
use super::verdict::{Effect, Evidence, Finding, Lack, Overall, Verdict, judge, overall};

/// The result of a look.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    pub design: Design,
    pub blocks_n: u32,
    /// What this look may spend of the design's alpha. Intervals are wrong with this chance.
    pub level: f64,
    pub against: Vec<Against>,
    pub twin: Twin,
    /// Where to look next. `None` if the run is over: all is decided, or no look is left.
    pub next_look: Option<u32>,
}

/// One candidate against the baseline.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Against {
    pub environment: String,
    pub findings: Vec<Finding>,
    pub overall: Overall,
}

/// The baseline against itself: what the method makes of no difference, on these hosts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Twin {
    pub findings: Vec<Finding>,
    /// This comparison of the baseline with itself: one, and whether any metric was called
    /// different. Add it to those of earlier runs on the same hosts.
    pub seen: Tally,
    /// The same again with blocks drawn anew from this run and its two visits named by a coin:
    /// the share of false alarms of the method with the noise that was measured here. What the
    /// coin hides, a lasting difference between the two visits, is in `findings`.
    pub redrawn: Tally,
}

/// So often the A/A comparison is drawn anew: a share of 5 % is known to about 1.4 %.
const REDRAWN_N: u32 = 1000;

/// Intervals of a comparison that is drawn anew need not be as fine: the exact test has said by
/// then that there is a difference.
const REDRAWN_RESAMPLES: u32 = 400;

/// Judges what the trials tell. They may be in any order.
///
/// # Errors
///
/// A [`Refusal`]: the design cannot be run, the blocks are not those of a look, or a reading
/// cannot be compared.
pub fn compare(design: &Design, trials: &[Trial]) -> Result<Comparison, Refusal> {
    design.check()?;
    check_names(design, trials)?;
    let blocks: BTreeSet<u32> = trials.iter().map(|trial| trial.block).collect();
    let blocks_n = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
    let level = design.looks.level_at(blocks_n).ok_or(Refusal::NotALook { blocks_n })?;
    let look = Look { level, blocks_n, resamples_n: RESAMPLES, seed: design.seed };

    let baseline = Visitor::of(&design.baseline);
    let pairs_with = |visitor: &Visitor| -> Result<Vec<(&Metric, Pairs)>, Refusal> {
        let pairs = |metric| Ok((metric, Pairs::new(trials, metric, &baseline, visitor)?));
        design.metrics.iter().map(pairs).collect()
    };
    let twins = pairs_with(&Visitor::twin_of(&design.baseline))?;
    let twin = look.twin(&twins, &blocks.into_iter().collect::<Vec<_>>());

    let mut hypotheses = Vec::new();
    for candidate in &design.candidates {
        hypotheses.extend(pairs_with(&Visitor::of(candidate))?);
    }
    let mut findings = look.findings(&hypotheses, 1).into_iter();
    let against: Vec<Against> = design
        .candidates
        .iter()
        .map(|environment| {
            let with_twin = findings.by_ref().take(design.metrics.len()).zip(&twin.findings);
            let findings: Vec<_> = with_twin.map(|(own, twin)| distrust(own, twin)).collect();
            let overall = overall(&findings);
            Against { environment: environment.clone(), findings, overall }
        })
        .collect();
    let mut all = against.iter().flat_map(|against| &against.findings);
    let is_decided = all.all(|finding| finding.verdict.is_decided());
    let next_look = if is_decided { None } else { design.looks.next_after(blocks_n) };
    Ok(Comparison { design: design.clone(), blocks_n, level, against, twin, next_look })
}

fn check_names(design: &Design, trials: &[Trial]) -> Result<(), Refusal> {
    for Trial { visitor, readings, .. } in trials {
        let environment = &visitor.environment;
        let is_known = *environment == design.baseline
            || !visitor.is_twin && design.candidates.contains(environment);
        if !is_known {
            return Err(Refusal::Unknown(format!("environment `{environment}`")));
        }
        let is_known = |name: &str| design.metrics.iter().any(|metric| metric.name == name);
        if let Some(reading) = readings.iter().find(|reading| !is_known(&reading.metric)) {
            return Err(Refusal::Unknown(format!("metric `{}`", reading.metric)));
        }
    }
    Ok(())
}

/// A metric in which the baseline differs from itself, or was not held against itself, decides
/// nothing.
fn distrust(own: Finding, twin: &Finding) -> Finding {
    let (because, further_blocks) = match twin.verdict {
        Verdict::Better | Verdict::Worse => (Lack::TwinDiffers, None),
        Verdict::NotEnoughData { because: Lack::FewBlocks, further_blocks } => {
            (Lack::FewTwins, further_blocks)
        }
        Verdict::Same | Verdict::NotEnoughData { .. } => return own,
    };
    if !own.verdict.is_decided() {
        return own;
    }
    Finding { verdict: Verdict::NotEnoughData { because, further_blocks }, ..own }
}

/// What all metrics of a look have in common.
pub(super) struct Look {
    pub(super) level: f64,
    pub(super) blocks_n: u32,
    pub(super) resamples_n: u32,
    pub(super) seed: u64,
}

impl Look {
    /// Judges hypotheses together. `family` keeps what is drawn for one set apart from another.
    pub(super) fn findings(&self, hypotheses: &[(&Metric, Pairs)], family: u64) -> Vec<Finding> {
        let ps: Vec<f64> =
            hypotheses.iter().map(|(_, pairs)| signed_rank_p(&pairs.differences())).collect();
        let adjusted = holm::adjust(&ps);
        let finding = |(at, (metric, pairs)): (usize, &(&Metric, Pairs))| {
            let seed = self.seed_of(family, at);
            let blocks_n = pairs.len() as u32;
            let evidence = self.evidence(metric, pairs, adjusted[at], hypotheses.len(), seed);
            let outward = |difference: f64| metric.scale.outward(difference);
            let effect = evidence.map(|Evidence { estimate, interval, p: p_holm, .. }| {
                let Interval { low, high } = interval;
                let interval = Interval { low: outward(low), high: outward(high) };
                Effect { change: outward(estimate), interval, p: ps[at], p_holm }
            });
            let too_few = || Verdict::NotEnoughData {
                because: Lack::FewBlocks,
                further_blocks: Some(blocks_min(self.level, hypotheses.len()) - blocks_n),
            };
            Finding {
                metric: (*metric).clone(),
                blocks_n,
                left_out_n: self.blocks_n.saturating_sub(blocks_n),
                effect,
                verdict: evidence.map_or_else(too_few, |known| judge(&known, metric.better)),
            }
        };
        hypotheses.iter().enumerate().map(finding).collect()
    }

    fn seed_of(&self, family: u64, at: usize) -> u64 {
        Chance::stream(self.seed, family << 32 | at as u64).next_u64()
    }

    fn evidence(
        &self,
        metric: &Metric,
        pairs: &Pairs,
        p: f64,
        hypotheses_n: usize,
        seed: u64,
    ) -> Option<Evidence> {
        Some(Evidence {
            blocks_n: pairs.len() as u32,
            blocks_min: blocks_min(self.level, hypotheses_n),
            estimate: hodges_lehmann(&pairs.differences())?,
            interval: interval(pairs, self.level, self.resamples_n, seed)?,
            margin: metric.scale.margin_inward(metric.margin),
            p,
            level: self.level,
            hypotheses_n,
        })
    }

    /// Which hypotheses are called different. As [`Look::findings`] says it, but intervals, which
    /// take long, are made only where all else says so.
    pub(super) fn different(&self, hypotheses: &[(&Metric, Pairs)], family: u64) -> Vec<bool> {
        let p = |(_, pairs): &(&Metric, Pairs)| signed_rank_p(&pairs.differences());
        let adjusted = holm::adjust(&hypotheses.iter().map(p).collect::<Vec<_>>());
        let is_different = |(at, ((metric, pairs), p)): (usize, (&(&Metric, Pairs), f64))| {
            let evidence = || {
                self.evidence(metric, pairs, p, hypotheses.len(), self.seed_of(family, at))
                    .is_some_and(|evidence| judge(&evidence, metric.better).is_different())
            };
            p <= self.level && evidence()
        };
        hypotheses.iter().zip(adjusted).enumerate().map(is_different).collect()
    }

    fn twin(&self, twins: &[(&Metric, Pairs)], blocks: &[u32]) -> Twin {
        let findings = self.findings(twins, 2);
        let mut seen = Tally::default();
        seen.add(findings.iter().any(|finding| finding.verdict.is_different()));
        let rough = Self { resamples_n: REDRAWN_RESAMPLES, ..*self };
        let mut chance = Chance::stream(self.seed, u64::MAX - 1);
        let mut redrawn = Tally::default();
        // Without twins nothing was tried, which is not the same as nothing found.
        let rounds_n = if twins.iter().any(|(_, pairs)| pairs.len() > 1) { REDRAWN_N } else { 0 };
        for at in 0..rounds_n {
            let mut draw = || (blocks[chance.below(blocks.len())], chance.is_heads());
            let drawn: Vec<(u32, bool)> = blocks.iter().map(|_| draw()).collect();
            let again: Vec<_> =
                twins.iter().map(|(metric, pairs)| (*metric, pairs.redrawn(&drawn))).collect();
            redrawn.add(rough.different(&again, 3 + u64::from(at)).contains(&true));
        }
        Twin { findings, seen, redrawn }
    }
}

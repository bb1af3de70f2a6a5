//! What the numbers say: of one metric, and of all.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::design::{BLOCKS_MAX, Direction, Metric};
use super::interval::Interval;
use super::math::normal_quantile;

/// Of the candidate, against the baseline.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Better,
    Worse,
    /// The whole interval is within the margin: shown to be alike, not merely not shown to differ.
    Same,
    NotEnoughData {
        because: Lack,
        /// How many more blocks would do if the estimate and the noise stay as they are. `None` if
        /// none within [`BLOCKS_MAX`] would: the estimate is too near to the margin, or the noise
        /// too large for it.
        further_blocks: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// So few that nothing could be found.
    FewBlocks,
    /// The interval holds differences that matter and ones that do not.
    WideInterval,
    /// The baseline differs from itself in this metric, so other differences mean nothing.
    TwinDiffers,
    /// The baseline was not held against itself often enough for that to be seen.
    FewTwins,
}

impl Verdict {
    pub fn is_different(self) -> bool {
        match self {
            Self::Better | Self::Worse => true,
            Self::Same | Self::NotEnoughData { .. } => false,
        }
    }

    pub fn is_decided(self) -> bool {
        self.is_different() || self == Self::Same
    }
}

/// What is known of one metric; differences are inward (logarithms for ratios).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) blocks_n: u32,
    pub(crate) blocks_min: u32,
    pub(crate) estimate: f64,
    pub(crate) interval: Interval,
    pub(crate) margin: f64,
    /// Adjusted for all hypotheses.
    pub(crate) p: f64,
    pub(crate) level: f64,
    pub(crate) hypotheses_n: usize,
}

/// The margin rule: *same* if the whole interval is within the margin, even if it leaves 0 out;
/// *different* if the exact test and the interval both leave 0 out and the estimate reaches the
/// margin. So a difference below the margin is never called one, and with enough blocks every
/// difference falls on the right side of the margin.
pub(crate) fn judge(evidence: &Evidence, better: Direction) -> Verdict {
    let Evidence { blocks_n, blocks_min, estimate, interval, margin, p, level, .. } = *evidence;
    if blocks_n < blocks_min {
        let further_blocks = Some(blocks_min - blocks_n);
        return Verdict::NotEnoughData { because: Lack::FewBlocks, further_blocks };
    }
    if interval.is_within(margin) {
        return Verdict::Same;
    }
    if p <= level && !interval.has(0.0) && estimate.abs() >= margin {
        return match (better, estimate < 0.0) {
            (Direction::Lower, true) | (Direction::Higher, false) => Verdict::Better,
            (Direction::Lower, false) | (Direction::Higher, true) => Verdict::Worse,
        };
    }
    let further_blocks = further_blocks(evidence);
    Verdict::NotEnoughData { because: Lack::WideInterval, further_blocks }
}

/// An interval is as wide as one over the root of the number of blocks.
fn further_blocks(evidence: &Evidence) -> Option<u32> {
    let Evidence { blocks_n, estimate, interval, margin, level, hypotheses_n, .. } = *evidence;
    let wanted = if estimate.abs() < margin {
        margin - estimate.abs()
    } else {
        // Among many hypotheses an interval must leave 0 out by more.
        let z = |level: f64| -normal_quantile(level / 2.0);
        estimate.abs() * z(level) / z(level / hypotheses_n.max(1) as f64)
    };
    let ratio = interval.half_width() / wanted;
    let needed = f64::from(blocks_n) * ratio * ratio;
    if needed.is_nan() || needed > f64::from(BLOCKS_MAX) {
        return None;
    }
    // What rounding adds is no block.
    Some((libm::ceil(needed - 1e-9) as u32).saturating_sub(blocks_n).max(1))
}

/// One metric, for a report.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    pub metric: Metric,
    /// Blocks in which both environments have a reading of it.
    pub blocks_n: u32,
    /// Blocks in which one of them has none. A start that failed is no chance: compare failures as
    /// a metric of their own.
    pub left_out_n: u32,
    /// `None` with fewer than two blocks.
    pub effect: Option<Effect>,
    pub verdict: Verdict,
}

/// The candidate's difference, in parts of the baseline's value (0.05 is 5 % more) or in the
/// metric's unit, as its scale says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Effect {
    pub change: f64,
    pub interval: Interval,
    /// Of the exact signed-rank test.
    pub p: f64,
    /// Adjusted for all metrics and candidates.
    pub p_holm: f64,
}

/// All metrics of one candidate together.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Overall {
    pub verdict: OverallVerdict,
    pub better_in: Vec<String>,
    pub worse_in: Vec<String>,
    pub undecided_in: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverallVerdict {
    Better,
    Worse,
    /// In every metric.
    Same,
    /// Better in one metric and worse in another: nobody wins.
    Contradictory,
    NotEnoughData {
        further_blocks: Option<u32>,
    },
}

/// Steadiness first: a difference in spread or drift decides, one in means only where spread and
/// drift are the same. If any metric contradicts, nobody wins.
pub fn overall(findings: &[Finding]) -> Overall {
    let names = |is_meant: fn(Verdict) -> bool| -> Vec<String> {
        let meant = findings.iter().filter(|finding| is_meant(finding.verdict));
        meant.map(|finding| finding.metric.name.clone()).collect()
    };
    Overall {
        verdict: overall_verdict(findings),
        better_in: names(|verdict| verdict == Verdict::Better),
        worse_in: names(|verdict| verdict == Verdict::Worse),
        undecided_in: names(|verdict| !verdict.is_decided()),
    }
}

fn overall_verdict(findings: &[Finding]) -> OverallVerdict {
    let has = |verdict: Verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let steadiness = || findings.iter().filter(|finding| finding.metric.concern.is_steadiness());
    let is_steadiness_known = steadiness().all(|finding| finding.verdict.is_decided());
    let is_steadier_or_less = steadiness().any(|finding| finding.verdict.is_different());
    match (has(Verdict::Better), has(Verdict::Worse)) {
        (true, true) => OverallVerdict::Contradictory,
        (true, false) if is_steadier_or_less || is_steadiness_known => OverallVerdict::Better,
        (false, true) if is_steadier_or_less || is_steadiness_known => OverallVerdict::Worse,
        (true | false, false) | (false, true) => match still_needed(findings) {
            Some(further_blocks) => OverallVerdict::NotEnoughData { further_blocks },
            None => OverallVerdict::Same,
        },
    }
}

/// The most that an undecided metric needs; `None` if all are decided.
fn still_needed(findings: &[Finding]) -> Option<Option<u32>> {
    findings
        .iter()
        .filter_map(|finding| match finding.verdict {
            Verdict::NotEnoughData { further_blocks, .. } => Some(further_blocks),
            Verdict::Better | Verdict::Worse | Verdict::Same => None,
        })
        .reduce(|one, other| Some(one?.max(other?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::design::{Concern, Scale};

    const BETTER: Verdict = Verdict::Better;
    const WORSE: Verdict = Verdict::Worse;
    const SAME: Verdict = Verdict::Same;

    fn lacks(because: Lack, further_blocks: Option<u32>) -> Verdict {
        Verdict::NotEnoughData { because, further_blocks }
    }

    fn wide(further_blocks: u32) -> Verdict {
        lacks(Lack::WideInterval, Some(further_blocks))
    }

    #[test]
    fn each_verdict_follows_from_interval_margin_and_exact_test() {
        // Estimate, interval, adjusted p; the margin is 0.03, 20 blocks, one hypothesis.
        let cases = [
            ((-0.05, -0.08, -0.02, 0.01), BETTER),
            ((0.05, 0.02, 0.08, 0.01), WORSE),
            // The interval and the exact test must both say so.
            ((0.05, 0.02, 0.08, 0.06), wide(1)),
            ((0.05, -0.001, 0.101, 0.01), wide(1)),
            // 20 * (0.07 / 0.05)^2 = 39.2.
            ((0.05, -0.02, 0.12, 0.2), wide(20)),
            // Below the margin nothing is different, however sure it is.
            ((0.02, 0.01, 0.029, 0.001), SAME),
            ((0.0, -0.03, 0.03, 0.9), SAME),
            // 20 * (0.02 / (0.03 - 0.02))^2 = 80.
            ((0.02, 0.001, 0.041, 0.001), wide(60)),
            ((0.0, -0.06, 0.06, 0.9), wide(60)),
            // Too near to the margin, or too noisy.
            ((0.0299, 0.01, 0.05, 0.001), lacks(Lack::WideInterval, None)),
            ((0.0, -0.3, 0.3, 0.9), lacks(Lack::WideInterval, None)),
        ];
        for ((estimate, low, high, p), expected) in cases {
            let evidence = Evidence {
                blocks_n: 20,
                blocks_min: 6,
                estimate,
                interval: Interval { low, high },
                margin: 0.03,
                p,
                level: 0.05,
                hypotheses_n: 1,
            };
            assert_eq!(judge(&evidence, Direction::Lower), expected, "{evidence:?}");
            let turned = match expected {
                Verdict::Better => WORSE,
                Verdict::Worse => BETTER,
                Verdict::Same | Verdict::NotEnoughData { .. } => expected,
            };
            assert_eq!(judge(&evidence, Direction::Higher), turned, "{evidence:?}");
            let few = Evidence { blocks_n: 4, ..evidence };
            assert_eq!(judge(&few, Direction::Lower), lacks(Lack::FewBlocks, Some(2)));
            // Without a margin nothing is the same, and nothing divides by it.
            let strict = Evidence { margin: 0.0, ..evidence };
            assert_ne!(judge(&strict, Direction::Lower), SAME);
        }
    }

    #[test]
    fn among_many_hypotheses_more_blocks_are_asked_for() {
        let evidence = |hypotheses_n| Evidence {
            blocks_n: 20,
            blocks_min: 6,
            estimate: 0.05,
            interval: Interval { low: -0.01, high: 0.11 },
            margin: 0.03,
            p: 0.1,
            level: 0.05,
            hypotheses_n,
        };
        // 20 * (0.06 / 0.05)^2 = 28.8, and 1.81 times that for 0.05 / 6.
        assert_eq!(judge(&evidence(1), Direction::Lower), wide(9));
        assert_eq!(judge(&evidence(6), Direction::Lower), wide(33));
    }

    fn finding((concern, verdict): (Concern, Verdict)) -> Finding {
        let metric = Metric {
            name: alloc::format!("{concern:?}"),
            concern,
            better: Direction::Lower,
            scale: Scale::Ratio,
            margin: 0.03,
        };
        Finding { metric, blocks_n: 20, left_out_n: 0, effect: None, verdict }
    }

    #[test]
    fn steadiness_decides_first_and_a_contradiction_has_no_winner() {
        use Concern::{Drift, Mean, Spread};
        use OverallVerdict as All;
        let needs = |further_blocks| All::NotEnoughData { further_blocks };
        let cases: [(&[(Concern, Verdict)], OverallVerdict); 12] = [
            (&[(Spread, SAME), (Drift, SAME), (Mean, SAME)], All::Same),
            (&[(Spread, BETTER), (Drift, SAME), (Mean, SAME)], All::Better),
            (&[(Spread, SAME), (Drift, WORSE), (Mean, wide(4))], All::Worse),
            (&[(Spread, BETTER), (Drift, wide(9)), (Mean, BETTER)], All::Better),
            (&[(Spread, SAME), (Drift, SAME), (Mean, BETTER)], All::Better),
            (&[(Spread, SAME), (Drift, SAME), (Mean, BETTER), (Mean, wide(2))], All::Better),
            // A mean wins nothing while steadiness is open.
            (&[(Spread, wide(4)), (Drift, wide(9)), (Mean, BETTER)], needs(Some(9))),
            (&[(Spread, BETTER), (Drift, WORSE)], All::Contradictory),
            (&[(Spread, BETTER), (Mean, WORSE)], All::Contradictory),
            (&[(Mean, WORSE), (Mean, BETTER), (Spread, wide(3))], All::Contradictory),
            (
                &[(Spread, SAME), (Mean, lacks(Lack::WideInterval, None)), (Mean, wide(3))],
                needs(None),
            ),
            (&[(Spread, SAME), (Drift, wide(7))], needs(Some(7))),
        ];
        for (verdicts, expected) in cases {
            let findings: Vec<Finding> = verdicts.iter().copied().map(finding).collect();
            assert_eq!(overall(&findings).verdict, expected, "{verdicts:?}");
        }
    }

    #[test]
    fn the_overall_verdict_names_its_metrics() {
        use Concern::{Drift, Mean, Spread};
        let verdicts = [(Spread, BETTER), (Drift, WORSE), (Mean, wide(1))];
        let all = overall(&verdicts.map(finding));
        assert_eq!(all.better_in, ["Spread"]);
        assert_eq!(all.worse_in, ["Drift"]);
        assert_eq!(all.undecided_in, ["Mean"]);
    }
}

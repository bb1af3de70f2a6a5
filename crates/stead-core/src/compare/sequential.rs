//! When to look at the data and stop, without more false alarms for looking more often.
//!
//! Who tests at 5 % after every block and stops at the first difference is wrong far more often
//! than at 5 %. So looks are stated beforehand and share the level between them: up to the look at
//! a share t of the blocks, alpha t^4 is spent (the power family of Kim and DeMets 1987), and each
//! look tests at what its step adds. The chances of all looks together are then at most their
//! sum, alpha, with no assumption on how they hang together; the price is a little power. Intervals
//! of a look have its level too, so that a stop for *same* is no more often wrong either.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::design::{BLOCKS_MAX, BLOCKS_MIN, Refusal};

/// Numbers of blocks after which the data is looked at; the last one ends the run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Looks {
    /// The chance that is spent by all looks together: of any false "different".
    pub alpha: f64,
    pub at_blocks: Vec<u32>,
}

/// High, so that most of the level is left to the last look.
const POWER: i32 = 4;

impl Looks {
    /// One look, at the end.
    pub fn once(alpha: f64, blocks_n: u32) -> Self {
        Self { alpha, at_blocks: [blocks_n].into() }
    }

    /// The whole of a run of `blocks_n` and its last 4 and 8 tenths, as far as the first look can
    /// find anything among so many hypotheses.
    pub fn thrice(alpha: f64, blocks_n: u32, hypotheses_n: usize) -> Self {
        let early = [blocks_n * 3 / 5, blocks_n * 4 / 5];
        let spent = |blocks: u32| alpha * share(blocks, blocks_n);
        let is_of_use = |blocks: &u32| *blocks >= blocks_min(spent(*blocks), hypotheses_n);
        let early = early.into_iter().filter(is_of_use);
        Self { alpha, at_blocks: early.chain([blocks_n]).collect() }
    }

    /// Whether the looks can be kept.
    ///
    /// # Errors
    ///
    /// Levels outside 0 to 0.5, looks that do not rise, too few or too many blocks.
    pub fn check(&self) -> Result<(), Refusal> {
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            return Err(Refusal::Alpha);
        }
        let is_rising = self.at_blocks.windows(2).all(|pair| pair[0] < pair[1]);
        let is_in_range = |blocks: &u32| (BLOCKS_MIN..=BLOCKS_MAX).contains(blocks);
        if self.at_blocks.is_empty() || !is_rising || !self.at_blocks.iter().all(is_in_range) {
            return Err(Refusal::LooksOrder);
        }
        Ok(())
    }

    /// The level of the look after `blocks_n`. `None` if nobody may look then.
    pub fn level_at(&self, blocks_n: u32) -> Option<f64> {
        let at = self.at_blocks.iter().position(|look| *look == blocks_n)?;
        let last = *self.at_blocks.last()?;
        let before = at.checked_sub(1).map_or(0.0, |before| share(self.at_blocks[before], last));
        Some(self.alpha * (share(blocks_n, last) - before))
    }

    /// The first look after `blocks_n`, if there is one.
    pub fn next_after(&self, blocks_n: u32) -> Option<u32> {
        self.at_blocks.iter().copied().find(|look| *look > blocks_n)
    }
}

/// How much of the level is spent up to a look.
fn share(blocks: u32, last: u32) -> f64 {
    let part = f64::from(blocks) / f64::from(last);
    (0..POWER).fold(1.0, |power, _| power * part)
}

/// With fewer blocks not even differences that are all on one side are found at this level among
/// so many hypotheses.
pub fn blocks_min(level: f64, hypotheses_n: usize) -> u32 {
    let needed = level / hypotheses_n.max(1) as f64;
    (BLOCKS_MIN..BLOCKS_MAX)
        .find(|blocks| super::signed_rank::least_p(*blocks) <= needed)
        .unwrap_or(BLOCKS_MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn all_looks_together_spend_the_level_and_no_more() {
        for at_blocks in [vec![20], vec![12, 16, 20], vec![6, 7, 8, 9, 10, 40, 200]] {
            let looks = Looks { alpha: 0.05, at_blocks };
            let spent: f64 = looks.at_blocks.iter().filter_map(|at| looks.level_at(*at)).sum();
            assert!((spent - 0.05).abs() < 1e-12, "{looks:?}: {spent}");
        }
        let looks = Looks { alpha: 0.05, at_blocks: vec![10, 20] };
        // By hand: half of the blocks is a sixteenth of the level.
        assert_eq!(looks.level_at(10), Some(0.003_125));
        assert_eq!(looks.level_at(20), Some(0.05 * 0.9375));
        assert_eq!(looks.level_at(15), None);
        assert_eq!((looks.next_after(10), looks.next_after(20)), (Some(20), None));
    }

    #[test]
    fn looks_that_cannot_be_kept_are_refused() {
        let looks = |alpha: f64, at_blocks: &[u32]| Looks { alpha, at_blocks: at_blocks.to_vec() };
        let cases = [
            (looks(0.05, &[6, 200]), Ok(())),
            (looks(0.0, &[20]), Err(Refusal::Alpha)),
            (looks(f64::NAN, &[20]), Err(Refusal::Alpha)),
            (looks(0.6, &[20]), Err(Refusal::Alpha)),
            (looks(0.05, &[]), Err(Refusal::LooksOrder)),
            (looks(0.05, &[20, 20]), Err(Refusal::LooksOrder)),
            (looks(0.05, &[5, 20]), Err(Refusal::LooksOrder)),
            (looks(0.05, &[20, 201]), Err(Refusal::LooksOrder)),
        ];
        for (looks, expected) in cases {
            assert_eq!(looks.check(), expected, "{looks:?}");
        }
    }

    #[test]
    fn a_look_that_can_find_nothing_is_left_out() {
        // 2 / 2^n against 0.05 / hypotheses, by hand.
        assert_eq!(blocks_min(0.05, 1), 6);
        assert_eq!(blocks_min(0.05, 6), 8);
        assert_eq!(blocks_min(0.05, 20), 10);
        assert_eq!(blocks_min(0.0, 1), BLOCKS_MAX);
        assert_eq!(Looks::thrice(0.05, 20, 6).at_blocks, [12, 16, 20]);
        assert_eq!(Looks::thrice(0.05, 14, 40).at_blocks, [14]);
    }
}

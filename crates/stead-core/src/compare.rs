//! Which environment keeps a service steadier: the statistics of a comparison.
//!
//! A comparison is a [`design::Design`], stated beforehand, and trials. A *trial* is one fresh
//! start of the service in one environment. Trials come in *blocks*: each block visits every
//! environment once, and the baseline twice, in random order ([`order`]). Then, for each metric:
//!
//! 1. [`pairs`]: the two trials of a block side by side, as a difference of logarithms; its center
//!    over all blocks by Hodges and Lehmann.
//! 2. [`interval`]: how sure that is, by a bootstrap over blocks and over values within trials.
//! 3. [`signed_rank`] and [`holm`]: whether it is on one side of 0 at all, exactly, and with all
//!    metrics in sight.
//! 4. [`verdict`]: better, worse, the same within the margin, or not enough data and how many more
//!    blocks would do; then of all metrics together, steadiness first.
//! 5. [`sequential`]: after which blocks one may look, and what each look may spend.
//! 6. [`false_alarms`]: what the same method makes of the baseline's two visits, A against A.
//!
//! [`compare`](fn@compare) does all of it. What goes into a trial's values is made by [`quantile`]
//! (latencies), [`steady`] (where the warm-up ends, if it does) and [`drift`] (slopes over a soak).
//! Chance comes from the design's seed alone, and logarithms are computed here, so the same trials
//! give the same bits on every host.
//!
//! # How well it does
//!
//! The tests simulate runs of 20 blocks and 7 metrics with known truth: blocks move by 15 %, trials
//! of p50 by 2 % and of memory by 3 %, one trial in ten three times as much, and there are spikes.
//!
//! - With no margin at all, equal environments are called different in any metric in at most 5 %
//!   of 1000 comparisons, with one look and with three.
//! - 5 % of latency and 10 % of memory are found in at least 90 % of 400 runs. Where trials of p50
//!   move by 3 %, 20 blocks find 5 % in 73 %; the rest is told how many blocks would do.
//! - Without Holm a third of equal comparisons has a false alarm; with a look after every block a
//!   sixth; one environment after the other and a t-test over all values give two fifths in a
//!   single metric; and without pairs the latency is found in 1 %.
//!
//! # What it does not do
//!
//! - It cannot see what all trials of an environment share by accident: one host per environment
//!   compares hosts as much as environments. Let each environment visit several.
//! - It does not correct for trials that leave something behind for later blocks (a full disk, a
//!   warm cache). Order is balanced within blocks; between them only a reset helps.
//! - A start that failed is not in its metrics, which then favors who fails more. Count failures as
//!   a metric of their own, by difference.
//! - Blocks are taken as independent of each other. Blocks that hang together as such fall out of
//!   the pairs; a difference between environments that comes and goes over hours does not.
//! - An interval is of the center of all differences. It says nothing of the worst trial, unless
//!   that is made a metric.
//! - The number of further blocks is a projection from an estimate, and as uncertain as that.
//! - It says that environments differ, not why.

pub mod chance;
pub mod design;
pub mod drift;
pub mod false_alarms;
pub mod holm;
pub mod interval;
mod math;
pub mod order;
pub mod pairs;
pub mod quantile;
pub mod sequential;
pub mod signed_rank;
pub mod steady;
pub mod verdict;
mod whole;

pub use whole::{Against, Comparison, Twin, compare};

#[cfg(test)]
mod tests;

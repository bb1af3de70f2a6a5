//! Measurements of stead beside others: same machine, same run, same program, taken in turn.
//!
//! Figures are medians with their number and spread. What could not be measured is named.

mod clock;
mod crowd;
mod figures;
mod front;
mod keep;
mod latency;
mod logs;
mod peers;
mod procfs;
mod report;
mod serve;
mod ship;
mod table;

pub(crate) use keep::{Bench, run};

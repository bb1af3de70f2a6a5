//! How a run's processes are known, and what is known of them.

use std::time::Duration;

use crate::Cgroup;

/// How a run's processes are known.
#[derive(Debug)]
pub struct Tree<'a> {
    /// The cgroup of the run, where there is one. It then says all.
    pub cgroup: Option<&'a Cgroup>,
    /// The main process, alive or dead: pid and start time.
    pub main: Option<(u32, u64)>,
    /// `NAME=value`, in the environment of everything the run started.
    pub mark: &'a str,
    /// No other run of this process is alive: then whatever descends from it is of this one.
    pub alone: bool,
}

/// In the environment of what was run in the place of a run: its tree's, and not its main process.
pub const ENTERED: &str = "STEAD_ENTERED=1";

/// What one tree uses now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// What would be freed if the tree ended: anonymous and shared-memory pages on Linux, what is
    /// committed on Windows.
    pub memory_bytes: u64,
    /// Time on a CPU since the processes that live now began.
    pub cpu: Duration,
    pub processes: u32,
}

//! A run's whole tree of processes, and its end: what its job holds.

use std::io;

use stead_core::signal::Signal;

use super::identity::Process;
use super::place::processes;
use crate::known::Tree;

/// Everything of it that is alive.
pub fn members(tree: &Tree<'_>) -> io::Result<Vec<Process>> {
    let found: io::Result<Vec<_>> = match (tree.cgroup, tree.main) {
        (Some(job), _) => job.pids()?.into_iter().map(Process::open_any).collect(),
        (None, Some((pid, start_ticks))) => Ok(vec![Process::open(pid, start_ticks)?]),
        (None, None) => Ok(Vec::new()),
    };
    Ok(found?.into_iter().flatten().collect())
}

/// A run that the journal does not name cannot be found here: its job is emptied before the next.
pub fn newest_marked(_mark_prefix: &str) -> io::Result<Option<(u64, Process)>> {
    Ok(None)
}

/// Ends the whole tree and says how many processes that were.
pub fn kill_tree(tree: &Tree<'_>) -> io::Result<u32> {
    if let Some(job) = tree.cgroup {
        let count = started(&job.pids()?);
        job.kill()?;
        return Ok(count);
    }
    let found = members(tree)?;
    for process in &found {
        process.signal(Signal::Kill)?;
    }
    Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
}

/// How many of these a run has started: the host of its console is the system's, and ends a moment
/// after it.
fn started(pids: &[u32]) -> u32 {
    const CONSOLE_HOST: &str = "conhost.exe";
    let hosts = processes().into_iter().filter(|it| it.program.eq_ignore_ascii_case(CONSOLE_HOST));
    let hosts: Vec<u32> = hosts.map(|it| it.pid).collect();
    let others = pids.iter().filter(|pid| !hosts.contains(pid)).count();
    u32::try_from(others).unwrap_or(u32::MAX)
}

/// What this process has started to end with it does so by its job.
pub fn kill_descendants() -> io::Result<u32> {
    Ok(0)
}

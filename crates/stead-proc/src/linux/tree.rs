//! A run's whole tree of processes, and its end.
//!
//! With a cgroup the tree is what the cgroup holds. Without, it is found by three signs that a
//! process inherits: descent from the keeper (a subreaper) or from the main process, the main
//! process's session, and the mark in the environment. Each one is killed by a hold on that very
//! process, never by its pid.

use std::collections::BTreeSet;
use std::io;

use stead_core::signal::Signal;

use super::identity::Process;
use super::procfs::{self, Environments, Stat};
use crate::known::{ENTERED, Tree};

/// Passes over the process table before a kill gives up for now; a fork loop is stopped before it
/// is killed, so more than a few are not needed.
const PASSES_MAX: u32 = 20;

/// Every living process of the tree.
pub fn members(tree: &Tree<'_>) -> io::Result<Vec<Process>> {
    if let Some(cgroup) = tree.cgroup {
        let found = cgroup.pids()?.into_iter().map(Process::open_any);
        return Ok(found.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect());
    }
    let all = procfs::all()?;
    let own = std::process::id();
    // A pid that was used again is another process, whatever its number was once.
    let main = tree
        .main
        .filter(|(pid, ticks)| all.iter().all(|s| s.pid != *pid || s.start_ticks == *ticks));
    let mut environments = Environments::new();
    let mut is_root = |stat: &Stat| {
        (tree.alone && stat.parent == own)
            || main.is_some_and(|(pid, _)| stat.pid == pid || stat.session == pid)
            || environments.holds(stat.pid, tree.mark.as_bytes())
    };
    let roots = all.iter().filter(|stat| stat.pid != own && is_root(stat));
    let mut inside: BTreeSet<u32> = roots.map(|stat| stat.pid).collect();
    // Children are not always numbered after their parents, so repeat until nothing is new.
    loop {
        let new = all.iter().filter(|s| inside.contains(&s.parent) && !inside.contains(&s.pid));
        let new: Vec<u32> = new.map(|stat| stat.pid).filter(|pid| *pid != own).collect();
        if new.is_empty() {
            break;
        }
        inside.extend(new);
    }
    let living = all.iter().filter(|stat| inside.contains(&stat.pid) && !stat.zombie);
    let held = living.map(|stat| Process::open(stat.pid, stat.start_ticks));
    Ok(held.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The newest run that anything alive was started by, found by its mark alone: `NAME=value` with
/// the run's number right after `mark_prefix`. With it, its main process (leader of its session).
pub fn newest_marked(mark_prefix: &str) -> io::Result<Option<(u64, Process)>> {
    let mut environments = Environments::new();
    let mut run_of = |stat: &Stat| {
        // What was run in the place of a run is not its main process.
        if environments.holds(stat.pid, ENTERED.as_bytes()) {
            return None;
        }
        let value = environments.after(stat.pid, mark_prefix.as_bytes())?;
        std::str::from_utf8(value).ok()?.parse::<u64>().ok()
    };
    let all = procfs::all()?;
    let leaders = all.iter().filter(|stat| !stat.zombie && stat.session == stat.pid);
    let marked = leaders.filter_map(|stat| Some((run_of(stat)?, stat)));
    // What a main process starts in a session of its own began after it.
    let newest = marked.max_by_key(|(run, stat)| (*run, std::cmp::Reverse(stat.start_ticks)));
    let Some((run, stat)) = newest else { return Ok(None) };
    Ok(Process::open(stat.pid, stat.start_ticks)?.map(|process| (run, process)))
}

/// Kills the whole tree and says how many processes that were. Some may need a moment to end.
pub fn kill_tree(tree: &Tree<'_>) -> io::Result<u32> {
    if let Some(cgroup) = tree.cgroup {
        let count = u32::try_from(cgroup.pids()?.len()).unwrap_or(u32::MAX);
        cgroup.kill()?;
        return Ok(count);
    }
    let mut stopped = BTreeSet::new();
    // What is stopped cannot fork: a loop of forks runs out of loopers.
    for _ in 0..PASSES_MAX {
        let found = members(tree)?;
        let mut grew = false;
        for process in &found {
            if stopped.insert((process.pid(), process.start_ticks())) {
                grew = true;
                process.signal(Signal::Stop)?;
            }
        }
        if !grew {
            break;
        }
    }
    let found = members(tree)?;
    for process in &found {
        process.signal(Signal::Kill)?;
    }
    Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
}

/// Kills all that descends from this process and says how many processes that were.
pub fn kill_descendants() -> io::Result<u32> {
    /// No variable holds a NUL.
    const NOBODYS: &str = "\0";
    kill_tree(&Tree { cgroup: None, main: None, mark: NOBODYS, alone: true })
}

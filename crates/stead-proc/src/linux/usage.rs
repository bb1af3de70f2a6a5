//! What trees of processes use.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::procfs::{self, Stat};
use crate::known::Usage;

/// Adds up each of these processes with all its living descendants, in one look at `/proc`. `None`
/// for a process that is gone. A descendant whose parents have died is not found.
pub fn usage(pids: &[u32]) -> Vec<Option<Usage>> {
    let all = procfs::all().unwrap_or_default();
    let mut children: BTreeMap<u32, Vec<&Stat>> = BTreeMap::new();
    for stat in &all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let tree_usage = |pid: &u32| {
        let root = all.iter().find(|stat| stat.pid == *pid && !stat.zombie)?;
        let mut sum = Usage::default();
        let mut open = vec![root];
        while let Some(stat) = open.pop() {
            sum.memory_bytes += memory_bytes(stat.pid);
            sum.cpu += Duration::from_millis(stat.cpu_ticks * 1000 / ticks_per_second());
            sum.processes += 1;
            open.extend(children.get(&stat.pid).into_iter().flatten());
        }
        Some(sum)
    };
    pids.iter().map(tree_usage).collect()
}

/// `RssAnon` and `RssShmem`: cheap to read, unlike PSS, and free of file pages the OS may drop.
fn memory_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |line: &str| {
        let value = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    text.lines().filter_map(kib).sum::<u64>() * 1024
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_and_no_process_nothing() {
        let own = std::process::id();
        let found = usage(&[own, u32::MAX]);
        assert!(found[0].is_some_and(|usage| usage.memory_bytes > 0 && usage.processes >= 1));
        assert_eq!(found[1], None);
    }
}

//! What the kernel says about processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// One process and no later one with its number: the pid with the time of its start.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Process {
    pub(super) pid: i32,
    start_ticks: u64,
}

/// The parts of `/proc/PID/stat` that are asked for here.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    state: char,
    parent: i32,
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Process {
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = stat(pid)?;
        (stat.state != 'Z').then_some(Self { pid, start_ticks: stat.start_ticks })
    }

    /// Every process that there is.
    pub(super) fn all() -> Result<Vec<Self>> {
        let entries = fs::read_dir("/proc").context("cannot list /proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(Self::of).collect())
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks && stat.state != 'Z')
    }

    pub(super) fn is_alive(self) -> bool {
        self.stat().is_some()
    }

    pub(super) fn parent(self) -> Option<Self> {
        Self::of(self.stat()?.parent)
    }

    pub(super) fn executable(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// User and system time so far, in seconds.
    pub(super) fn cpu_seconds(self) -> Option<f64> {
        let per_second = rustix::param::clock_ticks_per_second();
        Some(self.stat()?.cpu_ticks as f64 / per_second as f64)
    }

    /// The proportional set size: shared pages are divided among those who share them.
    pub(super) fn pss_bytes(self) -> Option<u64> {
        kibibytes(&self.read("smaps_rollup")?, "Pss:")
    }

    /// An estimate, since the kernel does not say: page tables, and a stack of 16 KiB a thread.
    pub(super) fn kernel_bytes(self) -> Option<u64> {
        let status = self.read("status")?;
        let tables = kibibytes(&status, "VmPTE:")?;
        Some(tables + (16 << 10) * value(&status, "Threads:")?)
    }

    fn read(self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).ok()
    }

    /// Sends a signal, unless the process is gone.
    pub(super) fn signal(self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            // That it ended a moment ago is no failure.
            let _gone = kill_process(pid, signal);
        }
    }
}

/// Those of `roots` that live, and all below them, except what runs `excluded`.
pub(super) fn descendants(roots: &[Process], excluded: &Path) -> Result<BTreeSet<Process>> {
    let mut family: BTreeSet<_> = roots.iter().copied().filter(|root| root.is_alive()).collect();
    let parents: Vec<_> = Process::all()?
        .into_iter()
        .filter_map(|process| Some((process, process.parent()?)))
        .collect();
    loop {
        let children: Vec<_> = parents
            .iter()
            .filter(|(process, parent)| family.contains(parent) && !family.contains(process))
            .map(|(process, _)| *process)
            .filter(|process| process.executable().is_some_and(|program| program != excluded))
            .collect();
        if children.is_empty() {
            return Ok(family);
        }
        family.extend(children);
    }
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name is in parentheses and may hold anything, parentheses too.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: number(11)? + number(12)?,
        start_ticks: number(19)?,
    })
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    Some(value(text, name)? << 10)
}

fn value(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_parentheses_in_its_name() {
        let text = "7 (a) (b) S 3 7 7 0 -1 64 9 9 9 9 20 5 9 9 20 0 1 0 1234 1 1 1";
        let stat = Stat { state: 'S', parent: 3, cpu_ticks: 25, start_ticks: 1234 };
        assert_eq!(parse_stat(text), Some(stat));
    }

    #[test]
    fn a_torn_stat_is_no_stat() {
        assert_eq!(parse_stat("7 (a) S 3 7"), None);
    }

    #[test]
    fn sizes_are_in_bytes() {
        let status = "VmPTE:\t      48 kB\nThreads:\t2\n";
        assert_eq!(kibibytes(status, "VmPTE:"), Some(48 << 10));
        assert_eq!(value(status, "Threads:"), Some(2));
        assert_eq!(value(status, "Vm:"), None);
    }

    #[test]
    fn this_process_is_alive_and_has_memory() {
        let pid = i32::try_from(std::process::id()).expect("a pid is small");
        let this = Process::of(pid).expect("this process is there");
        assert!(this.is_alive());
        assert!(this.pss_bytes() > Some(0));
        assert!(this.kernel_bytes() > Some(0));
    }
}

//! What trees of processes use.

#![expect(unsafe_code, reason = "what a process uses has no safe form")]

use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows_sys::Win32::System::Threading::GetProcessTimes;

use super::identity::Process;
use super::place::processes;
use super::sys::raw;
use crate::known::Usage;

/// Adds up each of these processes with all its living descendants. `None` for a process that is
/// gone. A descendant whose parents have died is not found.
pub fn usage(pids: &[u32]) -> Vec<Option<Usage>> {
    let all = processes();
    let tree_usage = |pid: &u32| {
        let mut sum = Usage::default();
        let root = Process::open_any(*pid).ok().flatten()?;
        let mut open = vec![root];
        while let Some(process) = open.pop() {
            sum.memory_bytes += memory_bytes(&process);
            sum.cpu += cpu(&process);
            sum.processes += 1;
            let children = all.iter().filter(|it| it.parent == process.pid());
            let children = children.filter_map(|it| Process::open_any(it.pid).ok().flatten());
            // A pid may name a parent that ended long before: nothing begins before its parent.
            open.extend(children.filter(|it| it.start_ticks() >= process.start_ticks()));
        }
        Some(sum)
    };
    pids.iter().map(tree_usage).collect()
}

fn memory_bytes(process: &Process) -> u64 {
    let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
    let len = size_of::<PROCESS_MEMORY_COUNTERS_EX>() as u32;
    let into: *mut PROCESS_MEMORY_COUNTERS = (&raw mut counters).cast();
    // SAFETY: the longer struct begins as the shorter one does, and its length is said.
    match unsafe { K32GetProcessMemoryInfo(raw(&process.handle), into, len) } {
        0 => 0,
        // Two names for one number. Windows 7 fills in the former alone, Wine the latter.
        _ => counters.PrivateUsage.max(counters.PagefileUsage) as u64,
    }
}

fn cpu(process: &Process) -> Duration {
    const TICK_NS: u64 = 100;
    let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: all four are ours to write.
    let answer = unsafe {
        let process = raw(&process.handle);
        GetProcessTimes(process, &raw mut began, &raw mut ended, &raw mut kernel, &raw mut user)
    };
    let ticks =
        |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    match answer {
        0 => Duration::ZERO,
        _ => Duration::from_nanos((ticks(kernel) + ticks(user)) * TICK_NS),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// What makes this test program the child that is looked at.
    const ROLE: &str = "STEAD_TEST_HOLDS_MIB";

    /// Holds so much memory until its input ends, if that is asked of it.
    #[test]
    fn role_holds_memory() {
        let Ok(mib) = std::env::var(ROLE) else { return };
        let held = vec![1_u8; mib.parse::<usize>().unwrap() << 20];
        println!("\nholds {}", held.iter().map(|it| usize::from(*it)).sum::<usize>());
        std::io::stdout().flush().unwrap();
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    fn child_that_holds(mib: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["role_holds_memory", "--nocapture", "--test-threads=1"]).env(ROLE, mib);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("holds ")));
        child
    }

    #[test]
    fn memory_of_another_process_is_what_it_holds() {
        let mut children = ["1", "65"].map(child_that_holds);
        let of_each = usage(&children.each_ref().map(Child::id));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let of_each = of_each.into_iter().map(|it| it.expect("it is alive").memory_bytes);
        let of_each: Vec<u64> = of_each.collect();
        let [little, much] = of_each.as_slice() else { panic!("{of_each:?}") };
        assert!(*little > 0 && *much >= little + (60 << 20), "{of_each:?}");
    }
}

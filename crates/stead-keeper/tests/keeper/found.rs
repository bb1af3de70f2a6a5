//! Processes that are found by what they were started with.

use std::fs;

use stead_core::signal::Signal;

use crate::rig::eventually;

/// Every living process with this text in its command line.
pub(crate) fn alive_with(text: &str) -> Vec<stead_proc::Process> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str().and_then(|name| name.parse::<u32>().ok())
    });
    let has_text = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let held = pids.filter_map(|pid| stead_proc::Process::open_any(pid).unwrap());
    held.filter(|process| has_text(&process.pid())).collect()
}

/// Kills every living process with this text in its command line, until there is none.
pub(crate) fn kill_with(text: &str) {
    let gone = eventually(|| {
        let found = alive_with(text);
        for process in &found {
            process.signal(Signal::Kill).unwrap();
        }
        found.is_empty().then_some(())
    });
    gone.expect("killed processes end");
}

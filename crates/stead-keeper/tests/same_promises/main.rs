//! The promises of a keeper that are the same on every system, one test each, shown on real
//! processes: natively, and for Windows under Wine. Each protection is shown to be needed.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod ends;
mod kills;
#[cfg(windows)]
mod limits;
mod logs;
#[path = "../keeper/rig.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod rig;
mod starts;

use std::fs;
use std::path::PathBuf;

use rig::{Rig, eventually, probe};

/// A service that is the probe with these arguments, after the program.
fn probing(args: &[&str]) -> Rig {
    let probe = probe();
    let argv: Vec<&str> = [probe.as_str()].into_iter().chain(args.iter().copied()).collect();
    Rig::new(&argv)
}

/// A file that no other test writes, for a service to write to.
fn file(name: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("stead-promise-{}-{name}", std::process::id()));
    // Where pids come round fast, one that failed long ago may have left it.
    let _ = fs::remove_file(&file);
    file
}

/// The pids in a file, with when each of these processes began: each appends its own.
fn pids_in(file: &std::path::Path, count: usize) -> Vec<(u32, u64)> {
    let pids = eventually(|| {
        let text = fs::read_to_string(file).ok()?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() >= count).then_some(pids)
    });
    pids.expect("so many processes begin").into_iter().map(rig::born).collect()
}

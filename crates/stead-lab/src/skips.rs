//! What a test could not show on this machine.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes that something could not be shown here; the test runner counts it and says so loudly.
pub fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED: {test}: {why}\n");
    eprint!("{line}");
    if let Ok(path) = std::env::var("STEAD_SKIPS") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let mut file = file.expect("the test runner's file of skips can be written");
        file.write_all(line.as_bytes()).expect("the test runner's file of skips takes a line");
    }
}

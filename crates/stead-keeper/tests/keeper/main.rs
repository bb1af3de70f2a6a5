//! What a keeper promises, shown on real processes, and each protection shown to be needed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod disks;
mod found;
mod kills;
mod ladder;
mod limits;
mod logs;
mod replace;
mod rig;
mod sandbox;
mod trees;

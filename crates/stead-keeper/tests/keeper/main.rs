//! What a keeper promises, shown on real processes, and each protection shown to be needed.

mod disks;
mod kills;
mod ladder;
mod logs;
mod rig;
mod trees;

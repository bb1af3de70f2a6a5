//! Linux: pidfds, cgroup v2 where it is writable, FIFOs and splice.

pub(crate) mod account;
pub(crate) mod cgroup;
pub(crate) mod crash;
pub(crate) mod detach;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod hand_over;
pub(crate) mod handed;
pub(crate) mod handle;
pub(crate) mod hear;
pub(crate) mod identity;
pub(crate) mod kernel_log;
pub(crate) mod local;
pub(crate) mod mapped;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod poll;
mod procfs;

pub(crate) mod ready;
pub(crate) mod reaper;
pub(crate) mod sandbox;
pub(crate) mod signal;
pub(crate) mod sockets;
pub(crate) mod spawn;
pub(crate) mod stream;
pub(crate) mod surroundings;
pub(crate) mod tcp;
pub(crate) mod tcp_owner;
pub(crate) mod tree;
pub(crate) mod tube;
pub(crate) mod upgrade;
pub(crate) mod usage;

//! Windows: job objects, process handles with their creation time, named pipes.

pub(crate) mod account;
pub(crate) mod cgroup;
pub(crate) mod crash;
pub(crate) mod detach;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod kernel_log;
pub(crate) mod local;
pub(crate) mod mapped;
pub(crate) mod memory;
pub(crate) mod place;
pub(crate) mod poll;
pub(crate) mod reaper;
pub(crate) mod sandbox;
pub(crate) mod sockets;
pub(crate) mod spawn;
pub(crate) mod stream;
mod sys;
pub(crate) mod tcp_owner;
pub(crate) mod tree;
pub(crate) mod upgrade;
pub(crate) mod usage;

//! What this host has and can keep.

use std::thread::available_parallelism;

use stead_core::capacity::{Capacity, Keeps};
use stead_core::units::{Bytes, MilliCpu};

/// What this host has and can keep for the user that asks.
pub fn capacity() -> Capacity {
    let cores = available_parallelism().map_or(1, usize::from);
    let can = stead_proc::keepable();
    Capacity {
        memory: Bytes(stead_proc::memory_total()),
        cpu: MilliCpu(u32::try_from(cores).unwrap_or(u32::MAX / 1000).saturating_mul(1000)),
        keeps: Keeps {
            memory: can.memory,
            cpu: can.cpu,
            processes: can.processes,
            io_weight: can.io_weight,
        },
    }
}

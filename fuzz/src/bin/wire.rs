//! Bytes from connections and journals: records, indexes, and what operators ask, which never leads
//! a host to a lower epoch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stead_core::plan::Plan;
use stead_core::rollout::HostMemory;
use stead_wire::api::PlanPut;
use stead_wire::journal::Event;
use stead_wire::rollout::RolloutAsk;
use stead_wire::{file, frame, log};

fuzz_target!(init: stead_fuzz::seeds::write(stead_fuzz::seeds::wires()), |bytes: &[u8]| {
    drop(frame::decode_all::<Event>(bytes));
    drop(file::decode::<HostMemory<Plan>>("stead-rollout/1", bytes));
    drop(serde_json::from_slice::<PlanPut>(bytes));
    let (entries, len) = log::decode_index(bytes);
    assert!(len <= bytes.len() as u64 && entries.len() <= bytes.len());
    // Lines, each an ask of the same host.
    let mut host = HostMemory::<Plan>::default();
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let Some(ask) = serde_json::from_slice::<RolloutAsk>(line).ok() else { continue };
        let staged = ask.staged.map(|staged| staged.plan);
        let alive = line.len() % 2 == 0;
        let Ok((next, _)) = host.take(&ask.ask, staged, alive, Plan::clone) else { continue };
        assert!(next.machine.epoch >= host.machine.epoch);
        assert!(next.pending().is_none() || next.stage().is_some());
        host = if line.len() % 3 == 0 { next.settle() } else { next };
        stead_fuzz::control();
    }
});

//! What a run is held to by its job. Wine accepts limits and enforces none: these run on Windows
//! itself. Linux shows the same in a VM, whose cgroups have controllers.

use std::time::Duration;

use stead_core::plan::When;
use stead_core::units::{Bytes, MilliCpu};
use stead_wire::journal::Stream;

use crate::logs::lines;
use crate::probing;

#[test]
#[ignore = "Wine does not enforce a job's limits"]
fn a_run_gets_no_more_memory_than_its_limit() {
    for (limit, is_refused) in [(None, false), (Some(64 << 20), true)] {
        let mut rig = probing(&["fill", "256"]);
        rig.launch.limits.memory = limit.map(Bytes);
        rig.launch.restart.when = When::Never;
        rig.start();
        let said = lines(&rig, Stream::Out, 1);
        assert_eq!(said[0].starts_with("refused"), is_refused, "{said:?} with {limit:?}");
        rig.retire();
    }
}

#[test]
#[ignore = "Wine does not enforce a job's limits"]
fn a_run_gets_no_more_processes_than_its_limit() {
    for (limit, began) in [(None, 6), (Some(3), 3)] {
        let mut rig = probing(&["start-many", "5"]);
        // The first is the main process itself.
        rig.launch.limits.processes = limit;
        rig.start();
        assert_eq!(lines(&rig, Stream::Out, 1)[0], format!("{began} processes"));
        rig.retire();
    }
}

#[test]
#[ignore = "Wine does not enforce a job's limits"]
fn a_run_gets_no_more_cpu_than_its_limit() {
    for (limit, at_most) in [(None, u64::MAX), (Some(MilliCpu(200)), 400)] {
        let mut rig = probing(&["spin", "3000"]);
        rig.launch.limits.cpu = limit;
        rig.launch.stop.timeout = Duration::from_secs(1);
        rig.start();
        let said = lines(&rig, Stream::Out, 1);
        let milli: u64 = said[0].strip_prefix("milli ").unwrap().parse().unwrap();
        assert!(milli <= at_most, "{milli} of {at_most} thousandths of a core");
        rig.retire();
    }
}

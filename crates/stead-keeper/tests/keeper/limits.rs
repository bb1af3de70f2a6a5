//! Limits that take no cgroup.

use stead_core::plan::Limits;
use stead_wire::journal::Event;

use crate::rig::{Rig, eventually};

/// Opens files until it may open no more, or has two dozen, and keeps them.
const OPENS: &str = "for (1..24) { open($f[$_], '<', '/dev/null') or last } print 'opened'; \
     $| = 1; print \"\\n\"; sleep 1000";

fn opening(files: Option<u64>) -> Rig {
    let mut rig = Rig::new(&["perl", "-e", OPENS]);
    rig.launch.limits = Limits { files, ..Limits::default() };
    rig.start();
    rig.wait_up();
    rig
}

fn told(rig: &Rig) -> Option<String> {
    rig.events().into_iter().find_map(|event| {
        let Event::LimitHit { limit, what, .. } = event else { return None };
        (limit == "files").then_some(what)
    })
}

#[test]
fn a_process_that_may_open_no_more_files_is_told_of() {
    let (full, roomy) = (opening(Some(16)), opening(Some(64)));
    let what = eventually(|| told(&full)).expect("it is told");
    assert!(what.contains("as many files open as it may, 16"), "{what}");
    // Control: one that has room is looked at as often.
    assert_eq!(told(&roomy), None);
}

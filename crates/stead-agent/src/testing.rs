//! What the tests of this crate share.

use std::path::PathBuf;

use stead_core::machine::{Goal, PhaseName};
use stead_core::plan::{Plan, Spec};
use stead_core::template::Template;
use stead_wire::WIRE_VERSION;
use stead_wire::keeper::{LogCounts, Report};

use crate::layout::Layout;

/// A folder of one test, removed at its end.
pub(crate) struct TempRoot(PathBuf);

impl TempRoot {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stead-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn layout(&self) -> Layout {
        let layout = Layout::new(self.0.clone());
        layout.make_root().unwrap();
        layout
    }
}

impl Drop for TempRoot {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A spec of this command with everything else as by default.
pub(crate) fn spec(run: &[&str]) -> Spec {
    Spec::of(run.iter().map(|text| Template::literal(text)).collect())
}

pub(crate) fn plan<const N: usize>(instances: [(&str, Spec); N]) -> Plan {
    Plan {
        fleet: "shop".parse().unwrap(),
        host: "local".parse().unwrap(),
        instances: instances.map(|(name, spec)| (name.parse().unwrap(), spec)).into(),
    }
}

/// A report of an instance in this phase, with nothing else to tell.
pub(crate) fn report(name: &str, phase: PhaseName) -> Report {
    Report {
        wire: WIRE_VERSION,
        version: "0".into(),
        keeper_pid: 1,
        instance: name.parse().unwrap(),
        launch_mark: 0,
        goal: Goal::Up,
        phase,
        retiring: false,
        run: 1,
        pid: None,
        restarts: 0,
        failures: 0,
        started_at: None,
        next_start_at: None,
        last_exit: None,
        log: LogCounts::default(),
        ready: None,
        says: None,
        second: false,
        coming: None,
        going: None,
        rejected: None,
        between_launches: false,
        unheld: Vec::new(),
        holds_sockets: false,
        timed: None,
    }
}

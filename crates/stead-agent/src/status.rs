//! What the agent knows, as the API says it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_proc::Usage;
use stead_wire::api::{AgentStatus, InstanceStatus, LogStatus, Status};
use tokio::time::Instant;

use crate::clock::{rfc3339, wall_ms};
use crate::meter::{Looked, Meter};
use crate::view::{Snapshot, View};

/// What does not change while the agent lives.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) host: String,
    pub(crate) root: String,
    pub(crate) keeper: String,
}

/// The whole status. Looks at every tree, which takes a while: not for the agent's own task.
pub(crate) fn status(own: &Own, snapshot: Snapshot, meter: &Mutex<Meter>) -> Status {
    let pids: Vec<u32> = snapshot.views.iter().filter_map(pid).collect();
    let usages = if pids.is_empty() { Vec::new() } else { stead_proc::usage(&pids) };
    let mut usages = usages.into_iter();
    // A panic of another request's task would poison it, and cannot leave it half changed.
    let mut meter = meter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let names: BTreeSet<&InstanceName> = snapshot.views.iter().map(|view| &view.name).collect();
    meter.keep(|name| names.contains(name));
    let mut instances = Vec::new();
    for view in &snapshot.views {
        let usage = pid(view).and_then(|_| usages.next().flatten());
        instances.push(instance(view, usage, &mut meter));
    }
    Status {
        host: own.host.clone(),
        agent: AgentStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            root: own.root.clone(),
            keeper: own.keeper.clone(),
            fleet: snapshot.fleet,
            generation: snapshot.generation,
            troubles: snapshot.troubles,
        },
        instances,
    }
}

fn pid(view: &View) -> Option<u32> {
    view.report.as_ref()?.pid
}

fn instance(view: &View, usage: Option<Usage>, meter: &mut Meter) -> InstanceStatus {
    let report = view.report.as_deref();
    let started_at = report.and_then(|report| report.started_at);
    let age = Duration::from_millis(wall_ms().saturating_sub(started_at.unwrap_or(0)));
    let cpu_percent = pid(view)
        .zip(usage)
        .map(|(pid, usage)| meter.percent(&view.name, Looked { pid, age, usage }, Instant::now()));
    InstanceStatus {
        name: view.name.to_string(),
        service: view.name.service().to_string(),
        index: view.name.index(),
        phase: view.phase.as_str().into(),
        ready: view.ready,
        pid: pid(view),
        run: report.map_or(0, |report| report.run),
        second_ports: report.is_some_and(|report| report.second),
        restarts: report.map_or(0, |report| report.restarts),
        release: view.release.clone(),
        started_at: started_at.map(rfc3339),
        next_run_at: view.next.map(rfc3339),
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        cpu_percent,
        last_exit: report.and_then(|report| report.last_exit.clone()),
        keeper_pid: view.keeper_pid,
        notes: view.notes.clone(),
        rejected: view.rejected.clone(),
        current: view.current,
        log: report.map_or_else(LogStatus::default, |report| LogStatus {
            stored_bytes: report.log.stored_bytes,
            dropped_bytes: report.log.dropped_bytes,
        }),
    }
}

//! From a service's death to the first instruction of its next run.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::clock::{Instant, wait_for};
use super::keep::Trial;
use super::peers::{Peer, Running, STABLE_AFTER};
use super::procfs::Process;
use super::report::Report;
use crate::say;

pub(super) const CRASH: &str = "crash to next run";

/// No supervisor waits longer before a restart after a life that was stable.
const RESTART_LIMIT: Duration = Duration::from_secs(30);

/// One supervisor with one service.
struct Lane<'a> {
    peer: &'a dyn Peer,
    running: Running,
    milliseconds: Vec<f64>,
}

/// Kills the service of each supervisor in turn, `runs_n` times over, after a round that does
/// not count.
pub(super) fn measure(trial: &Trial<'_>, runs_n: usize, report: &mut Report) -> Result<()> {
    let mut lanes = Vec::new();
    for peer in trial.peers {
        match trial.bed(1).and_then(|bed| peer.start(&bed)) {
            Ok(running) => lanes.push(Lane { peer: &**peer, running, milliseconds: Vec::new() }),
            Err(error) => report.note(format!("{}: did not start: {error:#}", peer.name())),
        }
    }
    for round in 0..=runs_n {
        say::progress(format_args!("{CRASH}: round {round} of {runs_n}"));
        lanes.retain_mut(|lane| match lane.crash() {
            Ok(milliseconds) => {
                lane.milliseconds.extend((round > 0).then_some(milliseconds));
                true
            }
            Err(error) => {
                let name = lane.peer.name();
                report.note(format!("{name}: out of {CRASH} in round {round}: {error:#}"));
                report.add(CRASH, "ms", name, std::mem::take(&mut lane.milliseconds));
                false
            }
        });
        let turn = lanes.len().min(1);
        lanes.rotate_left(turn);
    }
    let place =
        |lane: &Lane<'_>| trial.peers.iter().position(|peer| peer.name() == lane.peer.name());
    lanes.sort_by_key(place);
    for lane in lanes {
        report.add(CRASH, "ms", lane.peer.name(), lane.milliseconds);
    }
    Ok(())
}

impl Lane<'_> {
    /// Kills the service and returns how long it was away.
    fn crash(&self) -> Result<f64> {
        let bed = self.running.bed();
        let begun = wait_for("the first run", RESTART_LIMIT, || Ok(bed.stamps()?.pop()))?;
        begun.at.sleep_until_past(STABLE_AFTER);
        let service = Process::of(begun.pid).context("the service is gone")?;
        let is_probe = service.executable().as_ref() == Some(&bed.probe);
        anyhow::ensure!(is_probe, "pid {} is another program", begun.pid);
        let killed_at = Instant::now();
        service.signal(Signal::KILL);
        let next = wait_for("the next run", RESTART_LIMIT, || {
            Ok(bed.stamps()?.pop().filter(|last| last.pid != begun.pid && last.at > killed_at))
        })?;
        Ok(next.at.seconds_since(killed_at) * 1e3)
    }
}

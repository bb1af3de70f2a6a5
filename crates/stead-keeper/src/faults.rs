//! Faults on purpose: points to be killed at, and protections to leave out.
//!
//! Tests kill a keeper at every point where its state and the world's differ, and show that each
//! protection is needed by leaving it out. Without the hidden options none of this does anything.

use std::fs::OpenOptions;
use std::path::Path;

/// A place in the keeper's code where being killed is hardest to survive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CrashPoint {
    BeforeFork = 1,
    /// The child holds at its gate; nobody knows of it.
    Forked,
    /// The child is in the journal and still holds.
    Journalled,
    Released,
    Started,
    /// An exit was seen and is not in the journal.
    ExitSeen,
    /// It was handed to the journal.
    ExitJournalled,
    /// The old run is gone; the next one is not begun.
    BetweenRuns,
    BeforeStop,
    StopSent,
    BeforeKill,
    Killed,
    BeforeAdoption,
    Adopted,
    /// Output was stored and is not in the index.
    Stored,
    /// A new segment was begun.
    Rotated,
    /// Output was taken out of the pipe and is not in a file. Splice has no such moment; this is
    /// the place where a keeper without it loses lines.
    Carrying,
    /// The link leads to the next configuration; the launch that names it is not kept yet.
    LinkTurned,
    /// A launch with another configuration holds, and the run was not told.
    ConfigHeld,
    /// The run was told, and that is not in the journal.
    ReloadSent,
}

impl CrashPoint {
    /// The points that `all` stands for.
    const ALL: u32 = Self::Rotated as u32;
    const LAST: u32 = Self::ReloadSent as u32;
}

/// What is to go wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    crash_at: Vec<u32>,
    /// Let a run go before it is in the journal.
    pub(crate) no_gate: bool,
    /// Pump output through memory.
    pub(crate) no_splice: bool,
    /// Do not take over the run that the journal names.
    pub(crate) no_adoption: bool,
    /// Do not look what a run would be refused.
    pub(crate) no_preflight: bool,
    /// Do not look for a run that the journal does not name.
    pub(crate) no_scan: bool,
    /// Kill the main process alone.
    pub(crate) no_tree: bool,
    /// Leave alone what an ended run left behind.
    pub(crate) no_sweep: bool,
    /// Leave a port to the run alone that its keeper has lost.
    pub(crate) no_take_back: bool,
    /// Leave the link to the configuration where it is.
    pub(crate) no_turn: bool,
    /// Let the service wait for a disk that is stuck.
    pub(crate) no_takeover: bool,
}

impl Faults {
    pub(crate) fn leave_out(&mut self, name: &str) -> Result<(), String> {
        let protection = match name {
            "no-gate" => &mut self.no_gate,
            "no-splice" => &mut self.no_splice,
            "no-adoption" => &mut self.no_adoption,
            "no-preflight" => &mut self.no_preflight,
            "no-scan" => &mut self.no_scan,
            "no-sweep" => &mut self.no_sweep,
            "no-turn" => &mut self.no_turn,
            "no-tree" => &mut self.no_tree,
            "no-take-back" => &mut self.no_take_back,
            "no-takeover" => &mut self.no_takeover,
            _ => return Err(format!("there is no fault `{name}`")),
        };
        *protection = true;
        Ok(())
    }

    pub(crate) fn crash_at(&mut self, point: &str) -> Result<(), String> {
        if point == "all" {
            self.crash_at.extend(1..=CrashPoint::ALL);
            return Ok(());
        }
        match point.parse() {
            Ok(number @ 1..=CrashPoint::LAST) => self.crash_at.push(number),
            _ => return Err(format!("there is no crash point `{point}`")),
        }
        Ok(())
    }

    /// Dies here if it is to, the first time only: a file in the instance's folder remembers.
    pub(crate) fn reach(&self, point: CrashPoint, folder: &Path) {
        let number = point as u32;
        if !self.crash_at.contains(&number) {
            return;
        }
        let marker = folder.join(format!("crashed-{number:02}"));
        if OpenOptions::new().write(true).create_new(true).open(marker).is_ok() {
            stead_proc::crash();
        }
    }
}

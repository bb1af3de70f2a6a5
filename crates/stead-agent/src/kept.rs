//! One instance's folder and keeper, as the agent knows them.

use std::collections::VecDeque;
use std::time::Duration;

use stead_core::machine::PhaseName;
use stead_core::names::ServiceName;
use stead_core::plan::{Check, Digest};
use stead_core::reconcile::SeenKeeper;
use stead_proc::{NamedSocket, OwnedHandle};
use stead_wire::WallMs;
use stead_wire::keeper::Report;
use tokio::time::Instant;

use crate::agent::times::Next;
use crate::hands::Warnings;
use crate::link::Link;
use crate::probe::{Probes, Probing};

/// A dead keeper is followed by the next one within this.
pub const KEEPER_REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// So many deaths within the window are many: the next keepers wait.
const DEATHS_MANY: usize = 20;
const DEATHS_WINDOW: Duration = Duration::from_secs(10);
const DEATHS_WAIT: Duration = Duration::from_millis(250);

const _: () = assert!(DEATHS_WAIT.as_millis() < KEEPER_REPLACED_WITHIN.as_millis());

/// What the agent holds and knows of an instance that has a folder.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) needs: Vec<ServiceName>,
    pub(crate) release: Option<Digest>,
    pub(crate) stop_timeout: Duration,
    /// Held so that no output is lost with a keeper; never read.
    pub(crate) fifos: Vec<OwnedHandle>,
    pub(crate) keeper: Keeper,
    /// What a keeper said last; from one that is gone if the next has not spoken yet.
    pub(crate) report: Option<Box<Report>>,
    pub(crate) asked: Asked,
    pub(crate) deaths: Deaths,
    /// What its runs are asked, by the launch they run by; `None` while that is not known.
    pub(crate) probes: Option<Box<[Probes; 2]>>,
    /// The first of the two ports that a front sends connections to, by the same launch.
    pub(crate) front_port: Option<u16>,
    /// Whoever asks them now.
    pub(crate) probing: Vec<Probing>,
    /// Duplicates of the sockets that its keeper holds, so that none is lost with it.
    pub(crate) sockets: Vec<NamedSocket>,
    /// When it runs next, if it has its times.
    pub(crate) next: Option<Next>,
    /// What the ready probe of the last run said that was to take the place of another, while it
    /// was not ready.
    pub(crate) coming_said: Option<(u64, String)>,
    /// Why a restart that its live probe asks for is held back.
    pub(crate) held_back: Option<String>,
    /// Why the last thing that the agent wanted of it or for it did not work.
    pub(crate) trouble: Option<String>,
    /// What its runs may be refused, as far as it was looked at.
    pub(crate) warnings: Warnings,
}

/// Where the keeper is.
#[derive(Debug)]
pub(crate) enum Keeper {
    Alive {
        /// Its pid, when it is our child.
        child: Option<u32>,
        link: Link,
        hearing: Hearing,
    },
    /// It has ended and its folder may be removed: the disk is asked.
    Burying,
    Dead {
        start_at: Instant,
    },
    /// The disk works on it.
    Starting,
}

/// What is heard over a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hearing {
    /// A report came over this very connection.
    Heard,
    /// Nothing for too long.
    Silent,
    /// Nothing yet.
    Waiting,
}

/// What the agent asked of the keeper for itself, so that it asks once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// To run at a time that has come, by the times that it had done with then.
    pub(crate) due: Option<WallMs>,
    /// The coming run that it was told is ready.
    pub(crate) ready: Option<u64>,
    pub(crate) retire: bool,
    /// The connection over which it was asked for its sockets, and the launches it had then.
    pub(crate) sockets: Option<(u64, u64)>,
    /// The mark of the launch.
    pub(crate) update: Option<u32>,
    /// The pid of the keeper.
    pub(crate) upgrade: Option<u32>,
}

impl Asked {
    /// Forgets what a lost connection may have swallowed. A keeper is told to upgrade only once.
    pub(crate) fn forget(&mut self) {
        *self = Self { upgrade: self.upgrade, ..Self::default() };
    }
}

impl Kept {
    /// An instance whose keeper is about to be started.
    pub(crate) fn starting(needs: Vec<ServiceName>, stop_timeout: Duration) -> Self {
        Self {
            needs,
            release: None,
            stop_timeout,
            fifos: Vec::new(),
            keeper: Keeper::Starting,
            report: None,
            asked: Asked::default(),
            deaths: Deaths::default(),
            probes: None,
            front_port: None,
            probing: Vec::new(),
            sockets: Vec::new(),
            next: None,
            coming_said: None,
            held_back: None,
            trouble: None,
            warnings: Warnings::new(),
        }
    }

    /// The link to ask things over, if somebody is at its other end.
    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.keeper {
            Keeper::Alive { link, hearing: Hearing::Heard, .. } => Some(link),
            Keeper::Alive { .. } | Keeper::Burying | Keeper::Dead { .. } | Keeper::Starting => None,
        }
    }

    /// Duplicates for the next keeper; one that cannot be made is left out.
    pub(crate) fn duplicates(&self) -> Vec<NamedSocket> {
        let duplicate =
            |(name, socket): &NamedSocket| Some((name.clone(), socket.try_clone().ok()?));
        self.sockets.iter().filter_map(duplicate).collect()
    }

    /// Whether the run that is up may get work; `None` while nobody knows.
    pub(crate) fn ready(&self) -> Option<bool> {
        let report = self.report.as_ref()?;
        if report.phase != PhaseName::Up {
            return Some(false);
        }
        let probes = self.probes.as_ref()?;
        self.ready_by(&probes[usize::from(report.second)], report.run, report.ready)
    }

    /// Whether a run may get work by these probes; `said` is what it says itself.
    pub(crate) fn ready_by(&self, probes: &Probes, run: u64, said: Option<bool>) -> Option<bool> {
        match (&probes.startup, &probes.ready) {
            (None, None) => Some(true),
            (None, Some(probe)) if probe.check == Check::Notify => said,
            (Some(startup), None) if startup.probe.check == Check::Notify => said,
            (Some(_), _) | (None, Some(_)) => {
                let probing = self.probing.iter().find(|probing| probing.target.run == run);
                probing.and_then(|probing| probing.ready)
            }
        }
    }

    /// The pid of the keeper that is there, as far as it is known.
    pub(crate) fn keeper_pid(&self) -> Option<u32> {
        match &self.keeper {
            Keeper::Alive { child: Some(pid), .. } => Some(*pid),
            Keeper::Alive { child: None, .. } => {
                self.report.as_ref().map(|report| report.keeper_pid)
            }
            Keeper::Burying | Keeper::Dead { .. } | Keeper::Starting => None,
        }
    }

    /// The mark of the launch that every run goes by; `None` when another one may be on its way,
    /// still goes on, or was asked for.
    pub(crate) fn settled(&self) -> Option<u32> {
        let is_heard = matches!(self.keeper, Keeper::Alive { hearing: Hearing::Heard, .. });
        let report = self.report.as_ref().filter(|_| is_heard && self.asked.update.is_none())?;
        (!report.between_launches).then_some(report.launch_mark)
    }

    /// What the reconciler is to see of the keeper; `wanted` is the mark of the plan's launch.
    pub(crate) fn seen(&self, wanted: Option<u32>) -> SeenKeeper {
        let without_report = SeenKeeper::Alive {
            phase: PhaseName::Starting,
            ready: false,
            current: true,
            retiring: false,
        };
        match (&self.keeper, &self.report) {
            (Keeper::Dead { .. }, _) => SeenKeeper::Dead,
            // Nothing may be asked of it and nothing put in its place.
            (Keeper::Burying, _) => SeenKeeper::Alive {
                phase: PhaseName::Down,
                ready: false,
                current: true,
                retiring: true,
            },
            (Keeper::Starting, _) | (Keeper::Alive { .. }, None) => without_report,
            (Keeper::Alive { .. }, Some(report)) => SeenKeeper::Alive {
                phase: report.phase,
                ready: self.ready() == Some(true),
                current: wanted.is_none_or(|mark| {
                    let rejected = report.rejected.as_ref().map(|rejected| rejected.launch_mark);
                    let coming = report.coming.as_ref().map(|coming| coming.launch_mark);
                    mark == report.launch_mark
                        || self.asked.update == Some(mark)
                        || coming == Some(mark)
                        // It was tried; the next plan tries again.
                        || rejected == Some(mark)
                }),
                retiring: report.retiring || self.asked.retire,
            },
        }
    }
}

/// The recent deaths of an instance's keepers.
#[derive(Debug, Default)]
pub(crate) struct Deaths(VecDeque<Instant>);

impl Deaths {
    /// Notes a death and says how long the next keeper waits: not at all, unless there were many.
    pub(crate) fn note(&mut self, now: Instant) -> Duration {
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.duration_since(*first) > DEATHS_WINDOW) {
            self.0.pop_front();
        }
        while self.0.len() > DEATHS_MANY + 1 {
            self.0.pop_front();
        }
        if self.0.len() > DEATHS_MANY { DEATHS_WAIT } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_that_dies_now_and_then_is_replaced_at_once() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        for n in 0..100 {
            assert_eq!(deaths.note(start + Duration::from_secs(n)), Duration::ZERO);
        }
    }

    #[test]
    fn keepers_that_die_in_a_row_are_damped_within_the_bound_and_forgiven_later() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        for n in 1..=100 {
            let wait = deaths.note(start + Duration::from_millis(n));
            let expected = if n > 20 { DEATHS_WAIT } else { Duration::ZERO };
            assert_eq!(wait, expected, "death {n}");
            assert!(wait < KEEPER_REPLACED_WITHIN);
        }
        assert_eq!(deaths.note(start + Duration::from_secs(20)), Duration::ZERO);
    }
}

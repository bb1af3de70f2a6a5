//! The operator of a rollout: what it asks of which host next, by what it has heard.
//!
//! ```text
//!   Claiming ──> Staging ──> Switching ──> Confirming ──> Committing ──> Ended
//!       └───────────┴────────────┴─────────────┴──> Returning ─────────────┘
//! ```
//!
//! It has no clock and no wire: it is told what came, and says what is to be asked. Every errand
//! may be lost, on its way or on its way back, and is then given again: hosts take an ask twice.

mod errands;
mod heard;
mod site;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::rollout::{HostStage, Onward, Part, Wave, onward, waves};
use site::Site;

/// Hosts are told at least this often that their operator is there: well within the time after
/// which they take a switch back.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// How often a host is looked at that was just switched, or has just gone back.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often one is looked at that has passed its gate, while others are switched.
const LOOK_ON_EVERY: Duration = Duration::from_secs(1);

/// The wait before an errand that was lost is given again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How a host is told of that was switched, where others have the new for good.
const GOES_BACK: &str = "it goes back by itself, and may follow the others later";

/// How a host is told of that has what it had.
const AS_IT_WAS: &str = "it is as it was";

/// How fast a rollout goes, and what stops it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Hosts that are switched first, on trial for the others.
    pub canary: usize,
    pub wave: Wave,
    /// Of the hosts of a wave, at most so many are on their way to ready at the same time.
    pub unavailable_max: usize,
    /// So many hosts may be left out since they cannot be reached.
    pub unreachable_max: usize,
    /// What works must do so for so long before the next hosts are switched.
    pub bake: Duration,
    /// A host is ready within this, or does not work.
    pub ready_within: Duration,
    /// A host that was switched and hears nothing for so long goes back by itself.
    pub commit_within: Duration,
}

/// How a rollout begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    New,
    /// Another operator had begun it.
    Resume,
}

/// A host that is to take part.
#[derive(Clone, Debug)]
pub struct Seat {
    pub name: String,
    /// Those with a lower one are switched before.
    pub rank: usize,
    /// How far it was when it was looked at, or why nobody could look.
    pub found: Result<Part, String>,
}

/// One thing that a host is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    Claim {
        resume: bool,
    },
    Commit,
    Keep,
    /// Whether it works, by what it was switched to.
    Look,
    /// The same, by what it went back to.
    LookBack,
    Revert {
        why: String,
    },
    /// Bring there all that it lacks, and what to switch to.
    Stage,
    Switch,
}

/// An order with whom it is for. It takes the place of the one before it, if that is still on its
/// way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errand {
    pub host: usize,
    /// Comes back with the answer.
    pub token: u64,
    pub order: Order,
}

/// Whether what a host runs works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Gated {
    Failed(String),
    Passed,
    Pending(String),
}

/// What became of an errand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Giving it again is of no use.
    Failed(String),
    Looked(Gated),
    /// Whether it was taken is not known.
    Lost(String),
    Refused(super::HostRefusal),
    /// It was taken, and the host is so far.
    Taken(Part),
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    Claiming,
    /// The point of no return: from the first commit on there is no way but on.
    Committing,
    /// Every host is heard once more, so that all begin to commit with their whole time before
    /// them.
    Confirming,
    Ended,
    Returning,
    Staging,
    Switching {
        wave: usize,
    },
}

/// What keeps a rollout from being everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// By this host; with the reason.
    Host(usize, String),
    Interrupted,
    /// Its first operator was gone before every host had all that it needs.
    Left,
}

/// What a host has in the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    New,
    /// With how it is.
    Old(String),
    /// It goes back by itself, if it was switched and nobody else commits it.
    Unknown(String),
}

/// A rollout, as its operator knows it.
#[derive(Debug)]
pub struct Operator {
    begin: Begin,
    pace: Pace,
    sites: Vec<Site>,
    waves: Vec<Vec<usize>>,
    phase: Phase,
    phase_at: Duration,
    why: Option<Why>,
    is_untouched: bool,
}

impl Operator {
    pub fn new(begin: Begin, pace: Pace, seats: Vec<Seat>) -> Self {
        let sites = seats.into_iter().map(Site::new).collect();
        let (phase, phase_at) = (Phase::Claiming, Duration::ZERO);
        let (waves, why, is_untouched) = (Vec::new(), None, true);
        Self { begin, pace, sites, waves, phase, phase_at, why, is_untouched }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The hosts of a wave.
    pub fn wave(&self, n: usize) -> &[usize] {
        self.waves.get(n).map_or(&[], Vec::as_slice)
    }

    /// What keeps it from being everywhere, once something does.
    pub fn why(&self) -> Option<&Why> {
        self.why.as_ref()
    }

    /// The hosts, in the order that everything else about them has.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sites.iter().map(|site| site.name.as_str())
    }

    /// What each host has, once all is over.
    pub fn ends(&self) -> Option<Vec<Ended>> {
        if self.phase != Phase::Ended {
            return None;
        }
        let unknown = || Ended::Unknown("it was not asked to the end".into());
        Some(self.sites.iter().map(|site| site.ended.clone().unwrap_or_else(unknown)).collect())
    }

    /// Whether it has come to nothing before this operator asked any host for anything that changes
    /// what it runs.
    pub fn is_untouched(&self) -> bool {
        self.is_untouched && self.why.is_some()
    }

    /// Goes to where the rollout is, by how far its hosts are.
    fn advance(&mut self, now: Duration) {
        while let Some(next) = self.onward() {
            self.enter(next, now);
        }
    }

    fn open(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().filter(|site| site.ended.is_none())
    }

    /// The phase that comes next, if this one is over.
    fn onward(&self) -> Option<Phase> {
        let all = |is_so: &dyn Fn(&Site) -> bool| self.open().all(is_so);
        match self.phase {
            Phase::Claiming if self.open().next().is_none() => Some(Phase::Ended),
            Phase::Claiming if all(&|site| site.is_mine) => Some(self.decided()),
            Phase::Staging if all(&|site| site.stage == Some(HostStage::Staged)) => {
                Some(Phase::Switching { wave: 0 })
            }
            Phase::Switching { wave } => match self.waves.get(wave) {
                None => Some(Phase::Confirming),
                Some(hosts) => {
                    let has_baked = |n: &usize| self.sites[*n].has_baked;
                    hosts.iter().all(has_baked).then_some(Phase::Switching { wave: wave + 1 })
                }
            },
            Phase::Confirming if all(&|site| site.heard_at >= self.phase_at) => {
                Some(Phase::Committing)
            }
            Phase::Committing | Phase::Returning if all(&|_| false) => Some(Phase::Ended),
            Phase::Claiming
            | Phase::Staging
            | Phase::Confirming
            | Phase::Committing
            | Phase::Returning
            | Phase::Ended => None,
        }
    }

    /// Where it goes once all hosts are claimed: nobody else can change their stages any more.
    fn decided(&self) -> Phase {
        match self.begin {
            Begin::New => Phase::Staging,
            Begin::Resume => match onward(self.sites.iter().map(|site| site.stage.as_ref())) {
                Onward::On => Phase::Switching { wave: 0 },
                Onward::Back => Phase::Returning,
            },
        }
    }

    fn enter(&mut self, phase: Phase, now: Duration) {
        let was = core::mem::replace(&mut self.phase, phase);
        self.phase_at = now;
        match phase {
            Phase::Switching { wave: 0 } => self.line_up(),
            Phase::Returning if was == Phase::Claiming => drop(self.why.get_or_insert(Why::Left)),
            Phase::Switching { .. }
            | Phase::Claiming
            | Phase::Staging
            | Phase::Confirming
            | Phase::Committing
            | Phase::Returning
            | Phase::Ended => (),
        }
        for site in &mut self.sites {
            site.lost = None;
        }
    }

    /// Splits the hosts that are to be switched into waves; those of a rank go before the next.
    fn line_up(&mut self) {
        for site in &mut self.sites {
            site.end_if_it_cannot_follow();
        }
        let mut to_switch: Vec<usize> = (0..self.sites.len())
            .filter(|n| {
                let site = &self.sites[*n];
                site.ended.is_none() && site.stage != Some(HostStage::Committed)
            })
            .collect();
        to_switch.sort_by_key(|n| self.sites[*n].rank);
        let rank = |n: &usize| self.sites[*n].rank;
        let mut canary = self.pace.canary;
        let of_rank = to_switch.chunk_by(|one, other| rank(one) == rank(other)).flat_map(|hosts| {
            let waves = waves(hosts, canary, self.pace.wave, to_switch.len());
            canary = 0;
            waves
        });
        self.waves = of_rank.collect();
    }

    /// Has every host go back, for the first reason that there is.
    fn go_back(&mut self, why: Why, now: Duration) {
        self.why.get_or_insert(why);
        match (self.phase, self.begin) {
            // How far all of them are is not known yet: one may have it for good.
            (Phase::Claiming, Begin::Resume) => self.leave_alone("it was not gone on with"),
            // One that is told to go back could never follow those that have it for good.
            _ if self.has_committed() => self.leave_alone(GOES_BACK),
            _ => self.enter(Phase::Returning, now),
        }
    }

    fn has_committed(&self) -> bool {
        self.sites.iter().any(|site| site.stage == Some(HostStage::Committed))
    }

    /// Asks nothing any more.
    fn leave_alone(&mut self, why: &str) {
        for site in self.sites.iter_mut().filter(|site| site.ended.is_none()) {
            site.ended = Some(match &site.stage {
                Some(HostStage::Committed) => Ended::New,
                _ if site.was_switched => Ended::Unknown(why.into()),
                _ => Ended::Old(AS_IT_WAS.into()),
            });
        }
        self.phase = Phase::Ended;
    }

    /// Another operator decides from now on what any host has.
    fn yield_to_another(&mut self, why: &str) {
        for site in &mut self.sites {
            site.ended = Some(match &site.stage {
                Some(HostStage::Committed) => Ended::New,
                _ => Ended::Unknown(why.into()),
            });
        }
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
mod tests;

//! A host, as the operator of a rollout knows it.

use alloc::string::String;
use core::time::Duration;

use super::{AS_IT_WAS, Ended, Order, Seat};
use crate::rollout::{HostStage, Part};

#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) rank: usize,
    /// How far it is, as last heard; `None` if it holds nothing of the rollout.
    pub(super) stage: Option<HostStage>,
    /// It waits for this operator and no other.
    pub(super) is_mine: bool,
    /// It may hold something of the rollout.
    pub(super) was_asked: bool,
    /// It may run the new, or have run it.
    pub(super) was_switched: bool,
    /// This operator has asked it to switch.
    pub(super) is_begun: bool,
    /// What it was asked and has not answered.
    pub(super) errand: Option<Pending>,
    pub(super) last_token: u64,
    pub(super) lost: Option<Lost>,
    /// When the last ask was on its way that it has taken.
    pub(super) heard_at: Duration,
    pub(super) looked_at: Duration,
    /// When it had taken the switch of this operator.
    pub(super) switched_at: Option<Duration>,
    pub(super) passed_at: Option<Duration>,
    pub(super) has_baked: bool,
    pub(super) reverted_at: Option<Duration>,
    pub(super) ended: Option<Ended>,
}

/// An errand on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) token: u64,
    pub(super) order: Order,
    pub(super) at: Duration,
}

/// A host that does not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) since: Duration,
    pub(super) again_at: Duration,
}

impl Site {
    pub(super) fn new(seat: Seat) -> Self {
        let ended = seat.found.as_ref().err().map(|why| Ended::Old(left_out(why)));
        let mut site = Self {
            name: seat.name,
            rank: seat.rank,
            was_switched: false,
            stage: None,
            is_mine: false,
            was_asked: false,
            is_begun: false,
            errand: None,
            last_token: 0,
            lost: None,
            heard_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            switched_at: None,
            passed_at: None,
            has_baked: false,
            reverted_at: None,
            ended,
        };
        if let Ok(part) = seat.found {
            site.stage = stage_of(part);
            site.was_switched = site.stage == Some(HostStage::Switched);
        }
        site
    }

    /// It says how far it is.
    pub(super) fn tells(&mut self, part: Part) {
        self.ended = match &part {
            Part::None => Some(Ended::Old(BARE.into())),
            Part::Done => Some(Ended::New),
            Part::Held(_) => None,
        };
        self.stage = stage_of(part);
        self.was_switched |= self.stage == Some(HostStage::Switched);
    }

    /// One that cannot be switched any more has what it had.
    pub(super) fn end_if_it_cannot_follow(&mut self) {
        let why = match &self.stage {
            Some(HostStage::Reverted { by_itself: false, .. }) => "it was told to go back",
            Some(HostStage::Claimed) => "it never had all that it needs",
            None => BARE,
            Some(
                HostStage::Staged
                | HostStage::Switched
                | HostStage::Committed
                | HostStage::Reverted { by_itself: true, .. },
            ) => return,
        };
        self.ended.get_or_insert(Ended::Old(why.into()));
    }

    /// What it has if it takes no part any more and nothing else is known.
    pub(super) fn end_unheard(&mut self, why: String) {
        self.ended = Some(match self.was_switched && self.reverted_at.is_none() {
            true => Ended::Unknown(why),
            false => Ended::Old(AS_IT_WAS.into()),
        });
    }
}

/// How a host is told of that another operator had not asked, or that has gone its own way since.
const BARE: &str = "it holds nothing of the rollout";

fn stage_of(part: Part) -> Option<HostStage> {
    match part {
        Part::None => None,
        Part::Done => Some(HostStage::Committed),
        Part::Held(stage) => Some(stage),
    }
}

/// How a host is told of that nobody could reach.
pub(super) fn left_out(why: &str) -> String {
    alloc::format!("it was left out: {why}")
}

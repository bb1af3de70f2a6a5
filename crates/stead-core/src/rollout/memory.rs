//! What a host must not forget of a rollout: how far it is, and the plans on both sides of the
//! switch.
//!
//! It is durable before anything is done by it. What is yet to be done is part of it, so that
//! whoever reads it after a crash goes on.

use serde::{Deserialize, Serialize};

use crate::rollout::{HostAsk, HostDo, HostRefusal, HostRollout, HostStage};

/// A host's memory. `P` is a plan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostMemory<P> {
    pub machine: HostRollout,
    /// What is switched to.
    staged: Option<P>,
    /// What was there before the switch.
    back: Option<P>,
    /// A plan that is to be put, and may not be yet.
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Pending {
    Back,
    Staged,
}

impl<P> Default for HostMemory<P> {
    fn default() -> Self {
        Self { machine: HostRollout::default(), staged: None, back: None, pending: None }
    }
}

impl<P: Clone + PartialEq> HostMemory<P> {
    /// What is remembered once this ask was taken, and what was decided, or why it is refused.
    /// `staged` came with the ask. `now_has` gives the plan that is there, in the likeness of what
    /// is staged where there is none. `alive` is as for [`HostRollout::take`].
    pub fn take(
        &self,
        ask: &HostAsk,
        staged: Option<P>,
        alive: bool,
        now_has: impl FnOnce(&P) -> P,
    ) -> Result<(Self, HostDo), HostRefusal> {
        let (machine, what) = self.machine.clone().take(ask, alive)?;
        if let (Some(held), Some(_)) = (&self.machine.held, self.pending)
            && held.id != ask.id
        {
            // Its stage says that it has ended, and the plan that ends it is yet to be put.
            return Err(HostRefusal::Busy { who: held.who.clone(), id: held.id.clone() });
        }
        Ok((self.after(machine, what, staged, now_has), what))
    }

    /// The time in which a switch may stay uncommitted has passed.
    #[must_use]
    pub fn expire(&self) -> Self {
        let (machine, what) = self.machine.clone().expire();
        self.after(machine, what, None, P::clone)
    }

    /// The plan that is there came otherwise than by the rollout: what is held must not come back.
    #[must_use]
    pub fn leave(&self) -> Self {
        Self { machine: self.machine.clone().leave(), ..Self::default() }
    }

    /// Whether nobody else may change what the host runs. `alive` is as for [`Self::take`].
    pub fn is_under_way(&self, alive: bool) -> bool {
        self.pending.is_some() || self.machine.is_under_way(alive)
    }

    /// The pending plan was put.
    #[must_use]
    pub fn settle(&self) -> Self {
        Self { pending: None, ..self.clone() }
    }

    /// The plan that is to be put, unless it is there.
    pub fn pending(&self) -> Option<&P> {
        match self.pending? {
            Pending::Back => self.back.as_ref(),
            Pending::Staged => self.staged.as_ref(),
        }
    }

    pub fn staged(&self) -> Option<&P> {
        self.staged.as_ref()
    }

    /// The plans that may yet be put.
    pub fn plans(&self) -> impl Iterator<Item = &P> {
        self.staged.iter().chain(&self.back)
    }

    pub fn stage(&self) -> Option<&HostStage> {
        self.machine.held.as_ref().map(|held| &held.stage)
    }

    pub fn is_switched(&self) -> bool {
        self.stage() == Some(&HostStage::Switched)
    }

    /// Whether the plan that is there came otherwise than by this rollout, after it.
    pub fn is_overtaken(&self, now_has: Option<&P>) -> bool {
        let last_put = match self.stage() {
            Some(HostStage::Switched | HostStage::Committed) => self.staged.as_ref(),
            Some(HostStage::Reverted { .. }) => self.back.as_ref(),
            Some(HostStage::Claimed | HostStage::Staged) | None => None,
        };
        self.pending.is_none() && last_put.is_some() && last_put != now_has
    }

    fn after(
        &self,
        machine: HostRollout,
        what: HostDo,
        staged: Option<P>,
        now_has: impl FnOnce(&P) -> P,
    ) -> Self {
        let id = |machine: &HostRollout| machine.held.as_ref().map(|held| held.id.clone());
        let is_same = id(&machine) == id(&self.machine);
        let mut next = if is_same { self.clone() } else { Self::default() };
        next.machine = machine;
        match what {
            HostDo::Nothing => (),
            HostDo::Drop => (next.staged, next.back) = (None, None),
            HostDo::KeepNew => next.back = None,
            HostDo::Store => next.staged = staged.or(next.staged),
            HostDo::PutStaged => {
                next.back = next.back.or_else(|| next.staged.as_ref().map(now_has));
                next.pending = Some(Pending::Staged);
            }
            HostDo::PutBack => next.pending = next.back.is_some().then_some(Pending::Back),
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::rollout::HostAskWhat;

    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn take(memory: &HostMemory<u32>, what: HostAskWhat, now_has: u32) -> HostMemory<u32> {
        let staged = (what == HostAskWhat::Stage).then_some(NEW);
        let ask = HostAsk { epoch: 7, id: "r7".parse().unwrap(), what };
        memory.take(&ask, staged, true, |_| now_has).unwrap().0
    }

    fn claim() -> HostAskWhat {
        HostAskWhat::Claim { who: "a".to_string(), resume: false }
    }

    fn revert() -> HostAskWhat {
        HostAskWhat::Revert { why: "x".to_string() }
    }

    /// A host that has just been told to switch.
    fn switched() -> HostMemory<u32> {
        let claimed = take(&HostMemory::default(), claim(), OLD);
        take(&take(&claimed, HostAskWhat::Stage, OLD), HostAskWhat::Switch, OLD)
    }

    #[test]
    fn the_way_back_is_what_was_there_at_the_first_switch_however_often_it_is_asked() {
        let once = switched();
        assert_eq!(once.pending(), Some(&NEW));
        let twice = take(&once.settle(), HostAskWhat::Switch, NEW);
        assert_eq!((twice.pending(), &twice.back), (Some(&NEW), &Some(OLD)));
        assert_eq!(take(&twice, revert(), NEW).pending(), Some(&OLD));
        assert_eq!(twice.expire().pending(), Some(&OLD));
        // What went back by itself may be switched again, with the same way back.
        let again = take(&twice.expire().settle(), HostAskWhat::Switch, OLD);
        assert_eq!((again.pending(), &again.back), (Some(&NEW), &Some(OLD)));
    }

    #[test]
    fn a_commit_forgets_the_way_back_and_a_revert_before_the_switch_all_that_was_staged() {
        let committed = take(&switched().settle(), HostAskWhat::Commit, NEW);
        assert_eq!((committed.back, committed.staged), (None, Some(NEW)));
        let claimed = take(&HostMemory::default(), claim(), OLD);
        let reverted = take(&take(&claimed, HostAskWhat::Stage, OLD), revert(), OLD);
        assert_eq!((reverted.pending(), reverted.staged), (None, None));
    }

    #[test]
    fn what_is_yet_to_be_put_keeps_other_rollouts_out() {
        let reverting = take(&switched().settle(), revert(), NEW);
        let other = HostAsk { epoch: 8, id: "r8".parse().unwrap(), what: claim() };
        let taken = |memory: &HostMemory<u32>| memory.take(&other, None, false, |_| NEW);
        assert!(matches!(taken(&reverting), Err(HostRefusal::Busy { .. })));
        assert!(reverting.is_under_way(false));
        let settled = reverting.settle();
        assert!(taken(&settled).is_ok() && !settled.is_under_way(false));
    }

    #[test]
    fn another_plan_overtakes_a_rollout_that_had_put_one_and_no_other() {
        let switched = switched();
        // It is still to be put: what is there is no sign of anything.
        assert!(!switched.is_overtaken(Some(&OLD)));
        let put = switched.settle();
        let committed = take(&put, HostAskWhat::Commit, NEW);
        let back = put.expire().settle();
        for (memory, own) in [(&put, NEW), (&committed, NEW), (&back, OLD)] {
            assert!(!memory.is_overtaken(Some(&own)));
            assert!(memory.is_overtaken(Some(&3)) && memory.is_overtaken(None));
        }
        let left = put.leave();
        assert_eq!((left.machine.epoch, left.pending(), left.back), (7, None, None));
        let claimed = take(&HostMemory::default(), claim(), OLD);
        assert!(!claimed.is_overtaken(Some(&3)));
    }
}

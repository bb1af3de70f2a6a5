//! What a host remembers of rollouts, and what it takes of an operator.
//!
//! Two numbers keep operators apart. The epoch fences: a host that has heard of a higher one does
//! nothing for a lower one any more. The id names the rollout: it stays when another operator goes
//! on with it. Every ask may come again, late or twice, since its answer may have been lost.

use alloc::borrow::ToOwned;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::names::RolloutId;

/// What a host remembers. Only [`HostRollout::take`], [`HostRollout::expire`] and
/// [`HostRollout::leave`] change it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostRollout {
    /// The highest that an operator came with and was let in.
    pub epoch: u64,
    /// The rollout that is under way, or was the last.
    pub held: Option<Held>,
    /// The rollout that has brought what it runs for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_good: Option<RolloutId>,
}

/// The rollout that a host takes part in, or took part in last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Held {
    pub id: RolloutId,
    /// The operator that drives it.
    pub who: String,
    pub stage: HostStage,
}

/// How far a host is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostStage {
    /// It waits for one operator, and runs what it ran.
    Claimed,
    /// It knows what to switch to, and runs what it ran.
    Staged,
    /// It runs the new, and can go back.
    Switched,
    /// It runs the new for good.
    Committed,
    /// It runs what it ran.
    Reverted {
        why: String,
        /// It was switched and nobody committed it in time. It may be switched again: elsewhere
        /// the new may have been committed meanwhile. One that was told to go back may not: a
        /// switch that was asked before could arrive after.
        #[serde(default)]
        by_itself: bool,
    },
}

/// One thing that an operator asks of a host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostAsk {
    pub epoch: u64,
    pub id: RolloutId,
    pub what: HostAskWhat,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAskWhat {
    /// Wait for this operator. With `resume` a host that holds nothing of the rollout only takes
    /// note that no operator before this one may ask it anything any more.
    Claim {
        who: String,
        resume: bool,
    },
    /// Store what to switch to; it comes with the ask.
    Stage,
    Switch,
    /// The operator is there, and nothing else.
    Keep,
    Commit,
    Revert {
        why: String,
    },
}

/// What a host must do once its new memory is durable. Doing one twice does no harm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostDo {
    /// Forget what was staged and the way back.
    Drop,
    /// Forget the way back.
    KeepNew,
    Nothing,
    /// Put what was there before the switch.
    PutBack,
    /// Keep what is there as the way back, unless there is one; then put what was staged.
    PutStaged,
    /// Store what came with the ask.
    Store,
}

/// Why a host does not do what it is asked. Nothing was changed by the ask.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum HostRefusal {
    /// Another rollout is under way here.
    #[error("a rollout of {who} is under way")]
    Busy { who: String, id: RolloutId },
    #[error("it is {stage}")]
    OutOfOrder { stage: HostStage },
    /// An operator with this epoch came since.
    #[error("another operator has taken over")]
    Stale { epoch: u64 },
    /// It takes no part in this rollout.
    #[error("it takes no part in this rollout")]
    Unclaimed,
}

impl core::fmt::Display for HostStage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Claimed => "claimed",
            Self::Staged => "staged",
            Self::Switched => "switched",
            Self::Committed => "committed",
            Self::Reverted { .. } => "reverted",
        })
    }
}

/// What became of an ask, or why it was refused.
type Taken = Result<(HostRollout, HostDo), HostRefusal>;

/// Why a host took back what nobody committed.
const NOT_COMMITTED: &str = "nobody committed it in time";

/// Two operators that look at the same moment see the same epoch. Each comes with one that lies at
/// most so far above, by chance, so that they are told apart.
const EPOCH_GAP: u64 = 1 << 20;

/// The epoch of an operator that has seen these: higher than all. `chance` is any number.
pub fn epoch_above(seen: impl IntoIterator<Item = u64>, chance: u64) -> u64 {
    let highest = seen.into_iter().max().unwrap_or(0);
    highest.saturating_add(1 + chance % EPOCH_GAP)
}

impl HostRollout {
    /// Takes one ask, or says why not. `alive`: the operator of what is held was heard of within
    /// its lease.
    pub fn take(self, ask: &HostAsk, alive: bool) -> Taken {
        if ask.epoch < self.epoch {
            return Err(HostRefusal::Stale { epoch: self.epoch });
        }
        if let HostAskWhat::Claim { who, resume } = &ask.what {
            return self.claimed(ask, who, *resume, alive);
        }
        let is_mine = ask.epoch == self.epoch;
        let held = self.held.clone().filter(|held| is_mine && held.id == ask.id);
        let stage = held.ok_or(HostRefusal::Unclaimed)?.stage;
        let (next, what) = after(stage, &ask.what)?;
        let for_good = if next == HostStage::Committed { Some(ask.id.clone()) } else { None };
        let for_good = for_good.or_else(|| self.for_good.clone());
        Ok((Self { for_good, ..self.with_stage(next) }, what))
    }

    fn claimed(self, ask: &HostAsk, who: &str, resume: bool, alive: bool) -> Taken {
        let is_higher = ask.epoch > self.epoch;
        let stale = HostRefusal::Stale { epoch: self.epoch };
        match self.held {
            Some(ref held) if held.id == ask.id => {
                // The same epoch of another operator is a draw that neither may win twice.
                if !is_higher && held.who != who {
                    return Err(stale);
                }
                let held = Held { who: who.to_owned(), ..held.clone() };
                Ok((Self { epoch: ask.epoch, held: Some(held), ..self }, HostDo::Nothing))
            }
            Some(Held { id, who, stage }) if is_under_way(&stage, alive) => {
                Err(HostRefusal::Busy { who, id })
            }
            Some(_) | None if resume => Ok((Self { epoch: ask.epoch, ..self }, HostDo::Nothing)),
            Some(_) | None if !is_higher => Err(stale),
            Some(_) | None => {
                let what = if self.held.is_some() { HostDo::Drop } else { HostDo::Nothing };
                let stage = HostStage::Claimed;
                let held = Held { id: ask.id.clone(), who: who.to_owned(), stage };
                Ok((Self { epoch: ask.epoch, held: Some(held), ..self }, what))
            }
        }
    }

    /// The time in which a switch may stay uncommitted has passed.
    pub fn expire(self) -> (Self, HostDo) {
        match self.held.as_ref().map(|held| &held.stage) {
            Some(HostStage::Switched) => {
                let stage = HostStage::Reverted { why: NOT_COMMITTED.to_owned(), by_itself: true };
                (self.with_stage(stage), HostDo::PutBack)
            }
            Some(
                HostStage::Claimed
                | HostStage::Staged
                | HostStage::Committed
                | HostStage::Reverted { .. },
            )
            | None => (self, HostDo::Nothing),
        }
    }

    /// Whether nobody else may change what the host runs. `alive` is as for [`Self::take`].
    pub fn is_under_way(&self, alive: bool) -> bool {
        self.held.as_ref().is_some_and(|held| is_under_way(&held.stage, alive))
    }

    /// What the host runs was changed without a rollout: what is held must not come back to it.
    #[must_use]
    pub fn leave(self) -> Self {
        Self { held: None, for_good: None, ..self }
    }

    fn with_stage(self, stage: HostStage) -> Self {
        Self { held: self.held.map(|held| Held { stage, ..held }), ..self }
    }
}

/// Whether a rollout at this stage keeps others out.
fn is_under_way(stage: &HostStage, alive: bool) -> bool {
    match stage {
        HostStage::Claimed | HostStage::Staged => alive,
        HostStage::Switched => true,
        HostStage::Committed | HostStage::Reverted { .. } => false,
    }
}

/// Where an ask of the right operator leads.
fn after(stage: HostStage, what: &HostAskWhat) -> Result<(HostStage, HostDo), HostRefusal> {
    use HostStage::{Claimed, Committed, Reverted, Staged, Switched};
    match (what, stage) {
        (HostAskWhat::Keep | HostAskWhat::Claim { .. }, stage) => Ok((stage, HostDo::Nothing)),
        (HostAskWhat::Stage, Claimed | Staged) => Ok((Staged, HostDo::Store)),
        (HostAskWhat::Switch, Staged | Switched | Reverted { by_itself: true, .. }) => {
            Ok((Switched, HostDo::PutStaged))
        }
        (HostAskWhat::Commit, Switched | Committed) => Ok((Committed, HostDo::KeepNew)),
        (HostAskWhat::Revert { why }, stage) => reverted(stage, why),
        (HostAskWhat::Stage, stage @ (Switched | Committed | Reverted { .. }))
        | (HostAskWhat::Switch, stage @ (Claimed | Committed | Reverted { .. }))
        | (HostAskWhat::Commit, stage @ (Claimed | Staged | Reverted { .. })) => {
            Err(HostRefusal::OutOfOrder { stage })
        }
    }
}

fn reverted(stage: HostStage, why: &str) -> Result<(HostStage, HostDo), HostRefusal> {
    let told = |why: &str| HostStage::Reverted { why: why.to_owned(), by_itself: false };
    match stage {
        HostStage::Claimed | HostStage::Staged => Ok((told(why), HostDo::Drop)),
        HostStage::Switched => Ok((told(why), HostDo::PutBack)),
        // It runs what it ran: putting that once more could undo what came later.
        HostStage::Reverted { why, .. } => Ok((told(&why), HostDo::Nothing)),
        HostStage::Committed => Err(HostRefusal::OutOfOrder { stage }),
    }
}

#[cfg(test)]
mod tests;

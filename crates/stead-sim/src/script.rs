//! What a script adds to a plan: names, what happens once a host is so far, and when it is over.

use stead_core::rollout::HostStage;

use crate::Ms;
use crate::plan::Fault;

/// A plan with this has nothing in it that is left to chance, and nobody who mends what is left.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Of its operators, in the order in which they begin.
    pub names: Vec<String>,
    pub whens: Vec<When>,
    pub end: Ms,
}

/// Something goes wrong as soon as a host is so far.
#[derive(Clone, Debug)]
pub struct When {
    pub host: usize,
    pub stage: Stage,
    pub fault: Fault,
}

/// How far a host is, by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    Claimed,
    Committed,
    Reverted,
    Staged,
    Switched,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] =
        [Self::Claimed, Self::Staged, Self::Switched, Self::Committed, Self::Reverted];

    pub(crate) fn of(stage: &HostStage) -> Self {
        match stage {
            HostStage::Claimed => Self::Claimed,
            HostStage::Committed => Self::Committed,
            HostStage::Reverted { .. } => Self::Reverted,
            HostStage::Staged => Self::Staged,
            HostStage::Switched => Self::Switched,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Committed => "committed",
            Self::Reverted => "reverted",
            Self::Staged => "staged",
            Self::Switched => "switched",
        }
    }
}

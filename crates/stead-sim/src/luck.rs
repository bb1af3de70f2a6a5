//! What is left to chance in a world, and what a script takes in its place.

use fastrand::Rng;

use crate::Ms;

/// What is brought to a host may take so long to get there.
const SHIP_MS_MAX: Ms = 3000;

/// What comes late comes so late.
const LATE_MS_MAX: Ms = 30_000;

const DISK_MS_MAX: Ms = 20;

/// In a script every message and every write takes this, so that its times can be followed.
const STEADY_MS: Ms = 5;

/// In a script all that is brought to a host takes this: long enough for something to happen.
const STEADY_SHIP_MS: Ms = 1000;

#[derive(Debug)]
pub(crate) enum Luck {
    Seeded {
        rng: Rng,
        delay_ms_max: Ms,
        lost_permille: u32,
    },
    /// Nothing is left to chance.
    Steady,
}

/// What is lost of an ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Answer,
    /// On its way, and the sender notices.
    Ask,
    /// It comes so much later, when nobody waits for it any more.
    Late(Ms),
}

impl Luck {
    pub(crate) fn seeded(seed: u64, delay_ms_max: Ms, lost_permille: u32) -> Self {
        Self::Seeded { rng: Rng::with_seed(seed ^ 0x5eed), delay_ms_max, lost_permille }
    }

    /// What tells an operator's epoch from that of another one who looks at the same moment.
    pub(crate) fn epoch(&mut self, operator: usize) -> u64 {
        match self {
            Self::Seeded { rng, .. } => rng.u64(..),
            Self::Steady => operator as u64,
        }
    }

    pub(crate) fn delay(&mut self) -> Ms {
        match self {
            Self::Seeded { rng, delay_ms_max, .. } => 1 + rng.u64(0..*delay_ms_max),
            Self::Steady => STEADY_MS,
        }
    }

    pub(crate) fn ship(&mut self) -> Ms {
        match self {
            Self::Seeded { rng, .. } => rng.u64(0..SHIP_MS_MAX),
            Self::Steady => STEADY_SHIP_MS,
        }
    }

    pub(crate) fn disk(&mut self) -> Ms {
        match self {
            Self::Seeded { rng, .. } => 1 + rng.u64(0..DISK_MS_MAX),
            Self::Steady => STEADY_MS,
        }
    }

    pub(crate) fn loss(&mut self) -> Option<Loss> {
        let Self::Seeded { rng, lost_permille, .. } = self else { return None };
        if rng.u32(0..1000) >= *lost_permille {
            return None;
        }
        Some(match rng.u8(0..3) {
            0 => Loss::Ask,
            1 => Loss::Late(rng.u64(0..LATE_MS_MAX)),
            _ => Loss::Answer,
        })
    }

    /// Whether the disk has what was being written when its host failed.
    pub(crate) fn is_written(&mut self) -> bool {
        match self {
            Self::Seeded { rng, .. } => rng.bool(),
            Self::Steady => false,
        }
    }
}

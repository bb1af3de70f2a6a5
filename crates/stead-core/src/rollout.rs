//! A rollout: how a fleet gets from what it has to something new, host by host, or back.
//!
//! ```text
//!   Claimed ──> Staged ──> Switched ──> Committed
//!      │           │          │ ^
//!      └───────────┴──────────┴─┴─> Reverted
//! ```
//!
//! What a host is to do is decided by the host, by [`HostRollout`]: it takes an ask or refuses it,
//! and whatever it takes it may be asked again. Nothing that an operator believes is needed for a
//! host to be safe: a switch that nobody commits is taken back by the host itself.

mod compare;
mod host;
mod memory;
mod operator;
mod resume;
mod waves;

pub use crate::names::RolloutId;
pub use compare::{Errors, Seen, worse};
pub use host::{
    Held, HostAsk, HostAskWhat, HostDo, HostRefusal, HostRollout, HostStage, epoch_above,
};
pub use memory::HostMemory;
pub use operator::{Answer, Begin, Ended, Errand, Gated, Operator, Order, Pace, Phase, Seat, Why};
pub use resume::{Onward, Part, is_split, onward, part, unfinished};
pub use waves::{Wave, WaveError, waves};

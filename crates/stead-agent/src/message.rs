//! What the task that owns the agent's state is told.
//!
//! ```text
//! API requests ─┐
//! links ────────┼─ Message ─> Agent ─ Job ──> hands ─┐
//! hands, signals┘   ^                                │
//!                   └───────────── Done ─────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use stead_core::names::InstanceName;
use stead_proc::NamedSocket;
use stead_wire::api::{PlanPut, PlanState, Refusal};
use stead_wire::keeper::{Report, Request};
use stead_wire::rollout::{RolloutAsk, RolloutState};
use tokio::sync::oneshot;

use crate::hands::Done;
use crate::probe::Probed;
use crate::rollout::AnswerTo;
use crate::view::Snapshot;

/// Messages that may wait for the agent.
pub(crate) const MESSAGES_MAX: usize = 1024;

pub(crate) enum Message {
    Ask(Ask),
    /// Some child has ended.
    ChildEnded,
    Done(Done),
    /// A front has taken this set of backends.
    Fronted {
        front: InstanceName,
        backends: Vec<SocketAddr>,
    },
    /// The link with this number says something about its keeper.
    Link {
        instance: InstanceName,
        link: u64,
        said: Said,
    },
    /// What the probes of a run amount to.
    Probed {
        instance: InstanceName,
        run: u64,
        probed: Probed,
    },
    /// A keeper has handed over its sockets, or could not be asked.
    Sockets {
        instance: InstanceName,
        link: u64,
        sockets: Vec<NamedSocket>,
    },
}

/// What a link says.
#[derive(Debug)]
pub(crate) enum Said {
    /// What became of a request that the agent made for itself.
    Answered {
        errand: Errand,
        result: Result<(), String>,
    },
    /// Nobody holds the keeper's lock, and nobody listens.
    Gone,
    Report(Box<Report>),
    /// The keeper is there and has said nothing for too long.
    Silent,
    /// The connection is lost; the keeper may be, too.
    Unlinked {
        why: String,
    },
}

/// Requests that the agent makes for itself, and must not make twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Errand {
    Due,
    Ready,
    Retire,
    Unhealthy,
    Update,
    Upgrade,
}

/// A keeper's answer to come; an error says why it did not take the request.
pub(crate) type Answer = oneshot::Receiver<Result<(), String>>;

/// What became of a request to several instances: an answer to come, or why it was not passed on.
pub(crate) type Passed = BTreeMap<String, Result<Answer, String>>;

/// What the API asks.
pub(crate) enum Ask {
    /// Pass a request on to these services and instances.
    Act {
        names: Vec<String>,
        request: Request,
        to: oneshot::Sender<Passed>,
    },
    Down {
        to: oneshot::Sender<Result<PlanState, Refusal>>,
    },
    Plan {
        to: oneshot::Sender<PlanState>,
    },
    PutPlan {
        put: Box<PlanPut>,
        to: oneshot::Sender<Result<PlanState, PutRefused>>,
    },
    /// Ask every keeper for a fresh report.
    Refresh {
        to: oneshot::Sender<Passed>,
    },
    Rollout {
        ask: Box<RolloutAsk>,
        to: AnswerTo,
    },
    RolloutState {
        to: oneshot::Sender<RolloutState>,
    },
    Snapshot {
        /// Instances whose keepers were asked and did not answer.
        silent: BTreeSet<String>,
        to: oneshot::Sender<Snapshot>,
    },
}

/// Why a plan was not taken.
#[derive(Debug)]
pub(crate) enum PutRefused {
    /// It cannot be carried out as it is.
    Bad(Refusal),
    /// The disk did not take it.
    NotStored(Refusal),
    /// It replaces another plan than the one that is there.
    Stale(Refusal),
}

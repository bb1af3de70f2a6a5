//! Rollouts, as hosts see them: what an operator asks, what a host remembers, and its history.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stead_core::plan::Plan;
use stead_core::rollout::{HostAsk, HostRollout};

use crate::WallMs;
use crate::api::Signed;

/// What is refused with a [`stead_core::rollout::HostRefusal`], in JSON, as the reason.
pub const ROLLOUT_REFUSED: &str = "the rollout may not do this here";

/// `POST /v1/rollout`: one thing that an operator asks of a host. Asking twice does no harm.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct RolloutAsk {
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub ask: HostAsk,
    /// Goes with `stage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Box<Staged>>,
}

/// What a host is to switch to.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Staged {
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub plan: Plan,
    pub about: About,
    /// A switch that is not committed within so long, without a word from the operator, is taken
    /// back by the host itself.
    pub commit_within_ms: u64,
    /// For a host that takes signed plans only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// What another operator must know to go on with a rollout.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct About {
    /// Like `deploy` or `rollback of web to 3`.
    pub what: String,
    /// The commit of the operator's folder, if it is one of git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub started_at: WallMs,
    /// All hosts of it, in the order in which they are switched.
    pub hosts: Vec<String>,
}

/// `GET /v1/rollout`, and the answer to an ask that was taken.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RolloutState {
    /// `epoch`, the highest number that an operator came with; `held`, the rollout that is under
    /// way, or was the last; `for_good`, the one that brought what runs.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub machine: HostRollout,
    pub about: Option<About>,
    /// Whether its operator still counts as being there.
    pub alive: bool,
}

/// `GET /v1/history`: what this host was made to run, the newest last.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct History {
    pub entries: Vec<HistoryEntry>,
    /// Whether each entry holds the digest of the one before it.
    pub is_unbroken: bool,
}

/// One change of what a host runs.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// Counts the entries of this host, from 1.
    pub n: u64,
    pub at: WallMs,
    pub who: String,
    pub what: String,
    pub outcome: Outcome,
    pub fleet: String,
    /// The epoch of the rollout; 0 for a plan that came without one.
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The BLAKE3 digest of the plan.
    pub plan_digest: String,
    /// The releases by service.
    pub releases: BTreeMap<String, String>,
    /// The digest of the entry before; empty for the first.
    pub before: String,
    /// The plan itself, where it was asked for and is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub plan: Option<Plan>,
}

/// How a change ended.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum Outcome {
    Committed,
    /// It was put by `stead up` on the host itself, or whoever speaks to the agent.
    Put,
    /// The host went back to what it had before.
    Reverted(String),
}

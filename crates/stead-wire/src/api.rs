//! The agent's HTTP API: what goes over its local socket.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stead_core::plan::Plan;

use crate::WallMs;
use crate::journal::{Event, Exit, Stream};

/// `GET /v1/status`
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Status {
    pub host: String,
    pub agent: AgentStatus,
    /// By service, then by index.
    pub instances: Vec<InstanceStatus>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct AgentStatus {
    pub version: String,
    pub pid: u32,
    pub root: String,
    /// The keeper's program, which also runs programs in the place of a run.
    #[serde(default)]
    pub keeper: String,
    pub fleet: Option<String>,
    /// The number of the plan it obeys; 0 while it has none.
    pub generation: u64,
    /// What is wrong with the agent itself, a sentence each.
    pub troubles: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct InstanceStatus {
    /// Like `orders.0`.
    pub name: String,
    pub service: String,
    pub index: u32,
    /// `down`, `starting`, `up`, `stopping`, `waiting` or `failed`.
    pub phase: String,
    /// Whether it may get work: its probes say so, or it has none and is up. `null` while nobody
    /// knows yet.
    pub ready: Option<bool>,
    pub pid: Option<u32>,
    pub run: u64,
    /// The run has the second of two ports of each name: one behind a front.
    #[serde(default)]
    pub second_ports: bool,
    pub restarts: u64,
    pub release: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// When one that has its times runs next: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<String>,
    /// Memory of the whole tree that nobody else shares (anonymous and shared-memory pages).
    pub memory_bytes: Option<u64>,
    /// Of one core, over the time since the last look, at least a second.
    pub cpu_percent: Option<f64>,
    pub last_exit: Option<Exit>,
    /// `null` while it has no keeper.
    pub keeper_pid: Option<u32>,
    /// Why it is not up, or what else is worth knowing, a sentence each.
    pub notes: Vec<String>,
    /// Why the run by the plan's spec failed to take the place of the one that runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Whether it goes by what the plan says now; not while a change is yet to be taken up.
    #[serde(default)]
    pub current: bool,
    pub log: LogStatus,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct LogStatus {
    pub stored_bytes: u64,
    pub dropped_bytes: u64,
}

/// `GET /v1/host`
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Host {
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpu_milli: u32,
    /// The limits that this host can hold instances to, as the fleet file calls them.
    pub keeps: Vec<String>,
}

/// `GET /v1/plan`
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PlanState {
    pub generation: u64,
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    pub plan: Option<Plan>,
}

/// `PUT /v1/plan`: refused with 409 unless it replaces the generation the agent has.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PlanPut {
    pub replaces: u64,
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub plan: Plan,
    /// For a host that takes signed plans only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// A plan as the holder of a key has signed it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Signed {
    /// The plan in JSON, byte for byte as it was signed.
    pub text: String,
    /// The key: `ed25519:` and 64 hexadecimal digits.
    pub key: String,
    /// 128 hexadecimal digits.
    pub signature: String,
}

impl Signed {
    /// What the plan of a rollout is signed for: the rollout's epoch, so that one that was seen is
    /// of no use for another.
    pub fn for_epoch(epoch: u64) -> String {
        format!("the plan of epoch {epoch}")
    }

    /// What a plan is signed for that replaces this generation of the host's.
    pub fn for_generation(replaces: u64) -> String {
        format!("the plan that replaces generation {replaces}")
    }
}

/// `POST /v1/act`
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Act {
    /// Services (`orders`) or instances (`orders.0`).
    pub names: Vec<String>,
    #[serde(flatten)]
    pub what: ActWhat,
}

#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "act")]
pub enum ActWhat {
    Reload,
    Restart,
    /// One that has its times runs at them again, without a run now.
    Resume,
    Signal {
        signal: String,
    },
    Start,
    Stop,
}

/// What became of an [`Act`], per instance.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Acted {
    /// The instances that took it.
    pub done: Vec<String>,
    /// The instances that did not, and why.
    pub refused: BTreeMap<String, String>,
}

/// One line of `GET /v1/logs` (newline-delimited JSON).
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct LogLine {
    pub instance: String,
    pub stream: Stream,
    /// When its batch was stored, microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// Without its line end; bytes that are not UTF-8 are replaced by U+FFFD.
    pub line: String,
    /// Bytes lost right before this line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_before: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One line of `GET /v1/events` (newline-delimited JSON).
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct EventLine {
    pub at: WallMs,
    /// `null` for what happened to the agent or the host.
    pub instance: Option<String>,
    #[serde(flatten)]
    pub event: Event,
}

/// `GET /v1/why/NAME`
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Why {
    pub instance: InstanceStatus,
    /// Why it is in the phase it is in, one sentence.
    pub because: String,
    /// The newest last.
    pub events: Vec<EventLine>,
    /// The last runs of one that has its times, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_runs: Vec<EndedRun>,
    /// What AppArmor or SELinux have denied its runs, a sentence each, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<String>,
    /// The last lines it wrote to its error stream before its last end, or to either.
    pub last_output: Vec<LogLine>,
}

/// A run that has ended.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct EndedRun {
    pub run: u64,
    pub exit: Exit,
}

/// Why something is refused that an agent, or a relay, of this version cannot do at all: one of
/// another version may.
pub const UNKNOWN_PATH: &str = "the path is unknown";

/// Every refusal.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Refusal {
    pub what: String,
    pub because: String,
    pub try_this: String,
}

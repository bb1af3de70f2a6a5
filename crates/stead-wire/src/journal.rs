//! The journal of an instance, written by its keeper, and of a host, written by its agent.
//!
//! Both are files named `events` of [`crate::frame`] records. A keeper's record carries the whole
//! memory of its instance after the event, so that the last whole record is all that the next
//! keeper must read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stead_core::machine::{Goal, RunId};

use crate::WallMs;

/// One thing that happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    pub at: WallMs,
    #[serde(flatten)]
    pub event: Event,
    /// Keepers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What happened. `run` is the number of the run it happened to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A running tree was taken over from a keeper that is gone.
    Adopted {
        run: u64,
        pid: u32,
    },
    AgentStarted {
        pid: u32,
        version: String,
    },
    AgentStopped {
        pid: u32,
    },
    /// What nothing needs any more was removed from the host's disk.
    Collected {
        /// Each with the beginning of its name.
        removed: Vec<String>,
        /// So many more are not named.
        #[serde(default)]
        more: u64,
        bytes: u64,
    },
    /// A file held bytes that were no whole record or body; what was whole was read.
    Damaged {
        file: String,
        bytes: u64,
        what: String,
    },
    /// Output that could not be stored.
    Dropped {
        stream: Stream,
        bytes: u64,
        why: String,
    },
    Exited {
        run: u64,
        pid: u32,
        exit: Exit,
    },
    /// The journal answered too slowly; the run was started without waiting for it.
    JournalStalled {
        run: u64,
    },
    /// A time of a scheduled service has come: a run begins.
    Due {
        due: WallMs,
    },
    /// An instance's keeper was found dead; another one follows.
    KeeperLost {
        // The first journals called it as an event line calls its own.
        #[serde(alias = "instance")]
        keeper_of: String,
        pid: u32,
    },
    KeeperStarted {
        pid: u32,
        version: String,
    },
    /// A new version of the keeper took the old one's place, in the same process.
    KeeperUpgraded {
        pid: u32,
        version: String,
    },
    /// The run has come up against one of its limits: `memory`, `processes`, `cpu` or `files`.
    LimitHit {
        run: u64,
        limit: String,
        what: String,
    },
    /// Times of a scheduled service passed without a run: nobody was there to begin one.
    Missed {
        since: WallMs,
        until: WallMs,
    },
    /// The whole tree was killed: it did not end in time, or was left behind.
    Killed {
        run: u64,
        processes: u32,
        why: String,
    },
    /// The run took longer than it may, and is stopped.
    Overdue {
        run: u64,
        timeout_ms: u64,
    },
    /// A time of a scheduled service came while its last run still went on; `what` became of it.
    Overlapped {
        run: u64,
        due: WallMs,
        what: String,
    },
    Planned {
        generation: u64,
        fleet: String,
        instances: u32,
    },
    /// A rollout has come to another stage on this host.
    Rollout {
        epoch: u64,
        who: String,
        stage: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The run is ready to work, by its own word or its probes.
    Ready {
        run: u64,
    },
    /// It was told to read its configuration again.
    Reloaded {
        run: u64,
        how: String,
    },
    /// It could not be told to read its configuration again.
    ReloadFailed {
        run: u64,
        why: String,
    },
    /// A run that was to take the place of another did not come to it; the other one is kept.
    ReplaceFailed {
        run: u64,
        kept: u64,
        why: String,
    },
    /// A run has taken the place of another, which ends.
    Replaced {
        run: u64,
        old: u64,
    },
    /// A run begins beside the one whose place it is to take.
    Replacing {
        run: u64,
        old: u64,
    },
    Retired,
    Signalled {
        run: u64,
        signal: String,
    },
    SpawnFailed {
        run: u64,
        why: String,
    },
    SpecChanged,
    Started {
        run: u64,
        pid: u32,
    },
    /// Made, and held until this very record is written.
    Starting {
        run: u64,
        pid: u32,
    },
    Stopping {
        run: u64,
        how: String,
        why: String,
    },
    /// The run does not serve any more, and is restarted.
    Unhealthy {
        run: u64,
        why: String,
    },
    /// The next run waits for its backoff.
    Waiting {
        delay_ms: u64,
        failures: u32,
    },
    Wanted {
        #[schemars(with = "String")]
        goal: Goal,
    },
}

/// One of the two output streams.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    pub const ALL: [Self; 2] = [Self::Out, Self::Err];

    /// The name in paths, flags and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Exit {
    pub code: Option<i32>,
    /// Without `SIG`: `KILL`.
    pub signal: Option<String>,
    /// A sentence fragment for people: `exit code 3`, `killed by SIGKILL`, `unknown: …`.
    pub reason: String,
    /// When its end was seen, milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<WallMs>,
    /// How long it had lived, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_ms: Option<u64>,
}

impl Exit {
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Where a scheduled instance stands with its times.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Timed {
    /// All times up to this one are done with.
    pub done: WallMs,
    /// A run is to follow the one that goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
}

/// What a keeper must know of its instance to go on where another left off.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    pub goal: Goal,
    pub last_run: RunId,
    pub failures: u32,
    pub restarts: u64,
    pub rest: Rest,
    /// [`crate::file::mark`] of the spec that `last_run` was begun by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_mark: Option<u32>,
    /// The main process of `last_run`, while it may be alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Identity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed: Option<Timed>,
    /// The run that `process` is, where it is not `last_run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Lane::is_default")]
    pub lane: Lane,
    /// The other run, while one takes the place of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BesideMemory>,
}

/// What tells two runs of an instance that live at the same time apart on their host.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lane {
    /// Which of the instance's cgroups it has; `None` by the number of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Which of two ports of each name it has.
    #[serde(default)]
    pub second: bool,
    /// It has said that it is ready.
    #[serde(default)]
    pub ready: bool,
}

impl Lane {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The run beside the one of a [`Memory`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BesideMemory {
    pub run: RunId,
    /// It is to take the place of the other one; else it gives way.
    pub coming: bool,
    pub process: Option<Identity>,
    pub lane: Lane,
    /// The mark of the spec that it was begun by.
    pub run_mark: Option<u32>,
}

/// The phase worth remembering.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    #[default]
    Down,
    Failed,
    Running,
    /// Asked to end, to be started again afterwards.
    Restarting,
    Waiting,
}

/// Which process is meant: a pid alone is no identity, since the OS uses it again.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Identity {
    /// The kernel's id of this boot.
    pub boot: String,
    pub pid: u32,
    /// Clock ticks from boot to the start of the process (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// Where pipes have no path: the numbers that the process has for both ends of its output, and
    /// of its errors, reading end first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stream_ends: Vec<u64>,
}

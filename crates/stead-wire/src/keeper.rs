//! What agent and keeper say over `keeper.sock`: one JSON value per line, both ways.
//!
//! A keeper sends a [`Reply::Report`] when a connection opens and after every change of its
//! instance, and one `Done` or `Refused` for each request, in order.

use serde::{Deserialize, Serialize};
use stead_core::launch::Launch;
use stead_core::machine::{Goal, PhaseName};
use stead_core::names::InstanceName;
use stead_core::signal::Signal;

use crate::WallMs;
use crate::journal::{Exit, Timed};

/// The longest line either side takes, in bytes.
pub const LINE_LEN_MAX: usize = 1 << 20;

/// What an agent asks of a keeper.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Request {
    /// One of the times of a scheduled instance has come.
    Due {
        due: WallMs,
    },
    /// Hand over duplicates of the sockets that must outlive this keeper. The answer is a line of
    /// its own, [`Reply::Sockets`], with the descriptors beside it.
    HandOver,
    /// Tell the run that is up to read its configuration again.
    Reload,
    /// Times passed without a run, and are not made up for.
    Missed {
        since: WallMs,
        until: WallMs,
    },
    /// Send a report now, with fresh counters.
    Report,
    /// Whoever decides that has seen that this run is ready.
    Ready {
        run: u64,
    },
    Restart,
    /// A scheduled instance is to run at its times again.
    Resume,
    /// Let the instance end, then end the keeper. Its folder stays.
    Retire,
    Signal {
        signal: Signal,
    },
    Start,
    /// Whoever decides that has seen that this run does not serve.
    Unhealthy {
        run: u64,
        why: String,
    },
    /// Run by this from now on; a running instance is restarted.
    Update {
        launch: Box<Launch>,
    },
    /// Become this program, in the same process, with everything kept.
    Upgrade {
        program: String,
    },
    Want {
        goal: Goal,
    },
}

/// What a keeper says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Reply {
    Done,
    Refused {
        why: String,
    },
    Report(Box<Report>),
    /// The names of the descriptors that come with this line, in order.
    Sockets {
        names: Vec<String>,
    },
}

/// Everything a keeper knows of its instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    pub wire: u32,
    pub version: String,
    pub keeper_pid: u32,
    pub instance: InstanceName,
    /// [`crate::file::mark`] of the [`Launch`] it runs by.
    pub launch_mark: u32,
    pub goal: Goal,
    pub phase: PhaseName,
    pub retiring: bool,
    /// The number of the newest run; 0 before the first.
    pub run: u64,
    /// The main process, while there is one.
    pub pid: Option<u32>,
    pub restarts: u64,
    /// Ends in a row that came too soon.
    pub failures: u32,
    pub started_at: Option<WallMs>,
    /// When the backoff ends, while waiting.
    pub next_start_at: Option<WallMs>,
    pub last_exit: Option<Exit>,
    pub log: LogCounts,
    /// What the run says of itself, if it is to say that; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// What the run says it does (`STATUS=` of `sd_notify`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// The run that is up has the second of two ports of each name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second: bool,
    /// The run that is to take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coming: Option<Coming>,
    /// The run that gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going: Option<u64>,
    /// The launch that a replacement was to bring and did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// A run goes by another launch than this one, or is to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub between_launches: bool,
    /// What this system cannot hold of its sandbox, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheld: Vec<String>,
    /// Where it stands with its times, if it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timed: Option<Timed>,
    /// It holds sockets that must outlive it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_sockets: bool,
}

/// A run that is to take the place of another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Coming {
    pub run: u64,
    pub pid: Option<u32>,
    pub second: bool,
    /// It says itself that it is ready.
    #[serde(default)]
    pub ready: bool,
    /// [`crate::file::mark`] of the launch it runs by.
    pub launch_mark: u32,
    pub started_at: Option<WallMs>,
}

/// A launch that could not take the place of the one before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rejected {
    pub launch_mark: u32,
    pub why: String,
}

/// What became of the instance's output since its keeper began.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogCounts {
    pub stored_bytes: u64,
    pub dropped_bytes: u64,
    /// The disk does not take writes at the moment: why.
    pub stalled: Option<String>,
}

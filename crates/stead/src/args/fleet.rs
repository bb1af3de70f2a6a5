//! The arguments of commands that work on all hosts of a fleet.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use stead_core::names::TierName;
use stead_core::rollout::{Pace, Wave};
use stead_core::units::parse_duration;
use stead_fleet::Rollout;

use super::FLEET_FILE;

/// The tier of the fleet.
#[derive(Args, Clone, Debug)]
pub(crate) struct TierArg {
    /// Put TIER.toml, which is beside the fleet file, over it: what it says holds instead
    #[arg(long, value_name = "TIER")]
    pub(crate) tier: Option<TierName>,
}

/// Which part of the fleet.
#[derive(Args, Clone, Debug)]
pub(crate) struct ScopeArgs {
    /// Only this service; what else runs on its hosts stays as it is. May be given more than once
    #[arg(long, value_name = "SERVICE")]
    pub(crate) only: Vec<String>,

    /// Only this host. May be given more than once
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DeployArgs {
    /// The fleet file
    #[arg(default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,

    /// End a deploy that its operator has left: go on, or bring back, by what the hosts hold
    ///
    /// It goes on where every host has all that it needs, or one has the new for good; all others
    /// are brought back. Any machine that reaches the hosts can do it; nothing is built.
    #[arg(long)]
    pub(crate) resume: bool,

    /// With --resume: do not wait until its operator counts as gone, 30 s after the last word
    #[arg(long, requires = "resume")]
    pub(crate) take_over: bool,

    /// Die at this place, counted from 1, as by SIGKILL
    #[arg(long, hide = true)]
    pub(crate) crash_at: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct PackArgs {
    /// The fleet file
    #[arg(default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    /// Write there; it is made if it is not there
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,

    /// Write zip files
    #[arg(long)]
    pub(crate) zip: bool,
}

/// How fast a rollout goes, and how sure it wants to be: in place of `[rollout]` of the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct PaceArgs {
    /// How many hosts are switched before all others [default: 1]
    #[arg(long, value_name = "N")]
    canary: Option<usize>,

    /// How many hosts are switched at a time after that, like `2` or `25%` [default: 25%]
    #[arg(long, value_name = "N")]
    wave: Option<Wave>,

    /// How many hosts of a wave may be on their way to ready at the same time [default: all]
    #[arg(long, value_name = "N")]
    max_unavailable: Option<NonZeroUsize>,

    /// How many hosts may be left out since they cannot be reached [default: 0]
    #[arg(long, value_name = "N")]
    max_unreachable: Option<usize>,

    /// How long everything must have been well on a host before the next wave [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    bake: Option<Duration>,

    /// Whether to fail where a fresh run has far more memory, CPU or errors than the one before it
    /// on the host had [default: true]
    #[arg(long, value_name = "BOOL")]
    compare: Option<bool>,

    /// How long everything may take to be ready on a host [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ready_within: Option<Duration>,

    /// After which time without a word from here a host takes a switch back [default: 120s]
    #[arg(long, value_name = "TIME", value_parser = parse_lease)]
    commit_within: Option<Duration>,
}

impl PaceArgs {
    /// Whether fresh runs are held against those before.
    pub(crate) fn compares(&self, file: &Rollout) -> bool {
        self.compare.or(file.compare).unwrap_or(true)
    }

    /// The pace, by what was said here, else in the file, else by what is usual.
    pub(crate) fn over(&self, file: &Rollout) -> Pace {
        let secs = Duration::from_secs;
        let unavailable = self.max_unavailable.map(NonZeroUsize::get).or(file.max_unavailable);
        let unreachable = self.max_unreachable.or(file.max_unreachable);
        Pace {
            canary: self.canary.or(file.canary).unwrap_or(1),
            wave: self.wave.or(file.wave).unwrap_or(Wave::Percent(25)),
            unavailable_max: unavailable.unwrap_or(usize::MAX),
            unreachable_max: unreachable.unwrap_or(0),
            bake: self.bake.or(file.bake).unwrap_or(secs(10)),
            ready_within: self.ready_within.or(file.ready_within).unwrap_or(secs(60)),
            commit_within: self.commit_within.or(file.commit_within).unwrap_or(secs(120)),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// The service
    pub(crate) service: String,

    /// To which entry of `stead history`, by the number that the first host has for it
    ///
    /// Without it: to what ran before.
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,

    /// The fleet file, for the hosts
    #[arg(long, value_name = "FILE", default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    #[command(flatten)]
    pub(crate) pace: PaceArgs,
}

/// Hosts are told in time that their operator is there, also where the way is slow.
const COMMIT_WITHIN_MIN: Duration = Duration::from_secs(10);

fn parse_lease(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time < COMMIT_WITHIN_MIN => Err("it is at least 10s".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Only what is about this service
    pub(crate) service: Option<String>,

    /// The fleet file
    #[arg(long, value_name = "FILE", default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    pub(crate) service: String,

    /// An entry, by its number in `stead history`; each host has its own
    #[arg(value_name = "N")]
    pub(crate) from: Option<u64>,

    /// The entry to compare it with; else what runs now
    #[arg(value_name = "M")]
    pub(crate) to: Option<u64>,

    /// The fleet file
    #[arg(long, value_name = "FILE", default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    /// Only this host. May be given more than once
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The fleet file
    #[arg(default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The fleet file
    #[arg(default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    #[command(flatten)]
    pub(crate) scope: ScopeArgs,

    /// Mend what is safe to: missing users and groups, low settings of the kernel, time sync
    #[arg(long)]
    pub(crate) apply: bool,

    /// Show what is right, too
    #[arg(long)]
    pub(crate) all: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

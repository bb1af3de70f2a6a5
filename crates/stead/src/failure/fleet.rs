//! What can stop a command that works on all hosts of a fleet.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use stead_core::rollout::HostRefusal;
use stead_fleet::Os;

use super::Failure;
use crate::exit::Exit;

/// Hosts, each with what is told of it.
pub(crate) type ByHost = BTreeMap<String, String>;

/// Why a fleet is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetFailure {
    /// Told of each: what it does not have any more.
    #[error("`{service}` cannot be brought back to that: {} cannot", names(hosts))]
    Collected { service: String, hosts: ByHost },
    /// No rollout is under way, and they have not all got the same.
    #[error("hosts have different rollouts for good")]
    Differ { hosts: ByHost },
    #[error("{why}")]
    Gate { why: String },
    #[error("`{command}` failed, which is to be run before a deploy")]
    Hook { command: String, why: String },
    #[error("host `{host}` cannot be reached")]
    Lost { host: String, why: String },
    #[error("hosts cannot be had: {}", names(lost))]
    LostAll { lost: ByHost },
    #[error("this stead has no programs for hosts with {}", os.title())]
    NoKit { os: Os, looked_at: PathBuf },
    /// Told of each: the entries that it has.
    #[error("there is no such entry in the history of {}", names(hosts))]
    NoEntry { hosts: ByHost },
    #[error("none of this runs there: {wanted}")]
    NotOn { wanted: String },
    #[error("host `{host}` has stopped it")]
    OnHost { host: String, source: Box<Failure> },
    #[error("`{}` cannot be made", path.display())]
    Pack { path: PathBuf, source: io::Error },
    #[error("the host refuses it: {why}")]
    Refused { why: HostRefusal },
    /// Told of each: what it is now, where that is not all well.
    #[error("nothing new is left on any host: {why}")]
    RolledBack { why: String, old: ByHost },
    #[error("`{}` cannot be read any more", path.display())]
    Ship { path: PathBuf, source: io::Error },
    #[error("the fleet is split: {why}")]
    Split { why: String, new: Vec<String>, old: ByHost, unknown: ByHost },
    /// Of each host, what is wrong with it; those of which nothing is known; what was to be mended
    /// and is not.
    #[error("hosts are not fit for the fleet: {}", names(unfit))]
    Unfit { unfit: ByHost, lost: ByHost, unmended: ByHost },
    #[error("there is no host `{host}`")]
    UnknownHost { host: String, near: Option<String>, known: Vec<String> },
    #[error("not all could be mended: {}", names(hosts))]
    Unmended { hosts: ByHost },
}

impl FleetFailure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Lost { .. } | Self::LostAll { .. } => Exit::Unreachable,
            Self::NoEntry { .. } | Self::NotOn { .. } | Self::UnknownHost { .. } => Exit::Usage,
            Self::OnHost { source, .. } => source.exit(),
            Self::Differ { .. } | Self::Split { .. } => Exit::Split,
            Self::Gate { .. } | Self::Hook { .. } | Self::RolledBack { .. } => Exit::NotReady,
            Self::Collected { .. }
            | Self::Refused { .. }
            | Self::Ship { .. }
            | Self::Unfit { .. }
            | Self::Unmended { .. }
            | Self::NoKit { .. }
            | Self::Pack { .. } => Exit::Refused,
        }
    }

    pub(super) fn because(&self) -> Vec<String> {
        match self {
            Self::Gate { .. } | Self::Refused { .. } => Vec::new(),
            Self::NoKit { looked_at, .. } => {
                vec![format!("there are none in `{}`", looked_at.display())]
            }
            Self::NotOn { .. } => vec!["the fleet file has no such service on such a host".into()],
            Self::UnknownHost { known, .. } => vec![format!("there are: {}", known.join(", "))],
            Self::Lost { why, .. } | Self::Hook { why, .. } => vec![why.clone()],
            Self::LostAll { lost } => told(lost),
            Self::Collected { hosts, .. } | Self::Differ { hosts } | Self::NoEntry { hosts } => {
                told(hosts)
            }
            Self::RolledBack { old, .. } => told(old),
            Self::Unfit { unfit, lost, unmended } => {
                [told(unfit), told(lost), told(unmended)].concat()
            }
            Self::Unmended { hosts } => told(hosts),
            Self::OnHost { source, .. } => [vec![source.to_string()], source.because()].concat(),
            Self::Pack { source, .. } | Self::Ship { source, .. } => vec![source.to_string()],
            Self::Split { new, old, unknown, .. } => {
                let new = new.iter().map(|host| format!("`{host}` has the new for good"));
                let old = told(old).into_iter().map(|it| format!("{it} (it has the old)"));
                let unknown = told(unknown).into_iter().map(|it| format!("{it} (not known)"));
                new.chain(old).chain(unknown).collect()
            }
        }
    }

    pub(super) fn try_this(&self) -> Option<String> {
        let text = match self {
            Self::Gate { .. } => "mend it; `stead logs` and `stead why` on that host tell more",
            Self::Lost { .. } | Self::LostAll { .. } => {
                "`ssh` to each of them by hand; nothing was changed"
            }
            Self::Hook { .. } => "mend it, or leave `rollout.before` out; nothing was changed",
            Self::Pack { .. } => "another folder: `--output DIR`",
            Self::NoKit { .. } => {
                "put the programs of such a stead there, or name the folder above by STEAD_KITS"
            }
            Self::OnHost { source, .. } => return source.try_this(),
            Self::RolledBack { .. } => "mend what is told, then deploy again",
            Self::Collected { .. } => {
                "a later entry of `stead history`; or build what was then, and deploy it"
            }
            Self::Differ { .. } => "`stead deploy` brings the same to all of them",
            Self::Unfit { .. } => {
                "mend what is told of each; `stead check --apply` does what is safe to"
            }
            Self::Unmended { .. } => "do it by hand there, as told of each",
            Self::Split { .. } => {
                "`stead deploy --resume`, once all hosts can be reached; it goes on, or back"
            }
            Self::Refused { why: HostRefusal::Busy { .. } } => {
                "wait until it ends; `stead deploy --resume` ends one that nobody carries on"
            }
            Self::Refused { .. } => "look with `stead history` what was deployed meanwhile",
            Self::UnknownHost { near: Some(near), .. } => return Some(format!("`{near}`")),
            Self::NoEntry { .. } => "one of these numbers; `stead history` tells what they are",
            Self::NotOn { .. } => "another `--host`, or another `--only`",
            Self::Ship { .. } | Self::UnknownHost { near: None, .. } => return None,
        };
        Some(text.into())
    }
}

fn names(hosts: &ByHost) -> String {
    hosts.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Of each host, what is told; of those with the same to tell, once.
fn told(hosts: &ByHost) -> Vec<String> {
    let mut by_why: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (host, why) in hosts {
        by_why.entry(why).or_default().push(format!("`{host}`"));
    }
    by_why.into_iter().map(|(why, hosts)| format!("{}: {why}", hosts.join(", "))).collect()
}

//! Whether a host is fit for what it is to run: what it is and has, against what its services need.

mod access;
mod facts;
mod needs;
mod programs;
mod resources;
mod storage;
mod tuning;
mod windows;
mod word;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;

pub use self::facts::{Clock, Facts, Holder, Listener, Offset, RootState, Sudo};
pub use self::needs::{Binary, Glibc, Needs, Program, Signature, SignatureState, System};
pub use self::windows::{Windows, covers, is_known_account, lets_in};
pub use self::word::{from_word, to_word};

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Ok,
    /// Advice: it works, but less well than it could.
    Warn,
    /// The deploy or a service would fail.
    Fail,
}

/// What one check has found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub found: String,
    /// Why it matters.
    pub reason: String,
    /// A command, or an edit to make.
    pub mend: Option<String>,
    /// How it can be mended from afar.
    #[serde(skip)]
    pub apply: Option<Mend>,
}

/// Something that is safe to change on a host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mend {
    /// Before users: they may be told to be in it.
    Group(String),
    Sysctl {
        key: &'static str,
        value: u64,
    },
    TimeSync,
    User(String),
}

impl Mend {
    /// The word that the script which does it knows it by.
    pub fn word(&self) -> String {
        match self {
            Self::Group(name) => format!("group:{name}"),
            Self::Sysctl { key, value } => format!("sysctl:{key}={value}"),
            Self::TimeSync => "time-sync".to_owned(),
            Self::User(name) => format!("user:{name}"),
        }
    }
}

/// The command that does the same by hand.
impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(name) => write!(f, "groupadd --system {name}"),
            Self::Sysctl { key, value } => write!(f, "sysctl -w {key}={value}"),
            Self::TimeSync => f.write_str("timedatectl set-ntp true"),
            Self::User(name) => {
                write!(f, "useradd --system --no-create-home --shell /usr/sbin/nologin {name}")
            }
        }
    }
}

/// One look at a host; nothing where what it goes by is not known and matters little.
type Check = fn(&Facts, &Needs) -> Vec<Finding>;

/// Those of hosts with Linux, in the order in which they are told.
const LINUX: [Check; 30] = [
    access::sudo,
    access::system,
    access::kernel,
    access::root,
    access::user,
    access::group,
    access::port,
    access::low_port,
    access::local_ports,
    programs::machine,
    programs::interpreter,
    programs::glibc,
    programs::signature,
    storage::disk_space,
    storage::inodes,
    storage::mount,
    storage::access_times,
    storage::file_system,
    storage::disk,
    resources::capacity,
    resources::memory,
    resources::files,
    resources::agent_files,
    resources::cgroup,
    tuning::clock,
    tuning::time_sync,
    tuning::systemd,
    tuning::selinux,
    tuning::hugepages,
    tuning::kernel_settings,
];

/// Those of hosts with Windows. None of them can be mended from afar yet.
const WINDOWS: [Check; 24] = [
    access::system,
    windows::version,
    access::root,
    windows::service,
    access::user,
    access::group,
    access::port,
    windows::refused_port,
    programs::system,
    programs::machine,
    programs::signature,
    storage::disk_space,
    windows::drive,
    windows::file_system,
    windows::long_paths,
    resources::capacity,
    resources::memory,
    tuning::clock,
    windows::time_sync,
    windows::ssh_server,
    windows::reboot,
    windows::firewall,
    windows::defender,
    windows::code_page,
];

/// Holds what a host is and has against what is needed of it.
pub fn check(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let checks = match needs.system {
        System::Linux => LINUX.as_slice(),
        System::Windows => WINDOWS.as_slice(),
    };
    checks.iter().flat_map(|check| check(facts, needs)).collect()
}

/// What findings say of a host as a whole.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// A check, and why what it looks at matters.
#[derive(Clone, Copy)]
struct About {
    check: &'static str,
    reason: &'static str,
}

impl About {
    fn ok(self, found: impl Into<String>) -> Vec<Finding> {
        Vec::from([self.finding(Level::Ok, found, None)])
    }

    fn warn(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Level::Warn, found, Some(mend.into()))
    }

    fn fail(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Level::Fail, found, Some(mend.into()))
    }

    /// What is found if it is so, else that all is well.
    fn unless(self, bad: Option<Finding>, found: impl Into<String>) -> Vec<Finding> {
        bad.map_or_else(|| self.ok(found), |bad| Vec::from([bad]))
    }

    fn finding(self, level: Level, found: impl Into<String>, mend: Option<String>) -> Finding {
        let Self { check, reason } = self;
        Finding { check, level, found: found.into(), reason: reason.to_owned(), mend, apply: None }
    }
}

impl Finding {
    /// The same, which can be mended from afar, by a command that tells how it is done by hand.
    fn applied(mut self, mend: Mend) -> Self {
        self.apply = Some(mend);
        self
    }
}

#[cfg(test)]
mod tests;

//! What a host is and has, read from what a script on it says, or `stead facts` on Windows.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::str::FromStr;

use serde::Serialize;

use super::needs::Glibc;
use super::windows::{PREFIX, Windows};

/// So much of what is said is read, in bytes: many times what the script has to say.
const TEXT_LEN_MAX: usize = 256 << 10;

/// The longest line, in bytes.
const LINE_LEN_MAX: usize = 4 << 10;

/// A host as it is; `None` is not known.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Whether the script has come to its end.
    pub is_whole: bool,
    #[serde(skip)]
    pub clock: Option<Clock>,
    /// How far its clock is from the operator's.
    pub offset: Option<Offset>,
    pub uid: Option<u32>,
    pub login: Option<String>,
    pub sudo: Option<Sudo>,
    pub system: Option<String>,
    pub kernel: Option<String>,
    pub machine: Option<String>,
    pub cores: Option<u32>,
    pub is_time_synced: Option<bool>,
    pub has_timedatectl: bool,
    pub memory_bytes: Option<u64>,
    pub memory_available_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    pub root: Option<String>,
    pub root_state: Option<RootState>,
    /// The part of the path to the root that is there.
    pub root_on: Option<String>,
    pub disk_free_bytes: Option<u64>,
    /// All of them and those that are free; none at all where nobody counts them.
    pub inodes: Option<(u64, u64)>,
    pub mount_point: Option<String>,
    pub mount_options: Option<String>,
    pub file_system: Option<String>,
    pub is_rotational: Option<bool>,
    pub listeners: Vec<Listener>,
    pub users_missing: BTreeSet<String>,
    pub groups_missing: BTreeSet<String>,
    pub paths_missing: BTreeSet<String>,
    pub glibc: Option<Glibc>,
    pub is_musl: bool,
    pub settings: Settings,
    pub local_ports: Option<(u16, u16)>,
    /// As the kernel lists them: `8100,9000-9010`.
    pub reserved_ports: Option<String>,
    /// The most files that a process may hold open; `None` also where there is no limit.
    pub files_hard: Option<u64>,
    /// The controllers of cgroup v2, if it is there.
    pub cgroup: Option<String>,
    pub is_cgroup_writable: bool,
    pub selinux: Option<String>,
    pub apparmor: Option<String>,
    pub systemd: Option<String>,
    pub hugepages: Option<String>,
    /// What hosts with Windows alone have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Box<Windows>>,
}

/// Settings of its kernel.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Settings {
    pub file_max: Option<u64>,
    pub nr_open: Option<u64>,
    pub somaxconn: Option<u64>,
    pub max_map_count: Option<u64>,
    pub pid_max: Option<u64>,
    pub unprivileged_port_start: Option<u64>,
}

/// How it went with `sudo`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sudo {
    Refused,
    Unasked,
    Works,
}

/// What is where the root is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootState {
    /// Nothing; it can be made.
    Absent,
    /// Something that is no folder.
    Blocked,
    /// A folder that may not be written.
    Closed,
    /// Nothing; it may not be made.
    Forbidden,
    Writable,
}

/// Somebody who listens at a port that is needed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Listener {
    pub port: u16,
    /// At every address, not at one.
    pub is_everywhere: bool,
    pub holder: Holder,
    pub pid: u32,
    pub program: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    Other,
    /// Something that stead keeps there.
    Own,
    Unknown,
}

/// What its clock said when it was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    /// Since 1970.
    pub at_ms: u64,
    /// What it was at least, and less than at most.
    pub step_ms: u64,
}

/// How far a clock is from another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Offset {
    /// Ahead, if it is more than none.
    pub ms: i64,
    /// It may be so much more or less.
    pub within_ms: u64,
}

impl Clock {
    fn parse(text: &str) -> Option<Self> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.parse::<u64>().ok()?.checked_mul(1000)?;
        if rest.is_empty() {
            return Some(Self { at_ms: whole, step_ms: 1000 });
        }
        let thousandths = rest.get(..3)?.parse::<u64>().ok()?;
        Some(Self { at_ms: whole.checked_add(thousandths)?, step_ms: 1 })
    }

    /// How far it was from a clock by which it was asked and had answered at these times.
    pub fn offset(self, asked_ms: u64, answered_ms: u64) -> Offset {
        let trip = answered_ms.saturating_sub(asked_ms);
        let here = i128::from(asked_ms) + i128::from(trip / 2);
        let there = i128::from(self.at_ms) + i128::from(self.step_ms / 2);
        Offset {
            ms: i64::try_from(there - here).unwrap_or(i64::MAX),
            within_ms: trip.div_ceil(2).saturating_add(self.step_ms.div_ceil(2)),
        }
    }
}

impl Facts {
    /// Reads what the script has said; what is no line of it is passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_LEN_MAX)]);
        let mut facts = Self::default();
        for line in text.lines().filter(|line| line.len() <= LINE_LEN_MAX) {
            match line.split_once('=') {
                Some((key, value)) if !value.trim().is_empty() => facts.take(key, value.trim()),
                Some(_) => (),
                None => facts.is_whole |= line == "stead-end",
            }
        }
        facts
    }

    fn take(&mut self, key: &str, value: &str) {
        let text = || Some(value.to_owned());
        match key {
            "apparmor" => self.apparmor = text(),
            "cgroup" => self.cgroup = value.strip_prefix("v2").map(|it| it.trim().to_owned()),
            "cgroup_writable" => self.is_cgroup_writable = value == "yes",
            "clock" => self.clock = Clock::parse(value),
            "cores" => self.cores = number(value),
            "file_system" => self.file_system = text(),
            "files_hard" => self.files_hard = number(value),
            "glibc" => self.glibc = number(value),
            "hugepages" => self.hugepages = text(),
            "kernel" => self.kernel = text(),
            "listen" => self.listeners.extend(listener(value)),
            "local_ports" => self.local_ports = pair(value),
            "login" => self.login = text(),
            "machine" => self.machine = text(),
            "musl" => self.is_musl = value == "yes",
            "reserved_ports" => self.reserved_ports = text(),
            "root" => self.root = text(),
            "root_on" => self.root_on = text(),
            "root_state" => self.root_state = root_state(value),
            "selinux" => self.selinux = text(),
            "sudo" => self.sudo = sudo(value),
            "synced" => self.is_time_synced = Some(value == "yes"),
            "system" => self.system = text(),
            "systemd" => self.systemd = text(),
            "timedatectl" => self.has_timedatectl = value == "yes",
            "uid" => self.uid = number(value),
            _ => self.take_more(key, value),
        }
    }

    fn take_more(&mut self, key: &str, value: &str) {
        let kib = || number::<u64>(value).and_then(|kib| kib.checked_mul(1024));
        let settings = &mut self.settings;
        match key {
            "available_kib" => self.memory_available_bytes = kib(),
            "disk_free_kib" => self.disk_free_bytes = kib(),
            "fs.file-max" => settings.file_max = number(value),
            "fs.nr_open" => settings.nr_open = number(value),
            "inodes" => self.inodes = pair(value),
            "kernel.pid_max" => settings.pid_max = number(value),
            "memory_kib" => self.memory_bytes = kib(),
            "mount_options" => self.mount_options = Some(value.to_owned()),
            "mount_point" => self.mount_point = Some(value.to_owned()),
            "net.core.somaxconn" => settings.somaxconn = number(value),
            "net.ipv4.ip_unprivileged_port_start" => {
                settings.unprivileged_port_start = number(value);
            }
            "no_group" => drop(self.groups_missing.insert(value.to_owned())),
            "no_path" => drop(self.paths_missing.insert(value.to_owned())),
            "no_user" => drop(self.users_missing.insert(value.to_owned())),
            "rotational" => self.is_rotational = Some(value == "1"),
            "swap_kib" => self.swap_bytes = kib(),
            "vm.max_map_count" => settings.max_map_count = number(value),
            // What is there is told as well, and so is what a later script says.
            _ => {
                if let Some(key) = key.strip_prefix(PREFIX) {
                    self.windows.get_or_insert_default().take(key, value);
                }
            }
        }
    }

    /// Whether whoever logs in there is root, or became it; on Windows an administrator.
    pub fn is_root(&self) -> bool {
        self.uid == Some(0) || self.windows.as_ref().is_some_and(|it| it.is_administrator)
    }

    /// Whether it is root by whom services are to be kept: where `sudo` is refused, that is a fault
    /// of its own, and the only one of this kind.
    pub(super) fn is_to_be_root(&self) -> bool {
        self.is_root() || self.sudo == Some(Sudo::Refused)
    }

    /// Whoever logs in there, for people.
    pub(super) fn who(&self) -> String {
        self.login.clone().or_else(|| self.uid.map(|uid| uid.to_string())).unwrap_or_default()
    }
}

pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn pair<T: FromStr>(text: &str) -> Option<(T, T)> {
    let mut words = text.split_whitespace();
    Some((number(words.next()?)?, number(words.next()?)?))
}

fn sudo(text: &str) -> Option<Sudo> {
    match text {
        "refused" => Some(Sudo::Refused),
        "unasked" => Some(Sudo::Unasked),
        "works" => Some(Sudo::Works),
        _ => None,
    }
}

fn root_state(text: &str) -> Option<RootState> {
    match text {
        "absent" => Some(RootState::Absent),
        "blocked" => Some(RootState::Blocked),
        "closed" => Some(RootState::Closed),
        "forbidden" => Some(RootState::Forbidden),
        "writable" => Some(RootState::Writable),
        _ => None,
    }
}

/// `8100 any other 77 nginx`; a program's name may hold spaces.
fn listener(text: &str) -> Option<Listener> {
    let words: Vec<&str> = text.splitn(5, ' ').collect();
    let [port, place, holder, pid, program] = *words.as_slice() else { return None };
    let holder = match holder {
        "other" => Holder::Other,
        "own" => Holder::Own,
        _ => Holder::Unknown,
    };
    Some(Listener {
        port: number(port)?,
        is_everywhere: place == "any",
        holder,
        pid: number(pid)?,
        program: program.to_owned(),
    })
}

//! What a run may do besides its work.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::plan::is_default;
use crate::template::Template;

/// The sandbox as a plan says it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Nothing but the account and no new privileges.
    Off,
    On(Loosened),
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::On(Loosened::default())
    }
}

/// What a sandbox lets through besides what every service may.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Loosened {
    /// Files and folders that may be read, and programs in them run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read: Vec<Template>,
    /// Files and folders that may be read and written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: Vec<Template>,
    /// Capabilities that its processes have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: Vec<Capability>,
    /// System calls that are denied to others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub syscalls: Vec<String>,
    /// It shares the host's `/tmp` and `/var/tmp` instead of having its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shared_tmp: bool,
    /// It may open whatever its account may.
    #[serde(default, skip_serializing_if = "is_default")]
    pub any_files: bool,
    /// It may send signals to whatever its account may.
    #[serde(default, skip_serializing_if = "is_default")]
    pub any_signals: bool,
}

/// The sandbox of a run on this host, with every path in full.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchSandbox {
    /// `None`: whatever its account may open.
    pub files: Option<SandboxFiles>,
    /// The folder that it sees as `/tmp` and `/var/tmp`; `None`: the host's own.
    pub tmp: Option<String>,
    /// Capabilities that it keeps, in its bounding set and in effect.
    pub capabilities: Vec<Capability>,
    /// System calls that it may make although they are denied to others.
    pub syscalls: Vec<String>,
    pub any_signals: bool,
}

/// Paths that may be opened besides those that every program needs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SandboxFiles {
    pub read: Vec<String>,
    pub write: Vec<String>,
}

/// A Linux capability by its name without `CAP_`, like `NET_ADMIN`.
#[derive(Clone, Copy, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

/// Why a text is no capability.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no such capability")]
pub struct CapabilityError;

/// In the order of their numbers, from 0 (`linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// System calls that no ordinary service makes: those that change the host, look into other
/// processes, or make namespaces, in which a process could have rights again. By the names of the
/// kernel.
pub const DENIED_SYSCALLS: [&str; 46] = [
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

impl Capability {
    pub const NET_BIND_SERVICE: Self = Self(10);

    /// The kernel's number of it.
    pub fn number(self) -> u8 {
        self.0
    }

    pub fn name(self) -> &'static str {
        CAPABILITIES[usize::from(self.0)]
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;
    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let number = CAPABILITIES.iter().position(|name| *name == text);
        number.and_then(|number| u8::try_from(number).ok()).map(Self).ok_or(CapabilityError)
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;
    fn try_from(text: String) -> Result<Self, CapabilityError> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.name().into()
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_what_the_kernel_calls_it() {
        assert_eq!("NET_BIND_SERVICE".parse(), Ok(Capability::NET_BIND_SERVICE));
        assert_eq!("CHECKPOINT_RESTORE".parse::<Capability>().map(Capability::number), Ok(40));
        for bad in ["", "CAP_CHOWN", "chown", "ALL"] {
            assert_eq!(bad.parse::<Capability>(), Err(CapabilityError), "{bad}");
        }
    }
}

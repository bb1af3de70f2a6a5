//! What a process may do: files by Landlock, system calls by seccomp, capabilities, a `/tmp` of its
//! own by a mount namespace.
//!
//! Everything that takes time is prepared once, by whoever starts processes; between fork and exec
//! a child only puts it on, with a handful of system calls.

mod filter;
mod mounts;
mod ruleset;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use stead_core::sandbox::{Capability, LaunchSandbox};

use filter::Instruction;

/// A sandbox that is ready to be put on.
#[derive(Debug)]
pub struct Sandbox {
    ruleset: Option<OwnedFd>,
    mounts: Option<OwnedFd>,
    filter: Vec<Instruction>,
    /// One bit for each capability that is kept.
    capabilities: u64,
    unheld: Vec<String>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("could not keep it to its files")]
    Files(#[source] io::Error),
    #[error("could not give it a `/tmp` of its own")]
    Mounts(#[source] io::Error),
    #[error("could not name `{path}`, which its sandbox is to let through")]
    Path { path: String, source: io::Error },
}

impl Sandbox {
    /// Prepares one. `program` and `streams` are opened by the process besides what it may open.
    pub fn prepare(
        wanted: &LaunchSandbox,
        program: &Path,
        streams: &[&Path],
    ) -> Result<Self, SandboxError> {
        let mut unheld = Vec::new();
        let ruleset = ruleset::prepare(wanted, program, streams, &mut unheld)?;
        let tmp = wanted.tmp.as_deref().map(Path::new);
        let mounts = tmp.map(mounts::private_tmp).transpose().map_err(SandboxError::Mounts)?;
        let bit = |capability: &Capability| 1_u64 << capability.number();
        Ok(Self {
            ruleset,
            mounts,
            filter: filter::program(&wanted.syscalls),
            capabilities: wanted.capabilities.iter().map(bit).fold(0, |all, bit| all | bit),
            unheld,
        })
    }

    /// What this system cannot hold, a sentence each.
    pub fn unheld(&self) -> &[String] {
        &self.unheld
    }

    pub(super) fn raw(&self) -> RawSandbox {
        RawSandbox {
            ruleset: self.ruleset.as_ref().map(AsRawFd::as_raw_fd),
            mounts: self.mounts.as_ref().map(AsRawFd::as_raw_fd),
            filter: self.filter.as_ptr(),
            filter_len: u16::try_from(self.filter.len()).unwrap_or(0),
            capabilities: self.capabilities,
        }
    }
}

/// A sandbox as a child between fork and exec needs it: numbers and pointers that stay true.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawSandbox {
    ruleset: Option<RawFd>,
    mounts: Option<RawFd>,
    filter: *const Instruction,
    filter_len: u16,
    capabilities: u64,
}

/// `SECBIT_NOROOT` and its lock: a user number of 0 alone gives no capabilities.
const NO_ROOT: libc::c_ulong = 0b11;

const CAPABILITY_LAST: u8 = 63;

/// The header and data of `capset`, version 3.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

impl RawSandbox {
    /// Goes where `/tmp` is its own; while it still may.
    ///
    /// # Safety
    /// Only between fork and exec; calls nothing that is not async-signal-safe.
    #[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
    pub(super) unsafe fn enter_mounts(self) -> bool {
        // SAFETY: a raw call on a descriptor that is open.
        self.mounts.is_none_or(|mounts| unsafe { libc::setns(mounts, libc::CLONE_NEWNS) == 0 })
    }

    /// Gives up what no program of this process shall ever have; while it still may. One that may
    /// gain privileges keeps what it could gain.
    ///
    /// # Safety
    /// As [`Self::enter_mounts`].
    #[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
    pub(super) unsafe fn drop_bounds(self, new_privileges: bool) -> bool {
        // SAFETY: raw calls without pointers.
        unsafe {
            if self.capabilities != 0 && libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 {
                return false;
            }
            if new_privileges {
                return true;
            }
            if libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT | self.keep_caps_bit(), 0, 0, 0) != 0 {
                return false;
            }
            for number in 0..=CAPABILITY_LAST {
                let is_kept = self.capabilities >> number & 1 == 1;
                // One that this kernel does not know cannot be had either.
                if !is_kept {
                    libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0);
                }
            }
            true
        }
    }

    /// `SECBIT_KEEP_CAPS`, which setting the other bits would take back.
    fn keep_caps_bit(self) -> libc::c_ulong {
        if self.capabilities == 0 { 0 } else { 1 << 4 }
    }

    /// Keeps the capabilities that are kept, and no other; as the account that it is now.
    ///
    /// # Safety
    /// As [`Self::enter_mounts`].
    #[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
    pub(super) unsafe fn set_capabilities(self) -> bool {
        let half = |shift: u32| {
            let bits = u32::try_from(self.capabilities >> shift & 0xffff_ffff).unwrap_or(0);
            CapData { effective: bits, permitted: bits, inheritable: bits }
        };
        let header = CapHeader { version: CAP_VERSION_3, pid: 0 };
        let data = [half(0), half(32)];
        // SAFETY: raw calls on memory of this function's own, of the form the kernel asks for.
        unsafe {
            if libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) != 0 {
                return false;
            }
            for number in 0..=CAPABILITY_LAST {
                if self.capabilities >> number & 1 == 1 {
                    let number = libc::c_ulong::from(number);
                    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
                    if libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0) != 0 {
                        return false;
                    }
                }
            }
            true
        }
    }

    /// Puts on what the kernel keeps for good: files and system calls.
    ///
    /// # Safety
    /// As [`Self::enter_mounts`].
    #[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
    pub(super) unsafe fn restrict(self) -> bool {
        // SAFETY: raw calls on a descriptor that is open and a filter that is there until the exec.
        unsafe {
            if let Some(ruleset) = self.ruleset
                && libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) != 0
            {
                return false;
            }
            let program = libc::sock_fprog { len: self.filter_len, filter: self.filter.cast_mut() };
            let mode = libc::SECCOMP_SET_MODE_FILTER;
            libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) == 0
        }
    }
}

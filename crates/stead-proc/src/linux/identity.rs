//! Which process is meant: never a pid alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::getsockname;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open, pidfd_send_signal,
};
use stead_core::signal::Signal;

use super::procfs;
use super::signal::number;
use crate::ended::Ended;

/// What this machine calls itself; `local` where it does not say.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "local".into() } else { name.into() }
}

/// The kernel's id of this boot: pids and start times of another one mean nothing.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Clock ticks from boot to the start of this process; `None` when it is gone or a zombie.
pub fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    match procfs::stat(pid) {
        Ok(stat) => Ok((!stat.zombie).then_some(stat.start_ticks)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file that a process runs.
pub fn program_of(pid: u32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
}

/// Whether this process is a child of ours.
pub fn is_own_child(pid: u32) -> bool {
    procfs::stat(pid).is_ok_and(|stat| stat.parent == std::process::id())
}

/// When a process with this start time began, in milliseconds since boot.
pub fn start_ms(start_ticks: u64) -> u64 {
    start_ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)
}

/// A hold on one process. While it is held, no other process can be taken for it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes hold of the process with this pid and start time; `None` when it is gone, a zombie, or
    /// another process has its pid now.
    pub fn open(pid: u32, start_ticks: u64) -> io::Result<Option<Self>> {
        let found = Self::open_any(pid)?;
        Ok(found.filter(|process| process.start_ticks == start_ticks))
    }

    /// Takes hold of a child that was not reaped yet: its pid cannot be another process's.
    pub(crate) fn of_child(pid: u32, start_ticks: u64) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { pid, start_ticks, pidfd: pidfd_open(raw, PidfdFlags::empty())? })
    }

    /// Takes hold of whatever process has this pid now.
    pub fn open_any(pid: u32) -> io::Result<Option<Self>> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(raw) = raw else { return Ok(None) };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the hold was taken: if the pid was used again before, the start time tells.
        let ticks = start_ticks(pid)?;
        Ok(ticks.map(|start_ticks| Self { pid, start_ticks, pidfd }))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Sends a signal to this very process; `false` when it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(&self.pidfd, number(signal)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal to this very process, and says what that is called here; `None` when it is
    /// gone.
    pub fn ask(&self, signal: Signal) -> io::Result<Option<String>> {
        Ok(self.signal(signal)?.then(|| signal.to_string()))
    }

    /// A duplicate of the socket that it listens with at this address, if it does. Whoever may
    /// trace it may do that.
    pub fn listener(&self, address: SocketAddr) -> io::Result<Option<OwnedFd>> {
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid))? {
            let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let socket = match pidfd_getfd(&self.pidfd, fd, PidfdGetfdFlags::empty()) {
                Ok(socket) => socket,
                // Closed meanwhile.
                Err(rustix::io::Errno::BADF) => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok(name) = getsockname(&socket) else { continue };
            if SocketAddr::try_from(name) == Ok(address) && socket_acceptconn(&socket) == Ok(true) {
                return Ok(Some(socket));
            }
        }
        Ok(None)
    }

    /// How it ended, for a process that is not a child of ours: kernels from 6.15 on tell, once
    /// somebody has reaped it.
    pub fn ended(&self) -> Option<Ended> {
        let status = super::reaper::pidfd_exit_status(self.pidfd.as_fd())?;
        Some(Ended::from_status(self.pid, status))
    }
}

impl AsFd for Process {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

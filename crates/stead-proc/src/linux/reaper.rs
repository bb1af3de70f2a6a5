//! Children that end.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::{WaitId, WaitIdOptions, WaitOptions, wait, waitid};

use crate::ended::Ended;

impl Ended {
    /// Reads a wait status as the kernel gives it.
    pub(crate) fn from_status(pid: u32, status: i32) -> Self {
        let exited = libc::WIFEXITED(status);
        let signaled = libc::WIFSIGNALED(status);
        Self {
            pid,
            code: exited.then(|| libc::WEXITSTATUS(status)),
            signal: signaled.then(|| super::signal::name(libc::WTERMSIG(status))),
            signal_number: signaled.then(|| libc::WTERMSIG(status)),
            core_dumped: signaled && libc::WCOREDUMP(status),
        }
    }
}

/// Makes this process the parent of its descendants whose own parent dies.
pub fn become_subreaper() -> io::Result<()> {
    let own = rustix::process::getpid();
    Ok(rustix::process::set_child_subreaper(Some(own))?)
}

/// Asks the kernel to kill anything else first when memory runs out; `false` when that is not
/// allowed.
pub fn outlive_services() -> bool {
    const KEEPER_OOM_SCORE_ADJ: &str = "-900";
    fs::write("/proc/self/oom_score_adj", KEEPER_OOM_SCORE_ADJ).is_ok()
}

/// Takes note of every child that has ended.
pub fn reap_all() -> io::Result<Vec<Ended>> {
    let mut ended = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
                ended.push(Ended::from_status(pid, status.as_raw()));
            }
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether this process has any child, alive or not yet reaped. For a subreaper without children,
/// nothing it ever started is alive.
pub fn any_child() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD))
}

/// What `PIDFD_GET_INFO` fills in (`include/uapi/linux/pidfd.h`, first version of the struct).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` for that struct of 64 bytes.
const PIDFD_GET_INFO: libc::c_ulong = 0xC000_0000 | (64 << 16) | (0xFF << 8) | 11;
const _: () = assert!(size_of::<PidfdInfo>() == 64, "the ioctl's number holds the size");

/// The wait status of a process that somebody else has reaped; kernels before 6.15 do not know it.
pub(crate) fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    #[expect(unsafe_code, reason = "this ioctl has no safe form")]
    // SAFETY: the struct is as long as the ioctl's number says, and lives through the call.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (answer == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

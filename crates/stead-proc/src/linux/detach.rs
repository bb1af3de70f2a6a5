//! Starting a process that is to outlive its starter.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::io::FdFlags;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};

/// The limit of open files as it was before [`raise_open_files`].
static OPEN_FILES_BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process hold as many files open as it ever may. What [`spawn_detached`] starts gets
/// the limit of before: programs that use `select` break with more, and inherit what we have.
pub fn raise_open_files() {
    let before = *OPEN_FILES_BEFORE.get_or_init(|| getrlimit(Resource::Nofile));
    // Up to the hard limit is always allowed; if not, it stays as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
}

/// How many files this process may hold open.
pub fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many files a process holds open.
pub fn open_files(pid: u32) -> io::Result<u64> {
    let folder = format!("/proc/{pid}/fd");
    // Linux 6.2 and later say it as the length of the folder.
    match std::fs::metadata(&folder)?.len() {
        0 => Ok(std::fs::read_dir(&folder)?.count() as u64),
        number => Ok(number),
    }
}

/// How many files a process that this one starts may be let hold open.
pub fn open_files_ceiling() -> u64 {
    // CAP_SYS_RESOURCE, without which nobody goes above the hard limit.
    const SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    if effective.unwrap_or(0) & (1 << SYS_RESOURCE) != 0 {
        return u64::MAX;
    }
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Starts a program in a session of its own, in `/`, with nothing on its streams but `stderr`
/// appended to a file, and the limit of open files that we were started with. It stays our child
/// until we end; [`reap`] it then.
pub fn spawn_detached(program: &Path, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<u32> {
    // The handle is dropped on purpose: std neither waits for nor ends a child for that.
    Ok(detached(program, args, stderr)?.spawn()?.id())
}

/// As [`spawn_detached`], without our environment, and with duplicates of these sockets, which it
/// finds by [`super::sockets::carried_sockets`].
pub fn spawn_bare(
    program: &Path,
    args: &[&OsStr],
    stderr: Option<&Path>,
    sockets: &[(&str, BorrowedFd<'_>)],
) -> io::Result<u32> {
    let mut command = detached(program, args, stderr)?;
    let (name, value) = super::sockets::handed(sockets);
    command.env_clear().env(LEAN.0, LEAN.1).env(name, value);
    let fds: Vec<RawFd> = sockets.iter().map(|(_, socket)| socket.as_raw_fd()).collect();
    #[expect(unsafe_code, reason = "a flag of a descriptor of the child alone has no safe form")]
    // SAFETY: fcntl is async-signal-safe; the descriptors are open, since they are borrowed until
    // the child has been made.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(*fd), FdFlags::empty())?;
            }
            Ok(())
        });
    }
    Ok(command.spawn()?.id())
}

/// An allocator that keeps no freed memory at hand: what a small resident program has used once it
/// may not need again for weeks.
const LEAN: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

fn detached(program: &Path, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<Command> {
    let mut command = Command::new(program);
    command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command.env(LEAN.0, LEAN.1);
    command.stderr(match stderr {
        Some(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path)?.into(),
        None => Stdio::null(),
    });
    let open_files = OPEN_FILES_BEFORE.get().copied();
    #[expect(unsafe_code, reason = "setsid between fork and exec has no safe form")]
    // SAFETY: setsid and setrlimit are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            if let Some(before) = open_files {
                setrlimit(Resource::Nofile, before)?;
            }
            Ok(())
        });
    }
    Ok(command)
}

/// Its standard input, for a program that is told to read a file.
pub const STANDARD_INPUT: &str = "/dev/stdin";

/// Has a program begin in a session of its own, without our terminal: it can ask nobody anything.
pub fn leave_terminal(command: &mut Command) {
    #[expect(unsafe_code, reason = "setsid between fork and exec has no safe form")]
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

/// Takes note of the end of a child; `false` while it lives. One that is not ours has ended.
pub fn reap(pid: u32) -> io::Result<bool> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(true) };
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some(_)) | Err(rustix::io::Errno::CHILD) => Ok(true),
        Ok(None) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

//! Starting a process that is to outlive its starter.

#![expect(unsafe_code, reason = "how many handles a process has, has no safe form")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::windows::io::BorrowedHandle;
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, GetProcessHandleCount,
};

use super::identity::Process;
use super::sys::{check, raw};

/// Those that were started and whose end nobody has taken note of.
static STARTED: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

/// There is no limit of open files here that a process could raise.
pub fn raise_open_files() {}

/// How many files this process may hold open.
pub fn open_files_max() -> u64 {
    // The most handles that a process may have.
    1 << 24
}

/// How many handles a process has: files, and everything else it has open.
pub fn open_files(pid: u32) -> io::Result<u64> {
    let process = Process::open_any(pid)?.ok_or(io::ErrorKind::NotFound)?;
    let mut count = 0;
    // SAFETY: the number is ours to write.
    check(unsafe { GetProcessHandleCount(raw(&process.handle), &raw mut count) })?;
    Ok(count.into())
}

/// How many files a process that this one starts may be let hold open.
pub fn open_files_ceiling() -> u64 {
    open_files_max()
}

/// Starts a program without a console, with nothing on its streams but `stderr` appended to a file.
/// It stays our child until we end; [`reap`] it then.
pub fn spawn_detached(program: &Path, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<u32> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(match stderr {
        Some(path) => OpenOptions::new().append(true).create(true).open(path)?.into(),
        None => Stdio::null(),
    });
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    let child = command.spawn()?;
    let pid = child.id();
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, child);
    Ok(pid)
}

/// As [`spawn_detached`]: no sockets can be handed over here.
pub fn spawn_bare(
    program: &Path,
    args: &[&OsStr],
    stderr: Option<&Path>,
    _sockets: &[(&str, BorrowedHandle<'_>)],
) -> io::Result<u32> {
    spawn_detached(program, args, stderr)
}

/// Its standard input, for a program that is told to read a file. Here it is no file: the program
/// must know the word.
pub const STANDARD_INPUT: &str = "-";

/// Has a program begin without our console: it can ask nobody anything.
pub fn leave_terminal(command: &mut Command) {
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

/// Takes note of the end of a child; `false` while it lives. One that is not ours has ended.
pub fn reap(pid: u32) -> io::Result<bool> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(child) = started.get_mut(&pid) else { return Ok(true) };
    let has_ended = child.try_wait()?.is_some();
    if has_ended {
        started.remove(&pid);
    }
    Ok(has_ended)
}

//! Starting a process that is to outlive its starter.

#![expect(unsafe_code, reason = "handles that others inherit or wait for have no safe form")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, c_void};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use windows_sys::Win32::Foundation::{
    HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, DETACHED_PROCESS, GetProcessHandleCount, INFINITE,
    RegisterWaitForSingleObject, UnregisterWait, WT_EXECUTEONLYONCE,
};

use super::identity::Process;
use super::surroundings::{bare, top_folder};
use super::sys::{check, raw};

/// Those that were started and whose end nobody has taken note of.
static STARTED: Mutex<BTreeMap<u32, Started>> = Mutex::new(BTreeMap::new());

/// Who is to be told of ends.
static TOLD_OF_ENDS: OnceLock<fn()> = OnceLock::new();

struct Started {
    /// The system's note to tell of its end; given back before the child is.
    _wait: Option<Wait>,
    child: Child,
}

struct Wait(HANDLE);

// SAFETY: the number is only given back, once, by whichever thread.
unsafe impl Send for Wait {}

impl Wait {
    /// Has the system tell of the end of a child, if somebody wants to be told.
    fn begin(child: &Child) -> Option<Self> {
        TOLD_OF_ENDS.get()?;
        let mut wait = ptr::null_mut();
        // SAFETY: the child is open until after this wait has been given back.
        let begun = unsafe {
            let (child, none) = (child.as_raw_handle().cast(), ptr::null());
            let once = WT_EXECUTEONLYONCE;
            RegisterWaitForSingleObject(&raw mut wait, child, Some(told), none, INFINITE, once)
        };
        (begun != 0).then_some(Self(wait))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: it was begun, and is given back here alone.
        unsafe { UnregisterWait(self.0) };
    }
}

extern "system" fn told(_context: *mut c_void, _timed_out: bool) {
    if let Some(told) = TOLD_OF_ENDS.get() {
        told();
    }
}

/// From now on this is called, on a thread of the system's, when a process that was started here
/// has ended. Only the first call of this does anything.
pub fn tell_of_ends(to: fn()) {
    let _ = TOLD_OF_ENDS.set(to);
}

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

/// Starts a program without a console, in a folder that nobody removes, with nothing on its streams
/// but `stderr` appended to a file. It stays our child until we end; [`reap`] it then.
pub fn spawn_detached(program: &Path, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<u32> {
    detached(Command::new(program), args, stderr)
}

fn detached(mut command: Command, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<u32> {
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(match stderr {
        Some(path) => OpenOptions::new().append(true).create(true).open(path)?.into(),
        None => Stdio::null(),
    });
    command.current_dir(top_folder());
    keep_own_streams();
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    // A server of SSH ends what is in its job with the connection, and lets out who asks.
    let outside = command.creation_flags(DETACHED_PROCESS | CREATE_BREAKAWAY_FROM_JOB).spawn();
    let child = match outside {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            command.creation_flags(DETACHED_PROCESS).spawn()?
        }
        outside => outside?,
    };
    let pid = child.id();
    let wait = Wait::begin(&child);
    started.insert(pid, Started { _wait: wait, child });
    Ok(pid)
}

/// A child gets everything that may be inherited, whether it is told of it or not: whoever waits
/// for the end of our output would wait for that of the child.
fn keep_own_streams() {
    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: a flag of a handle of ours, if there is one.
        unsafe {
            let handle = GetStdHandle(stream);
            if !handle.is_null() && handle != INVALID_HANDLE_VALUE {
                SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0);
            }
        }
    }
}

/// As [`spawn_detached`], with nothing of our environment but what the system says to every
/// program. No sockets can be handed over here.
pub fn spawn_bare(
    program: &Path,
    args: &[&OsStr],
    stderr: Option<&Path>,
    _sockets: &[(&str, BorrowedHandle<'_>)],
) -> io::Result<u32> {
    let mut command = Command::new(program);
    bare(&mut command);
    detached(command, args, stderr)
}

/// Its standard input, for a program that is told to read a file. Here it is no file: the program
/// must know the word.
pub const STANDARD_INPUT: &str = "-";

/// Has a program begin without our console: it can ask nobody anything.
pub fn leave_terminal(command: &mut Command) {
    command.creation_flags(DETACHED_PROCESS);
}

/// Takes note of the end of a child; `false` while it lives. One that is not ours has ended.
pub fn reap(pid: u32) -> io::Result<bool> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(it) = started.get_mut(&pid) else { return Ok(true) };
    let has_ended = it.child.try_wait()?.is_some();
    if has_ended {
        started.remove(&pid);
    }
    Ok(has_ended)
}

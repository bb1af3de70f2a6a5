//! Going on as another program. No process becomes another here: one is started that goes on, and
//! this one ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::windows::io::BorrowedHandle;
use std::path::Path;
use std::process::Command;

use super::detach::spawn_detached;

/// Starts this program and ends this process, whose lock the other one takes up. Returns only when
/// that failed.
pub fn exec_with_state(
    program: &Path,
    args: &[String],
    _file: &File,
    _sockets: &[(&str, BorrowedHandle<'_>)],
) -> io::Error {
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    match spawn_detached(program, &args, None) {
        Ok(_) => std::process::exit(0),
        Err(error) => error,
    }
}

/// Runs this program to its end and ends with its exit code. Returns only when that failed.
pub fn become_program(program: &Path, args: &[&OsStr]) -> io::Error {
    match Command::new(program).args(args).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// Nothing is handed over: the lock is taken up by its path.
pub fn carried_state() -> Option<File> {
    None
}

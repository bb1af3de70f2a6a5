//! Becoming another program in the same process: children stay children.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::FdFlags;

/// The variable that names the descriptor a program was handed by the one before it.
const STATE_VARIABLE: &str = "STEAD_STATE_FD";

/// Becomes this program, handing over one open file and sockets by name. Returns only when that
/// failed, with all of them as they were.
pub fn exec_with_state(
    program: &Path,
    args: &[String],
    file: &File,
    sockets: &[(&str, BorrowedFd<'_>)],
) -> io::Error {
    let all = || sockets.iter().map(|(_, socket)| *socket).chain([file.as_fd()]);
    let kept = all().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()));
    let fd = file.as_raw_fd().to_string();
    let (name, value) = super::sockets::handed(sockets);
    let error = match kept {
        Ok(()) => Command::new(program).args(args).env(STATE_VARIABLE, fd).env(name, value).exec(),
        Err(error) => error.into(),
    };
    // They must not leak into the next child.
    let _ = all().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC));
    error
}

/// Becomes this program. Returns only when that failed.
pub fn become_program(program: &Path, args: &[&OsStr]) -> io::Error {
    Command::new(program).args(args).exec()
}

/// The file handed over by the program that this process was before, once.
pub fn carried_state() -> Option<File> {
    let fd: i32 = std::env::var(STATE_VARIABLE).ok()?.parse().ok()?;
    if fd < 3 {
        return None;
    }
    #[expect(unsafe_code, reason = "a descriptor that came through exec has no owner yet")]
    // SAFETY: the program before us left it open for us and nobody else in this process has opened
    // anything yet; a number that is not open gives an error at the first use.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC).ok()?;
    Some(File::from(file))
}

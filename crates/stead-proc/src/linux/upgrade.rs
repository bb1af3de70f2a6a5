//! Becoming another program in the same process: children stay children.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The variable that names the descriptor a program was handed by the one before it.
const STATE_VARIABLE: &str = "STEAD_STATE_FD";

/// Becomes this program, handing over one open file. Returns only when that failed, with the file
/// as it was.
pub fn exec_with_state(program: &Path, args: &[String], file: &File) -> io::Error {
    if let Err(error) = rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()) {
        return error.into();
    }
    let fd = file.as_raw_fd().to_string();
    let error = Command::new(program).args(args).env(STATE_VARIABLE, fd).exec();
    // It must not leak into the next child.
    let _ = rustix::io::fcntl_setfd(file, rustix::io::FdFlags::CLOEXEC);
    error
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
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(File::from(file))
}

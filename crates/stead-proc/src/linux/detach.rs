//! Starting a process that is to outlive its starter.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, waitpid};

/// Starts a program in a session of its own, in `/`, with nothing on its streams but `stderr`
/// appended to a file. It stays our child until we end; [`reap`] it then.
pub fn spawn_detached(program: &Path, args: &[&OsStr], stderr: Option<&Path>) -> io::Result<u32> {
    let mut command = Command::new(program);
    command.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(match stderr {
        Some(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path)?.into(),
        None => Stdio::null(),
    });
    #[expect(unsafe_code, reason = "setsid between fork and exec has no safe form")]
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    // The handle is dropped on purpose: std neither waits for nor ends a child for that.
    Ok(command.spawn()?.id())
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

//! A mount namespace in which `/tmp` and `/var/tmp` are one folder of its own.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};

/// What is hidden behind the folder.
const HIDDEN: [&std::ffi::CStr; 2] = [c"/tmp", c"/var/tmp"];

/// Makes the namespace, by a child that makes it and ends once it is held.
pub(super) fn private_tmp(folder: &Path) -> io::Result<OwnedFd> {
    let folder = CString::new(folder.as_os_str().as_bytes())?;
    let (made, tell_made) = pipe_with(PipeFlags::CLOEXEC)?;
    let (wait_held, held) = pipe_with(PipeFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "making a process has no safe form")]
    // SAFETY: the child makes only raw calls on memory made before, and then exits.
    let pid = unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                libc::close(held.as_raw_fd());
                let errno = make(&folder);
                let bytes = errno.to_ne_bytes();
                libc::write(tell_made.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
                let mut end = [0_u8];
                // Ends once the other end is closed, at the latest with our maker.
                libc::read(wait_held.as_raw_fd(), end.as_mut_ptr().cast(), 1);
                libc::_exit(0)
            }
            pid => pid,
        }
    };
    drop(tell_made);
    let mut errno = [0; 4];
    let read = rustix::io::read(&made, &mut errno);
    let opened = match (read, i32::from_ne_bytes(errno)) {
        (Ok(4), 0) => File::open(format!("/proc/{pid}/ns/mnt")).map(OwnedFd::from),
        (Ok(4), errno) => Err(io::Error::from_raw_os_error(errno)),
        (Ok(_), _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (Err(error), _) => Err(error.into()),
    };
    drop(held);
    let raw = rustix::process::Pid::from_raw(pid);
    // Somebody else may have taken note of its end already.
    let _ = rustix::process::waitpid(raw, rustix::process::WaitOptions::empty());
    opened
}

/// Makes this process's mounts its own; says with which error that failed, 0 if it did not.
///
/// # Safety
/// Only between fork and exit; calls nothing that is not async-signal-safe.
#[expect(unsafe_code, reason = "after a fork only raw calls are allowed")]
unsafe fn make(folder: &CString) -> i32 {
    // SAFETY: raw calls on texts that were made before.
    unsafe {
        let nothing = std::ptr::null();
        // What the host mounts later is seen here, too; what is mounted here stays here.
        let done = libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                nothing,
                c"/".as_ptr(),
                nothing,
                libc::MS_REC | libc::MS_SLAVE,
                nothing.cast(),
            ) == 0
            && HIDDEN.iter().all(|hidden| {
                let bound = libc::mount(
                    folder.as_ptr(),
                    hidden.as_ptr(),
                    nothing,
                    libc::MS_BIND,
                    nothing.cast(),
                );
                // A host without such a folder has nothing to hide.
                bound == 0 || *libc::__errno_location() == libc::ENOENT
            });
        if done { 0 } else { *libc::__errno_location() }
    }
}

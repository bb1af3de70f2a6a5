//! How a service on Windows is spoken to, and speaks.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::windows::io::AsHandle;
use std::os::windows::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_BREAKAWAY_OK,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use windows_sys::Win32::System::WindowsProgramming::GetUserNameW;

/// Somebody has asked for the end.
static IS_ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Has the flag set once the console tells of Ctrl-C or Ctrl-Break.
pub(crate) fn note_end(is_asked: &Arc<AtomicBool>) -> io::Result<()> {
    let flag = IS_ASKED.get_or_init(|| Arc::clone(is_asked));
    debug_assert!(Arc::ptr_eq(flag, is_asked), "it is asked for once");
    #[expect(unsafe_code, reason = "a console tells by calling back")]
    // SAFETY: the routine touches a static only.
    match unsafe { SetConsoleCtrlHandler(Some(told), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

extern "system" fn told(_what: u32) -> i32 {
    if let Some(flag) = IS_ASKED.get() {
        flag.store(true, Ordering::Relaxed);
    }
    1
}

/// The longest name of a user, with its end.
const USER_LEN_MAX: usize = 257;

/// What the system calls whoever this runs as.
pub(crate) fn user() -> io::Result<String> {
    let mut name = [0_u16; USER_LEN_MAX];
    let mut len = u32::try_from(name.len()).unwrap_or(u32::MAX);
    #[expect(unsafe_code, reason = "the standard library does not tell it")]
    // SAFETY: the name is as long as is said.
    match unsafe { GetUserNameW(name.as_mut_ptr(), &mut len) } {
        0 => Err(io::Error::last_os_error()),
        _ => {
            let end = name.iter().position(|unit| *unit == 0).unwrap_or(name.len());
            Ok(String::from_utf16_lossy(&name[..end]))
        }
    }
}

/// Nothing asks a service here to read again.
pub(crate) fn note_read_again(_is_told: &Arc<AtomicBool>) -> io::Result<()> {
    Ok(())
}

/// Nobody listens.
pub(crate) fn notify(_message: &str) -> io::Result<()> {
    Ok(())
}

/// Both streams without a buffer.
pub(crate) fn streams() -> io::Result<[File; 2]> {
    let [out, err] = [
        io::stdout().as_handle().try_clone_to_owned()?,
        io::stderr().as_handle().try_clone_to_owned()?,
    ];
    Ok([File::from(out), File::from(err)])
}

/// Nothing is handed over.
pub(crate) fn handed_listener() -> io::Result<TcpListener> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no socket is handed over on Windows"))
}

/// A line for the shell that SSH gives one by default: all of it between quotes, which cmd takes
/// off. As there, what is still in our job ends with us, and may leave it before.
pub(crate) fn shell(line: &str) -> Command {
    end_with_us();
    let mut command = Command::new("cmd.exe");
    command.raw_arg(format!("/c \"{line}\""));
    command
}

/// Puts this process into a job that is ended with it. Where that cannot be, it is not.
fn end_with_us() {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_BREAKAWAY_OK;
    let len = u32::try_from(size_of_val(&limits)).unwrap_or(u32::MAX);
    #[expect(unsafe_code, reason = "jobs have no safe form")]
    // SAFETY: the limits are as long as is said; the job stays open until this process ends.
    unsafe {
        let job = CreateJobObjectW(ptr::null(), ptr::null());
        let what = JobObjectExtendedLimitInformation;
        SetInformationJobObject(job, what, (&raw const limits).cast(), len);
        AssignProcessToJobObject(job, GetCurrentProcess());
    }
}

/// What is tried is a matter of Linux.
pub(crate) mod hostile {
    use std::io;

    pub(crate) fn try_all(_tries: &[&str]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

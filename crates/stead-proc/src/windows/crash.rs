//! An end without any cleaning up.

#![expect(unsafe_code, reason = "nothing safe ends a process at once")]

use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

use super::identity::KILLED;

/// Ends this process as a kill from outside would.
pub fn crash() -> ! {
    // SAFETY: this process may end itself.
    unsafe { TerminateProcess(GetCurrentProcess(), KILLED) };
    std::process::abort()
}

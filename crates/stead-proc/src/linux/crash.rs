//! Dying on purpose, for tests of what comes after.

use rustix::process::{Signal, getpid, kill_process};

/// Ends this process as SIGKILL from outside would: at once, nothing flushed, nothing unwound.
pub fn crash() -> ! {
    loop {
        // The only error would be a missing permission to signal oneself, which does not exist.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

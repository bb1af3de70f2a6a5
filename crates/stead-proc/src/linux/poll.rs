//! Waiting for many things at once, with one thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::news::Fires;

/// Waits until one of these is readable or the time is over; says which are, in the same order.
pub fn wait(watched: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> =
        watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => (),
        Err(error) => return Err(error.into()),
    }
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// What [`wait`] waits for.
pub type Watched<'a> = BorrowedFd<'a>;

/// Wakes a thread that waits.
#[derive(Debug)]
pub struct Wakeup(OwnedFd);

impl Wakeup {
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn wake(&self) {
        // The only failure is a counter that is full, and then the sleeper wakes anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it sleep again.
    pub fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The signals that are read instead of delivered.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Takes over CHLD, TERM and INT, ignores HUP, and gives every other signal that was ignored by
    /// whoever started this process its default action back. Threads started later inherit it;
    /// [`super::spawn::spawn`] undoes it in the child.
    #[expect(unsafe_code, reason = "signal sets and signalfd have no safe form")]
    pub fn take_over() -> io::Result<Self> {
        // SAFETY: the set is made by sigemptyset before it is read, and signalfd returns a new
        // descriptor that nobody else owns.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT] {
                libc::sigaddset(&raw mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            reset_ignored();
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The signals that have come since the last time.
    pub fn take(&self) -> Vec<Fires> {
        const RECORD_LEN: usize = size_of::<libc::signalfd_siginfo>();
        let mut fired = Vec::new();
        let mut record = [0; RECORD_LEN];
        while rustix::io::read(&self.0, &mut record) == Ok(RECORD_LEN) {
            let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
            let fires = if number == libc::SIGCHLD as u32 { Fires::Child } else { Fires::End };
            if !fired.contains(&fires) {
                fired.push(fires);
            }
        }
        fired
    }
}

/// Sets every ignored signal but PIPE, which Rust itself ignores, to its default action.
///
/// # Safety
/// Before other threads begin that count on an ignored signal.
#[expect(unsafe_code, reason = "signal actions have no safe form")]
unsafe fn reset_ignored() {
    const IGNORED: u64 = 1;
    // As the kernel has it: handler, flags, restorer, mask. The C library refuses to touch the two
    // signals it uses itself; the kernel does not.
    let mut action = [0_u64; 4];
    let null = std::ptr::null_mut::<u64>();
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: both arrays are as long as the kernel's struct, and live through the call.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, null, action.as_mut_ptr(), 8);
            if action[0] == IGNORED && signal != libc::SIGPIPE {
                libc::syscall(libc::SYS_rt_sigaction, signal, [0_u64; 4].as_ptr(), null, 8);
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Milliseconds since boot, asleep or awake: start times of processes count from the same moment.
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Any number, for jitter.
pub fn random() -> u32 {
    let mut bytes = [0_u8; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(4) => u32::from_ne_bytes(bytes),
        // The clock's last digits are jitter enough where the kernel has no numbers yet.
        Ok(_) | Err(_) => clock_gettime(ClockId::Monotonic).tv_nsec as u32,
    }
}

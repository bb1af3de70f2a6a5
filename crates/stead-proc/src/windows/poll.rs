//! Waiting for many things at once, with one thread.

#![expect(unsafe_code, reason = "waiting has no safe form")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED};
use windows_sys::Win32::System::Console::{
    CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::Threading::{INFINITE, WaitForMultipleObjects};

use super::sys::{Event, check, is_signaled};
use crate::news::Fires;

/// The most that can be waited for at once.
const WATCHED_MAX: usize = 64;

/// What [`wait`] waits for.
pub type Watched<'a> = BorrowedHandle<'a>;

/// Waits until one of these is set or the time is over; says which are, in the same order.
pub fn wait(watched: &[BorrowedHandle<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    if watched.len() > WATCHED_MAX {
        return Err(io::Error::other(format!("more than {WATCHED_MAX} things to wait for")));
    }
    let handles: Vec<HANDLE> = watched.iter().map(|it| it.as_raw_handle().cast()).collect();
    // Rounded up: who waits until a deadline would come a moment too early, again and again.
    let millis = timeout.map_or(INFINITE, |timeout| {
        u32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(INFINITE - 1)
    });
    if handles.is_empty() {
        std::thread::sleep(Duration::from_millis(millis.into()));
        return Ok(Vec::new());
    }
    let count = u32::try_from(handles.len()).unwrap_or(u32::MAX);
    // SAFETY: so many handles are there, each held by its borrow.
    if unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, millis) } == WAIT_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(handles.iter().map(|handle| is_signaled(*handle)).collect())
}

/// Wakes a thread that waits.
#[derive(Debug)]
pub struct Wakeup(Event);

impl Wakeup {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Event::new(false)?))
    }

    pub fn wake(&self) {
        self.0.set();
    }

    /// Makes it sleep again.
    pub fn clear(&self) {
        self.0.reset();
    }
}

impl AsHandle for Wakeup {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.0.as_handle()
    }
}

/// That something fired, for whoever waits, and what it was.
static FIRED: OnceLock<Event> = OnceLock::new();
static CHILD: AtomicBool = AtomicBool::new(false);
static END: AtomicBool = AtomicBool::new(false);

/// Notes that a child has ended.
pub(super) fn child_ended() {
    fire(&CHILD);
}

fn fire(what: &AtomicBool) {
    what.store(true, Ordering::Release);
    if let Some(event) = FIRED.get() {
        event.set();
    }
}

/// The ends that are told of: of children, and of the whole host.
#[derive(Debug)]
pub struct Signals(&'static Event);

impl Signals {
    /// Takes over what consoles tell, and requests to end. Ctrl-C and Ctrl-Break are ignored: this
    /// process sends them to others that share a console with it.
    pub fn take_over() -> io::Result<Self> {
        let event = match FIRED.get() {
            Some(event) => event,
            None => {
                let event = Event::new(false)?;
                FIRED.get_or_init(|| event)
            }
        };
        // SAFETY: the routine touches statics only.
        check(unsafe { SetConsoleCtrlHandler(Some(console_tells), 1) })?;
        super::ends::tell_of_requests_to_end(|| fire(&END))?;
        Ok(Self(event))
    }

    /// What has fired since the last time.
    pub fn take(&self) -> Vec<Fires> {
        // First: what fires in between is found next time at the latest.
        self.0.reset();
        let mut fired = Vec::new();
        for (what, fires) in [(&CHILD, Fires::Child), (&END, Fires::End)] {
            if what.swap(false, Ordering::Acquire) {
                fired.push(fires);
            }
        }
        fired
    }
}

unsafe extern "system" fn console_tells(what: u32) -> i32 {
    if what == CTRL_CLOSE_EVENT || what == CTRL_SHUTDOWN_EVENT {
        fire(&END);
    }
    1
}

impl AsHandle for Signals {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.0.as_handle()
    }
}

/// Milliseconds since boot, asleep or awake.
pub fn boot_ms() -> u64 {
    // SAFETY: it only reads a clock.
    unsafe { GetTickCount64() }
}

/// Any number, for jitter.
pub fn random() -> u32 {
    // The seeds of std's hash maps come from the system's own generator.
    RandomState::new().build_hasher().finish() as u32
}

//! Requests to end that need no console: of programs of ours, by an event that only its process and
//! who knows that one can name; and of the host's service manager.

#![expect(unsafe_code, reason = "events with a name have no safe form")]

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;
use windows_sys::Win32::System::Threading::{
    CreateEventW, EVENT_MODIFY_STATE, INFINITE, OpenEventW, RegisterWaitForSingleObject, SetEvent,
    WT_EXECUTEDEFAULT,
};

use super::identity::start_ticks;
use super::sys::{Event, Owners, check, made, raw, wide};

static HOST_ENDS: AtomicBool = AtomicBool::new(false);

/// Notes that the host is about to go down, as its service manager has said to this process.
pub fn tell_host_ends() {
    HOST_ENDS.store(true, Ordering::Release);
}

/// Whether the host is about to go down, as far as [`tell_host_ends`] was called.
pub fn host_ends() -> bool {
    HOST_ENDS.load(Ordering::Acquire)
}

/// Set by who wants this process to end; taken back by the system when that was told.
static ASKED: OnceLock<Event> = OnceLock::new();

static TOLD_OF_REQUESTS: OnceLock<fn()> = OnceLock::new();

fn name(pid: u32, start_ticks: u64) -> io::Result<Vec<u16>> {
    wide(format!("Global\\stead-end-{pid}-{start_ticks:x}"))
}

/// From now on this is called, on a thread of the system's, when a program of ours asks this
/// process to end, by TERM. Only the first call of this does anything.
pub fn tell_of_requests_to_end(to: fn()) -> io::Result<()> {
    if TOLD_OF_REQUESTS.set(to).is_err() {
        return Ok(());
    }
    let own = std::process::id();
    let own_start = start_ticks(own)?.ok_or(io::ErrorKind::NotFound)?;
    let (name, owners) = (name(own, own_start)?, Owners::new()?);
    // SAFETY: the name ends with a zero, and the attributes live through the call.
    let event = unsafe { made(CreateEventW(owners.attributes(), 0, 0, name.as_ptr()))? };
    let event = ASKED.get_or_init(|| Event(event));
    let mut wait = ptr::null_mut();
    // SAFETY: the routine touches statics only, and the event is open as long as this process is.
    check(unsafe {
        let (event, none, always) = (raw(&event.0), ptr::null(), WT_EXECUTEDEFAULT);
        RegisterWaitForSingleObject(&raw mut wait, event, Some(asked), none, INFINITE, always)
    })
}

extern "system" fn asked(_context: *mut c_void, _timed_out: bool) {
    if let Some(told) = TOLD_OF_REQUESTS.get() {
        told();
    }
}

/// Asks a process of ours to end; `false` where it is none that can be asked so.
pub(super) fn ask_to_end(pid: u32, start_ticks: u64) -> io::Result<bool> {
    let name = name(pid, start_ticks)?;
    // SAFETY: the name ends with a zero.
    match unsafe { made(OpenEventW(EVENT_MODIFY_STATE, 0, name.as_ptr())) } {
        Err(error) if error.raw_os_error() == Some(ERROR_FILE_NOT_FOUND as i32) => Ok(false),
        // SAFETY: the event is open.
        event => check(unsafe { SetEvent(raw(&event?)) }).map(|()| true),
    }
}

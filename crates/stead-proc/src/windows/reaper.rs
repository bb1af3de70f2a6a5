//! Children that end. Their handles are kept until somebody takes note of their end, as other
//! systems keep what is left of a process.

#![expect(unsafe_code, reason = "waiting in the background has no safe form")]

use std::io;
use std::os::windows::io::OwnedHandle;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWait, WT_EXECUTEONLYONCE,
};

use super::identity::ended;
use super::poll::child_ended;
use super::sys::{check, raw};
use crate::ended::Ended;

/// A child whose end nobody has taken note of.
struct Child {
    pid: u32,
    process: OwnedHandle,
    /// The wait for its end, as a number.
    wait: usize,
}

static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Watches a child until its end was taken note of.
pub(super) fn watch(pid: u32, process: OwnedHandle) -> io::Result<()> {
    let mut wait = ptr::null_mut();
    // SAFETY: the routine touches statics only, and the process stays open until the wait is over.
    check(unsafe {
        let routine = Some(tell as unsafe extern "system" fn(*mut core::ffi::c_void, bool));
        let process = raw(&process);
        let once = WT_EXECUTEONLYONCE;
        RegisterWaitForSingleObject(&raw mut wait, process, routine, ptr::null(), INFINITE, once)
    })?;
    let child = Child { pid, process, wait: wait.expose_provenance() };
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    Ok(())
}

unsafe extern "system" fn tell(_context: *mut core::ffi::c_void, _timed_out: bool) {
    child_ended();
}

/// Orphans have no parent here, whoever wants to be it.
pub fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// Nothing is killed here when memory runs out.
pub fn outlive_services() -> bool {
    false
}

/// Takes note of every child that has ended.
pub fn reap_all() -> io::Result<Vec<Ended>> {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = Vec::new();
    children.retain(|child| {
        let Some(how) = ended(child.pid, raw(&child.process)) else { return true };
        // SAFETY: the wait was registered once and is given up once.
        unsafe { UnregisterWait(ptr::with_exposed_provenance_mut(child.wait)) };
        all.push(how);
        false
    });
    Ok(all)
}

/// Whether anything that was started may be alive: only its job can tell.
pub fn any_child() -> bool {
    true
}

//! What the agent says in the system's log of events, where administrators look first.

#![expect(unsafe_code, reason = "the log and the registry have no safe form")]

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, RegisterEventSourceW,
    ReportEventW,
};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, RegDeleteTreeW, RegSetKeyValueW,
};

/// Where the system looks who may write to the log of applications.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// A program of the system whose messages 1 to 1000 are the text that comes with an event.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";

/// All kinds of event that are written.
const TYPES: u32 = (EVENTLOG_ERROR_TYPE | EVENTLOG_INFORMATION_TYPE) as u32;

/// What happened, by the number that the log shows of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Happened {
    Started = 1,
    Stopped = 2,
    Failed = 3,
}

/// A text that ends with a zero; what holds one ends there.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().take_while(|unit| *unit != 0).chain([0]).collect()
}

fn key(source: &str) -> Vec<u16> {
    wide(format!("{SOURCES}\\{source}"))
}

fn answer(answer: u32) -> io::Result<()> {
    match answer {
        ERROR_SUCCESS => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

/// Has the log show what this source says. Takes an administrator's rights.
pub(super) fn register(source: &str) -> io::Result<()> {
    let messages = wide(MESSAGES);
    let (text, number) = (messages.as_ptr().cast(), ptr::from_ref(&TYPES).cast());
    set(source, "EventMessageFile", REG_EXPAND_SZ, text, size_of_val(messages.as_slice()))?;
    set(source, "TypesSupported", REG_DWORD, number, size_of_val(&TYPES))
}

fn set(
    source: &str,
    name: &str,
    kind: u32,
    value: *const core::ffi::c_void,
    len: usize,
) -> io::Result<()> {
    let (key, name) = (key(source), wide(name));
    // SAFETY: both texts end with a zero, and the value has so many bytes.
    answer(unsafe {
        let value_len = len as u32;
        RegSetKeyValueW(HKEY_LOCAL_MACHINE, key.as_ptr(), name.as_ptr(), kind, value, value_len)
    })
}

/// Takes the source away. What it has said stays in the log.
pub(super) fn unregister(source: &str) -> io::Result<()> {
    let key = key(source);
    // SAFETY: the text ends with a zero.
    match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, key.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => answer(code),
    }
}

/// Writes to the log. That it cannot be written is no reason to fail: `agent.log` has it, too.
pub(super) fn say(source: &str, what: Happened, text: &str) {
    let kind = match what {
        Happened::Started | Happened::Stopped => EVENTLOG_INFORMATION_TYPE,
        Happened::Failed => EVENTLOG_ERROR_TYPE,
    };
    let (source, text) = (wide(source), wide(text));
    let texts = [text.as_ptr()];
    // SAFETY: all texts end with a zero and live through the call; the source is closed once.
    unsafe {
        let log = RegisterEventSourceW(ptr::null(), source.as_ptr());
        if !log.is_null() {
            let (user, data) = (ptr::null_mut(), ptr::null());
            ReportEventW(log, kind, 0, what as u32, user, 1, 0, texts.as_ptr(), data);
            DeregisterEventSource(log);
        }
    }
}

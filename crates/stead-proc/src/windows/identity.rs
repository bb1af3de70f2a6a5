//! Which process is meant: never a pid alone.

#![expect(unsafe_code, reason = "processes are known by raw handles")]

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr;

use stead_core::signal::Signal;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, ERROR_SUCCESS, FILETIME, HANDLE,
};
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_BREAK_EVENT, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, KEY_READ, KEY_WRITE, REG_OPTION_VOLATILE, REG_SZ,
    RRF_RT_REG_SZ, RegCloseKey, RegCreateKeyExW, RegGetValueW, RegSetValueExW,
};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNameDnsHostname, GetComputerNameExW, GetSystemTimePreciseAsFileTime,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_DUP_HANDLE, PROCESS_NAME_WIN32,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
    QueryFullProcessImageNameW, TerminateProcess,
};

use super::poll::boot_ms;
use super::sys::{check, is_signaled, made, raw, wide};
use crate::ended::Ended;

/// The exit code of what was killed: what shells say of SIGKILL.
pub(crate) const KILLED: u32 = 137;

/// The longest path of a program that is looked at, in units.
const PROGRAM_LEN_MAX: usize = 4096;

/// Units of a [`FILETIME`] in a millisecond.
const TICKS_PER_MS: u64 = 10_000;

/// What this machine calls itself; `local` where it does not say.
pub fn host_name() -> String {
    let mut name = [0_u16; 256];
    let mut len = name.len() as u32;
    // SAFETY: the buffer has so much room.
    let went_well =
        unsafe { GetComputerNameExW(ComputerNameDnsHostname, name.as_mut_ptr(), &raw mut len) };
    let name = String::from_utf16_lossy(&name[..len as usize]);
    if went_well == 0 || name.is_empty() { "local".into() } else { name }
}

/// An id of this boot, held by a key that lives in memory alone. Pids of another boot mean
/// nothing.
pub fn boot_id() -> io::Result<String> {
    const BOOT: &str = "SOFTWARE\\stead-boot";
    let path = wide(BOOT)?;
    for root in [HKEY_LOCAL_MACHINE, HKEY_CURRENT_USER] {
        if let Some(id) = read_text(root, &path, "id")? {
            return Ok(id);
        }
    }
    let own = format!("{:08x}{:08x}", super::poll::random(), super::poll::random());
    let mut refused = ERROR_ACCESS_DENIED;
    for root in [HKEY_LOCAL_MACHINE, HKEY_CURRENT_USER] {
        refused = write_volatile(root, &path, "id", &own)?;
        if refused == ERROR_SUCCESS {
            // Another process may have written its own at the same time: the last one holds.
            return Ok(read_text(root, &path, "id")?.unwrap_or(own));
        }
    }
    Err(io::Error::from_raw_os_error(refused as i32))
}

fn read_text(root: HKEY, path: &[u16], name: &str) -> io::Result<Option<String>> {
    let name = wide(name)?;
    let mut text = [0_u16; 64];
    let mut len = size_of_val(&text) as u32;
    // SAFETY: both texts end with a zero, and the buffer has so many bytes.
    let answer = unsafe {
        RegGetValueW(
            root,
            path.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_SZ,
            ptr::null_mut(),
            text.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let units = (len as usize / 2).saturating_sub(1).min(text.len());
    Ok((answer == ERROR_SUCCESS).then(|| String::from_utf16_lossy(&text[..units])))
}

/// Writes a value that is gone with the next boot; says the system's answer.
fn write_volatile(root: HKEY, path: &[u16], name: &str, text: &str) -> io::Result<u32> {
    let (name, text) = (wide(name)?, wide(text)?);
    let mut key = ptr::null_mut();
    // SAFETY: texts end with a zero; the key is closed once, here.
    unsafe {
        let opened = RegCreateKeyExW(
            root,
            path.as_ptr(),
            0,
            ptr::null(),
            REG_OPTION_VOLATILE,
            KEY_READ | KEY_WRITE,
            ptr::null(),
            &raw mut key,
            ptr::null_mut(),
        );
        if opened != ERROR_SUCCESS {
            return Ok(opened);
        }
        let len = size_of_val(text.as_slice()) as u32;
        let set = RegSetValueExW(key, name.as_ptr(), 0, REG_SZ, text.as_ptr().cast(), len);
        RegCloseKey(key);
        Ok(set)
    }
}

/// When this process began, by the system's clock; `None` when it is gone.
pub fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    Ok(Process::open_any(pid)?.map(|process| process.start_ticks))
}

/// The file that a process runs.
pub fn program_of(pid: u32) -> io::Result<PathBuf> {
    let process = Process::open_any(pid)?.ok_or(io::ErrorKind::NotFound)?;
    let mut path = [0; PROGRAM_LEN_MAX];
    let mut len = PROGRAM_LEN_MAX as u32;
    // SAFETY: the path is ours to write, and as long as it is said to be.
    check(unsafe {
        let whole = PROCESS_NAME_WIN32;
        QueryFullProcessImageNameW(raw(&process.handle), whole, path.as_mut_ptr(), &raw mut len)
    })?;
    let units = path.get(..len as usize).ok_or(io::ErrorKind::InvalidData)?;
    Ok(OsString::from_wide(units).into())
}

/// Whether this process is a child of ours: ends are seen by handles here, whoever is the parent.
pub fn is_own_child(_pid: u32) -> bool {
    false
}

/// When a process with this start time began, in milliseconds since boot.
pub fn start_ms(start_ticks: u64) -> u64 {
    let mut now = FILETIME::default();
    // SAFETY: it only writes the time.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut now) };
    boot_ms().saturating_sub(ticks(now).saturating_sub(start_ticks) / TICKS_PER_MS)
}

fn ticks(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// A hold on one process. While it is held, no other process can be taken for it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    pub(crate) handle: OwnedHandle,
}

impl Process {
    /// Takes hold of the process with this pid and start time; `None` when it is gone, or another
    /// process has its pid now.
    pub fn open(pid: u32, start_ticks: u64) -> io::Result<Option<Self>> {
        let found = Self::open_any(pid)?;
        Ok(found.filter(|process| process.start_ticks == start_ticks))
    }

    /// Takes hold of whatever process has this pid now.
    pub fn open_any(pid: u32) -> io::Result<Option<Self>> {
        const RIGHTS: u32 = PROCESS_SYNCHRONIZE
            | PROCESS_QUERY_LIMITED_INFORMATION
            | PROCESS_TERMINATE
            | PROCESS_DUP_HANDLE;
        // SAFETY: a pid that nobody has is refused.
        let opened = unsafe { made(OpenProcess(RIGHTS, 0, pid)) };
        let handle = match opened {
            Err(error) if error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32) => {
                return Ok(None);
            }
            opened => opened?,
        };
        // It is there as long as somebody has it open, ended or not.
        if is_signaled(raw(&handle)) {
            return Ok(None);
        }
        Self::of_handle(pid, handle).map(Some)
    }

    /// By a handle that is open.
    pub(crate) fn of_handle(pid: u32, handle: OwnedHandle) -> io::Result<Self> {
        let start_ticks = created(raw(&handle))?;
        Ok(Self { pid, start_ticks, handle })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Ends this very process, asks it if it is one of ours that can be asked, or has its console
    /// tell it; `false` when it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.ask(signal).map(|how| how.is_some())
    }

    /// As [`Self::signal`], and says what that is called here; `None` when it is gone. The two
    /// things that a console can tell stand for TERM and INT.
    pub fn ask(&self, signal: Signal) -> io::Result<Option<String>> {
        if is_signaled(raw(&self.handle)) {
            return Ok(None);
        }
        match signal {
            // SAFETY: the handle may end its process.
            Signal::Kill => match check(unsafe { TerminateProcess(raw(&self.handle), KILLED) }) {
                // It was about to end by itself.
                Err(_) if is_signaled(raw(&self.handle)) => Ok(None),
                ended => ended.map(|()| Some("its end".into())),
            },
            Signal::Term if super::ends::ask_to_end(self.pid, self.start_ticks)? => {
                Ok(Some("a request to end".into()))
            }
            Signal::Term => {
                // Not every system that runs programs of Windows knows both.
                let told = tell_console(self.pid, CTRL_BREAK_EVENT).map(|()| "ctrl-break");
                let told = told.or_else(|_| {
                    tell_console(self.pid, CTRL_C_EVENT).map(|()| "ctrl-c, for want of ctrl-break")
                });
                told.map(|how| Some(how.into()))
            }
            Signal::Int => tell_console(self.pid, CTRL_C_EVENT).map(|()| Some("ctrl-c".into())),
            Signal::Abrt
            | Signal::Alrm
            | Signal::Cont
            | Signal::Hup
            | Signal::Pipe
            | Signal::Quit
            | Signal::Stop
            | Signal::Tstp
            | Signal::Usr1
            | Signal::Usr2
            | Signal::Winch => {
                let why = format!("{signal} does not exist on Windows");
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    /// What it listens with cannot be had from outside here.
    pub fn listener(&self, _address: SocketAddr) -> io::Result<Option<OwnedHandle>> {
        Ok(None)
    }

    /// How it ended; `None` while it lives.
    pub fn ended(&self) -> Option<Ended> {
        ended(self.pid, raw(&self.handle))
    }
}

/// How the process of a handle ended; `None` while it lives.
pub(super) fn ended(pid: u32, process: HANDLE) -> Option<Ended> {
    if !is_signaled(process) {
        return None;
    }
    let mut code = 0;
    // SAFETY: the number is ours to write.
    let told = check(unsafe { GetExitCodeProcess(process, &raw mut code) }).is_ok();
    let code = told.then_some(code as i32);
    Some(Ended { pid, code, signal: None, signal_number: None, core_dumped: false })
}

/// When the process of a handle began.
fn created(process: HANDLE) -> io::Result<u64> {
    let [mut began, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: all four are ours to write.
    check(unsafe {
        GetProcessTimes(process, &raw mut began, &raw mut ended, &raw mut kernel, &raw mut user)
    })?;
    Ok(ticks(began))
}

/// Has the console of a process tell all that share it. Each run has one of its own.
fn tell_console(pid: u32, what: u32) -> io::Result<()> {
    // SAFETY: whatever console this process has, it gives up; it has none of its own.
    unsafe {
        FreeConsole();
        check(AttachConsole(pid))?;
        // This process ignores what it sends.
        let told = check(GenerateConsoleCtrlEvent(what, 0));
        FreeConsole();
        told
    }
}

impl AsHandle for Process {
    /// Set once the process has ended.
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

//! What programs find around them, and where state is kept.

#![expect(unsafe_code, reason = "what rights a process has and the registry have no safe form")]

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_ELEVATION, TOKEN_QUERY, TokenElevation,
};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::sys::{made, raw, wide};

/// What the system says to every program; some do not start without.
const SYSTEM: [&str; 13] = [
    "ALLUSERSPROFILE",
    "CommonProgramFiles",
    "COMPUTERNAME",
    "ComSpec",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "ProgramData",
    "ProgramFiles",
    "PUBLIC",
    "SystemDrive",
    "SystemRoot",
];

const ENVIRONMENT: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
const PROFILES: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";

/// Which of these are asked of the system itself, by key and name: what a service of the system
/// finds of them around it may not be what a user does, and a run goes on whoever its agent is.
const ASKED: [(&str, &str, &str); 8] = [
    ("ALLUSERSPROFILE", PROFILES, "ProgramData"),
    ("ComSpec", ENVIRONMENT, "ComSpec"),
    ("NUMBER_OF_PROCESSORS", ENVIRONMENT, "NUMBER_OF_PROCESSORS"),
    ("OS", ENVIRONMENT, "OS"),
    ("PATHEXT", ENVIRONMENT, "PATHEXT"),
    ("PROCESSOR_ARCHITECTURE", ENVIRONMENT, "PROCESSOR_ARCHITECTURE"),
    ("ProgramData", PROFILES, "ProgramData"),
    ("PUBLIC", PROFILES, "Public"),
];

/// The longest of them, in units.
const ASKED_LEN_MAX: usize = 1 << 12;

/// Where the system's folder is on nearly every host.
const SYSTEM_ROOT: &str = r"C:\Windows";

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn system_root() -> PathBuf {
    set("SystemRoot").unwrap_or_else(|| SYSTEM_ROOT.into())
}

/// A folder that is always there and that nobody wants to remove: one cannot be removed while a
/// program is in it.
pub fn top_folder() -> PathBuf {
    system_root()
}

/// The variables that any program needs, and nothing of this one's own; `tmp` is its folder for
/// what need not last.
pub fn base_environment(tmp: &Path) -> Vec<(String, OsString)> {
    let mut all: Vec<_> = told_by_system().collect();
    let root = system_root();
    let programs = [root.join("System32"), root.clone(), root.join(r"System32\Wbem")];
    if let Ok(path) = std::env::join_paths(programs) {
        all.push(("PATH".into(), path));
    }
    all.push(("windir".into(), root.into()));
    all.extend(["TEMP", "TMP"].map(|name| (name.into(), tmp.into())));
    all
}

/// Takes all of our environment from a command that it can do without.
pub fn bare(command: &mut Command) -> &mut Command {
    command.env_clear().envs(told_by_system())
}

fn told_by_system() -> impl Iterator<Item = (String, OsString)> {
    SYSTEM.into_iter().filter_map(|name| {
        let asked = ASKED.iter().find(|(asked, ..)| *asked == name);
        let told = asked.and_then(|(_, key, value)| ask(key, value));
        Some((name.to_owned(), told.or_else(|| std::env::var_os(name))?))
    })
}

/// A text that the system keeps for all, with what it refers to filled in.
fn ask(key: &str, name: &str) -> Option<OsString> {
    let (key, name) = (wide(key).ok()?, wide(name).ok()?);
    let mut text = vec![0_u16; ASKED_LEN_MAX];
    let mut len = size_of_val(text.as_slice()) as u32;
    // SAFETY: both names end with a zero, and the buffer has so many bytes.
    let answer = unsafe {
        let (kind, none) = (RRF_RT_REG_SZ, ptr::null_mut());
        let into = text.as_mut_ptr().cast();
        let (key, name) = (key.as_ptr(), name.as_ptr());
        RegGetValueW(HKEY_LOCAL_MACHINE, key, name, kind, none, into, &raw mut len)
    };
    let units = text.split(|unit| *unit == 0).next().filter(|text| !text.is_empty())?;
    (answer == ERROR_SUCCESS).then(|| OsString::from_wide(units))
}

/// The folder with the state of programs that look after this host, where this one may do that,
/// else of this user's programs; `None` if nothing tells it.
pub fn state_folder() -> Option<PathBuf> {
    set(if is_elevated() { "ProgramData" } else { "LocalAppData" })
}

/// Whether this process has an administrator's rights at hand.
fn is_elevated() -> bool {
    let (mut token, mut about, mut len) = (ptr::null_mut(), TOKEN_ELEVATION::default(), 0);
    // SAFETY: the token is new and given back once; what is said of it is ours to write, and as
    // long as it is said to be.
    unsafe {
        if OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) == 0 {
            return false;
        }
        let Ok(token) = made(token) else { return false };
        let room = size_of::<TOKEN_ELEVATION>() as u32;
        let to = (&raw mut about).cast();
        GetTokenInformation(raw(&token), TokenElevation, to, room, &raw mut len) != 0
            && about.TokenIsElevated != 0
    }
}

/// A line of commands for this system's own shell.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new(set("ComSpec").unwrap_or_else(|| "cmd.exe".into()));
    // As it is: this shell has rules of its own for what it takes off of a line.
    command.raw_arg("/D /S /C").raw_arg(format!("\"{line}\""));
    command
}

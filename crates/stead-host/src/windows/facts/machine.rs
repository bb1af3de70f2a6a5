//! The machine itself and its Windows.

#![expect(unsafe_code, reason = "what a machine has is told to pointers")]

use std::io;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::SystemInformation::{
    GlobalMemoryStatusEx, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64,
    IMAGE_FILE_MACHINE_I386, MEMORYSTATUSEX,
};
use windows_sys::Win32::System::Threading::{
    ALL_PROCESSOR_GROUPS, GetActiveProcessorCount, GetCurrentProcess, GetSystemTimes,
    IsWow64Process2,
};

use super::{Told, registry};

/// For how long its processors are looked at: a few of the system's own ticks.
const LOOK: Duration = Duration::from_millis(200);

const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const CODE_PAGE: &str = r"SYSTEM\CurrentControlSet\Control\Nls\CodePage";

pub(super) fn tell(told: &mut Told<'_>) -> io::Result<()> {
    told.say("system", "Windows")?;
    told.say_known("kernel", version())?;
    told.say_known("machine", machine())?;
    // SAFETY: it only says a number.
    told.say("cores", unsafe { GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) })?;
    if let Some(memory) = memory() {
        told.say("memory_kib", memory.ullTotalPhys >> 10)?;
        told.say("available_kib", memory.ullAvailPhys >> 10)?;
        // What may be committed is memory and its files of pages together.
        told.say("swap_kib", memory.ullTotalPageFile.saturating_sub(memory.ullTotalPhys) >> 10)?;
    }
    told.say("windows.up_s", stead_proc::boot_ms() / 1000)?;
    told.say_known("windows.load_percent", load_percent())?;
    told.say_known("windows.code_page", registry::text(CODE_PAGE, "ACP"))
}

/// As `10.0.20348.2402`: what the system says to programs depends on what they say they know.
fn version() -> Option<String> {
    let build = registry::text(VERSION, "CurrentBuildNumber")?;
    let number = |name| registry::number(VERSION, name);
    let major = number("CurrentMajorVersionNumber");
    let own = match (major, number("CurrentMinorVersionNumber")) {
        (Some(major), Some(minor)) => format!("{major}.{minor}"),
        // Before Windows 10.
        (_, _) => registry::text(VERSION, "CurrentVersion")?,
    };
    Some(match number("UBR") {
        Some(revision) => format!("{own}.{build}.{revision}"),
        None => format!("{own}.{build}"),
    })
}

/// The processor as `uname -m` says it, also where this program is translated for it.
fn machine() -> Option<&'static str> {
    let (mut own, mut native) = (0, 0);
    // SAFETY: both numbers are ours to write.
    let went_well =
        unsafe { IsWow64Process2(GetCurrentProcess(), &raw mut own, &raw mut native) } != 0;
    match native {
        _ if !went_well => None,
        IMAGE_FILE_MACHINE_AMD64 => Some("x86_64"),
        IMAGE_FILE_MACHINE_ARM64 => Some("aarch64"),
        IMAGE_FILE_MACHINE_I386 => Some("i686"),
        _ => None,
    }
}

fn memory() -> Option<MEMORYSTATUSEX> {
    let mut status = MEMORYSTATUSEX {
        dwLength: size_of::<MEMORYSTATUSEX>() as u32,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: the length is that of the struct.
    (unsafe { GlobalMemoryStatusEx(&raw mut status) } != 0).then_some(status)
}

/// How busy all processors together are now.
fn load_percent() -> Option<u64> {
    let before = times()?;
    thread::sleep(LOOK);
    let after = times()?;
    let [idle, all] = [0, 1].map(|n| after[n].saturating_sub(before[n]));
    let busy = all.saturating_sub(idle).saturating_mul(100);
    busy.checked_div(all)
}

/// For how long all processors have done nothing, and anything, in the system's ticks.
fn times() -> Option<[u64; 2]> {
    let [mut idle, mut kernel, mut user] = [FILETIME::default(); 3];
    // SAFETY: all three are ours to write.
    let went_well = unsafe { GetSystemTimes(&raw mut idle, &raw mut kernel, &raw mut user) } != 0;
    let ticks = |it: FILETIME| u64::from(it.dwHighDateTime) << 32 | u64::from(it.dwLowDateTime);
    // To do nothing is done by the kernel.
    went_well.then(|| [ticks(idle), ticks(kernel) + ticks(user)])
}

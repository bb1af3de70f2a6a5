//! Memory of this process and of the host.

#![expect(unsafe_code, reason = "memory of processes has no safe form")]

use windows_sys::Win32::System::Memory::SetProcessWorkingSetSizeEx;
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// The allocator is the system's own.
pub fn lean_memory() {}

/// Lets the system have the pages that are not in use now.
pub fn trim_memory() {
    // SAFETY: both limits left open is the documented way to ask for that.
    unsafe { SetProcessWorkingSetSizeEx(GetCurrentProcess(), usize::MAX, usize::MAX, 0) };
}

/// Stacks are given back with everything else.
pub fn trim_stack() {}

/// So is code.
pub fn trim_code() {}

/// Bytes of memory that the host has; 0 where it does not say.
pub fn memory_total() -> u64 {
    let mut status = MEMORYSTATUSEX {
        dwLength: size_of::<MEMORYSTATUSEX>() as u32,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: the length is that of the struct.
    match unsafe { GlobalMemoryStatusEx(&raw mut status) } {
        0 => 0,
        _ => status.ullTotalPhys,
    }
}

//! What a process may do where it is now. Each asks the system and changes nothing.

#![expect(unsafe_code, reason = "who the parent is has no safe form")]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};

use super::sys::{made, raw};

/// Whether this process may run a file as its program, as far as that shows in opening it.
pub fn may_execute(path: &Path) -> io::Result<()> {
    File::open(path).map(drop)
}

/// Whether this process may read a file or folder.
pub fn mode_lets_read(path: &Path) -> bool {
    path.read_dir().is_ok() || File::open(path).is_ok()
}

/// As [`mode_lets_read`], for writing to a file; a folder that is there is taken for one that may.
pub fn mode_lets_write(path: &Path) -> bool {
    path.is_dir() || OpenOptions::new().append(true).open(path).is_ok()
}

/// Whether this process may take a TCP port on all addresses; it is given back at once.
pub fn may_take_port(port: u16) -> io::Result<()> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map(drop)
}

/// The process that started this one; 0 where nobody knows.
pub fn parent_pid() -> u32 {
    let own = std::process::id();
    processes().iter().find(|it| it.pid == own).map_or(0, |it| it.parent)
}

/// One line of the system's table of processes.
#[derive(Debug)]
pub struct Listed {
    pub pid: u32,
    /// It may have ended, and its pid be another's.
    pub parent: u32,
    /// The name of its file.
    pub program: String,
}

/// All processes.
pub fn processes() -> Vec<Listed> {
    let mut all = Vec::new();
    // SAFETY: the snapshot is new.
    let Ok(snapshot) = (unsafe { made(CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0)) }) else {
        return all;
    };
    let mut entry = PROCESSENTRY32W {
        dwSize: size_of::<PROCESSENTRY32W>() as u32,
        ..PROCESSENTRY32W::default()
    };
    // SAFETY: the entry says how long it is.
    let mut more = unsafe { Process32FirstW(raw(&snapshot), &raw mut entry) };
    while more != 0 {
        let name: Vec<u16> = entry.szExeFile.iter().copied().take_while(|it| *it != 0).collect();
        all.push(Listed {
            pid: entry.th32ProcessID,
            parent: entry.th32ParentProcessID,
            program: String::from_utf16_lossy(&name),
        });
        // SAFETY: as above.
        more = unsafe { Process32NextW(raw(&snapshot), &raw mut entry) };
    }
    all
}

/// There are no capabilities here: nothing is bounded by them.
pub fn capability_bounds() -> io::Result<u64> {
    Ok(u64::MAX)
}

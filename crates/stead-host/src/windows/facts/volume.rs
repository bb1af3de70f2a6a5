//! The root, and the disk that it is on.

#![expect(unsafe_code, reason = "what a disk has is told to pointers")]

use std::fs::OpenOptions;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_FLAG_BACKUP_SEMANTICS, GetDiskFreeSpaceExW,
    GetDriveTypeW, GetVolumeInformationW, GetVolumePathNameW,
};

use super::Told;

/// The longest path of a volume, in units.
const PATH_LEN_MAX: usize = 1024;

/// What says of a volume that nothing is written to it.
const READ_ONLY_VOLUME: u32 = 0x0008_0000;

/// Kinds of drives by their numbers; the first two say that there is none.
const DRIVES: [Option<&str>; 7] =
    [None, None, Some("removable"), Some("fixed"), Some("remote"), Some("cd"), Some("ram")];

pub(super) fn tell(told: &mut Told<'_>, root: &Path) -> io::Result<()> {
    told.say("root", root.display())?;
    // Something of it is there, if only its drive.
    let stands = root.ancestors().find(|it| it.exists()).unwrap_or(root);
    told.say("root_state", state(root, stands))?;
    told.say("root_on", stands.display())?;
    let Some(volume) = volume(stands) else { return Ok(()) };
    told.say("mount_point", until_zero(&volume))?;
    let (mut free, mut all) = (0, 0);
    // SAFETY: the path ends with a zero, and both numbers are ours to write.
    let has_space = unsafe {
        GetDiskFreeSpaceExW(volume.as_ptr(), &raw mut free, &raw mut all, ptr::null_mut()) != 0
    };
    if has_space {
        told.say("disk_free_kib", free >> 10)?;
        told.say("windows.disk_kib", all >> 10)?;
    }
    let (mut flags, mut name) = (0, [0_u16; 64]);
    // SAFETY: the path ends with a zero, and the name has so much room; nothing else is asked for.
    let is_known = unsafe {
        let (none, room) = (ptr::null_mut(), name.len() as u32);
        let (numbers, flags) = (ptr::null_mut(), &raw mut flags);
        GetVolumeInformationW(
            volume.as_ptr(),
            none,
            0,
            numbers,
            ptr::null_mut(),
            flags,
            name.as_mut_ptr(),
            room,
        ) != 0
    };
    if is_known {
        told.say("file_system", until_zero(&name))?;
        told.say("mount_options", if flags & READ_ONLY_VOLUME == 0 { "rw" } else { "ro" })?;
    }
    // SAFETY: the path ends with a zero.
    let drive = unsafe { GetDriveTypeW(volume.as_ptr()) } as usize;
    told.say_known("windows.drive", DRIVES.get(drive).copied().flatten())
}

fn state(root: &Path, stands: &Path) -> &'static str {
    match (stands.is_dir(), stands == root, may_add(stands)) {
        (false, _, _) => "blocked",
        (true, true, true) => "writable",
        (true, true, false) => "closed",
        (true, false, true) => "absent",
        (true, false, false) => "forbidden",
    }
}

/// Whether this process may make files and folders in a folder: asked for, and none is made.
fn may_add(folder: &Path) -> bool {
    let mut options = OpenOptions::new();
    options.access_mode(FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY);
    options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(folder).is_ok()
}

/// The path of the volume that a folder is on, with a zero behind it.
fn volume(folder: &Path) -> Option<[u16; PATH_LEN_MAX]> {
    let folder: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut volume = [0_u16; PATH_LEN_MAX];
    let room = volume.len() as u32;
    // SAFETY: the path ends with a zero, and the other has so much room.
    let went_well = unsafe { GetVolumePathNameW(folder.as_ptr(), volume.as_mut_ptr(), room) } != 0;
    went_well.then_some(volume)
}

fn until_zero(units: &[u16]) -> String {
    let end = units.iter().position(|it| *it == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

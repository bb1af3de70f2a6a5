//! What files have beside their content: there are no modes; who may open a file, its access list
//! says, which it has from its folder unless it is closed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{OpenOptionsExt as _, symlink_dir, symlink_file};
use std::os::windows::io::AsRawHandle as _;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, GENERIC_READ, GENERIC_WRITE,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, SetKernelObjectSecurity,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_TEMPORARY, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_DELETE_ON_CLOSE, FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_DELETE,
    GetFileInformationByHandle, WRITE_DAC,
};

use super::poll::random;
use super::sys::{Owners, check};

/// Whether a name may hold anything but `/` and NUL, and names that differ by case are two.
pub const TAKES_ANY_NAME: bool = false;

/// How the mode bits of a file are read, if the disk keeps some: it does not. The read-only
/// attribute is none: it would only hinder whoever removes the file.
pub const MODE_OF: Option<fn(&Metadata) -> u32> = None;

/// Sets the mode bits of an open file, if the disk keeps some.
pub fn set_file_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// As [`set_file_mode`], of a file whose content is on the disk; the mode is there after it, too.
pub fn set_mode_durably(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Makes a new file to write to. Who else may read it is said by the folder it is in.
pub fn create_file(path: &Path) -> io::Result<File> {
    File::create_new(path)
}

/// Makes a new file to write to that its owner alone may open.
pub fn create_closed_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).access_mode(GENERIC_WRITE | WRITE_DAC);
    // Until its list is there nobody opens it, and nobody reads it before this handle is gone.
    let file = options.share_mode(FILE_SHARE_DELETE).open(path)?;
    close_to_others(&file).inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(file)
}

/// Opens a file, which is made such that its owner alone may open it, if it is not there.
pub fn open_closed_file(path: &Path) -> io::Result<File> {
    const ALL: u32 = GENERIC_READ | GENERIC_WRITE | WRITE_DAC;
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    // Others that come at the same time must be able to open it, so its list comes right after it.
    match options.clone().create_new(true).access_mode(ALL).open(path) {
        Ok(file) => close_to_others(&file).map(|()| file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// Opens a file to append to, which is made if it is not there; who else may read it is said by
/// the folder it is in. To be cut, it must be opened anew.
pub fn append_file(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Makes a file whose name nobody can guess and nobody else can open, and that is gone with its
/// last handle.
pub fn unnamed_file() -> io::Result<File> {
    let name = format!("stead-{:08x}{:08x}{:08x}", std::process::id(), random(), random());
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).share_mode(0);
    options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE).attributes(FILE_ATTRIBUTE_TEMPORARY);
    options.open(std::env::temp_dir().join(name))
}

/// A number that no other file of its disk has while it is there; never zero.
pub fn file_number(file: &File) -> io::Result<u64> {
    let mut about = BY_HANDLE_FILE_INFORMATION::default();
    #[expect(unsafe_code, reason = "the number of a file has no safe form")]
    // SAFETY: the file is open, and what is said of it is ours to write.
    let told = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut about) };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(about.nFileIndexHigh) << 32 | u64::from(about.nFileIndexLow))
}

/// Users have no numbers here.
pub fn owner_of(_there: &Metadata) -> Option<u32> {
    None
}

/// No group may do with a file what others may not.
pub fn group_of(_there: &Metadata) -> Option<u32> {
    None
}

/// Nothing is given to a group here.
pub fn give_to_group(_path: &Path, _group: u32) -> io::Result<()> {
    Ok(())
}

/// Makes a folder. Where the mode lets nobody else look into it, nobody else can; others pass
/// through to what they may open in any case.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    const OTHERS_LOOK: u32 = 0o044;
    if mode & OTHERS_LOOK == 0 { make_closed_folder(path) } else { make_open_folder(path) }
}

/// Makes a folder and those above it, as far as they are not there; the mode is that of the last.
pub fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    make_folder(path, mode)
}

/// Makes a new folder that others may look into, as far as they may into the one it is in.
pub fn make_open_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Makes a new folder that its owner alone may look into.
pub fn make_closed_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    close_folder(path).inspect_err(|_| drop(fs::remove_dir(path)))
}

/// Has nobody but its owner look into a folder or change it; itself, where it leads to another one.
/// What is in it stays as it is.
pub fn close_folder(path: &Path) -> io::Result<()> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    close_to_others(&OpenOptions::new().access_mode(WRITE_DAC).custom_flags(flags).open(path)?)
}

/// Makes a symbolic link, which an account needs a right for. Some systems must be told whether it
/// leads to a folder.
pub fn make_link(to: &str, at: &Path, leads_to_folder: bool) -> io::Result<()> {
    // A link's text is not looked at when it is made, and `/` is no separator when it is followed.
    let to = to.replace('/', "\\");
    if leads_to_folder { symlink_dir(to, at) } else { symlink_file(to, at) }
}

/// Where a symbolic link leads to, with `/` between the parts.
pub fn read_link(at: &Path) -> io::Result<PathBuf> {
    let to = fs::read_link(at)?;
    let shown = to.to_str().map(|to| to.replace('\\', "/").into());
    Ok(shown.unwrap_or(to))
}

/// Has the disk hold the names in a folder. Not every disk can be asked to: then it holds them when
/// it likes, in the order in which they were made.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let folder = options.write(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(folder);
    match folder.and_then(|folder| folder.sync_all()) {
        Err(error) if error.raw_os_error().is_some_and(cannot_be_synced) => Ok(()),
        other => other,
    }
}

fn cannot_be_synced(error: i32) -> bool {
    [ERROR_ACCESS_DENIED, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED]
        .contains(&error.cast_unsigned())
}

fn close_to_others(file: &File) -> io::Result<()> {
    let owners = Owners::new()?;
    let which = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    #[expect(unsafe_code, reason = "access lists have no safe form")]
    // SAFETY: the file is open, and the list is there as long as its owner.
    let set = unsafe { SetKernelObjectSecurity(file.as_raw_handle(), which, owners.descriptor()) };
    check(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::ptr;

    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::Security::Authorization::{
        ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
        SE_FILE_OBJECT,
    };
    use windows_sys::Win32::Security::OWNER_SECURITY_INFORMATION;

    /// The owner and the access list of a file or folder, as text.
    fn list(path: &Path) -> String {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path).unwrap();
        let (mut list, mut text, mut len) = (ptr::null_mut(), ptr::null_mut(), 0);
        let (handle, none) = (file.as_raw_handle(), ptr::null_mut);
        let which = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        #[expect(unsafe_code, reason = "access lists have no safe form")]
        // SAFETY: both pointers are looked at only if they were set, and given back once.
        unsafe {
            let (owner, group, dacl, sacl) = (none(), none(), ptr::null_mut(), ptr::null_mut());
            let read = GetSecurityInfo(
                handle,
                SE_FILE_OBJECT,
                which,
                owner,
                group,
                dacl,
                sacl,
                &raw mut list,
            );
            assert_eq!(read, 0);
            let made = ConvertSecurityDescriptorToStringSecurityDescriptorW(
                list,
                SDDL_REVISION_1,
                which,
                &raw mut text,
                &raw mut len,
            );
            assert_ne!(made, 0);
            let wide = std::slice::from_raw_parts(text, len as usize);
            let list_text = String::from_utf16(wide).unwrap();
            LocalFree(text.cast());
            LocalFree(list);
            list_text.trim_end_matches('\0').to_owned()
        }
    }

    /// Whether such a text lets nobody in but the owner, the system and administrators, and has
    /// nothing from the folder above.
    fn is_closed(list: &str) -> bool {
        let (owner, list) = list.split_once("D:").unwrap();
        let owner = owner.trim_start_matches("O:");
        let mut entries = list.split('(').skip(1).map(|entry| entry.trim_end_matches(')'));
        entries.all(|entry| {
            let parts: Vec<&str> = entry.split(';').collect();
            [owner, "OW", "SY", "BA"].contains(&parts[5]) && !parts[1].contains("ID")
        })
    }

    #[test]
    fn what_is_closed_is_its_owners_and_can_be_renamed_and_locked() {
        let folder = std::env::temp_dir().join(format!("stead-files-{}", std::process::id()));
        make_open_folder(&folder).unwrap();
        let [open, closed, lock, below] =
            ["open", "closed", "lock", "below"].map(|name| folder.join(name));
        drop(create_file(&open).unwrap());
        let mut file = create_closed_file(&closed).unwrap();
        file.write_all(b"x").unwrap();
        assert!(fs::read(&closed).is_err(), "nobody reads it before it is whole");
        drop(file);
        assert!(create_closed_file(&closed).is_err() && create_file(&closed).is_err());
        // One that is there is opened as it is, also while another has it open.
        let locked = open_closed_file(&lock).unwrap();
        locked.try_lock().unwrap();
        assert!(open_closed_file(&lock).unwrap().try_lock().is_err());
        drop(locked);
        open_closed_file(&lock).unwrap().try_lock().unwrap();
        make_closed_folder(&below).unwrap();
        for path in [&closed, &lock, &below] {
            assert!(is_closed(&list(path)), "{}", list(path));
        }
        // Control: what is not closed has its list from its folder, or is everybody's.
        assert!(!is_closed(&list(&open)), "{}", list(&open));
        assert_eq!(fs::read(&closed).unwrap(), b"x");
        fs::rename(&closed, &open).unwrap();
        sync_folder(&folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_link_is_read_as_it_was_made() {
        let folder = std::env::temp_dir().join(format!("stead-links-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a/file"), "x").unwrap();
        for (to, leads_to_folder) in [("a/file", false), ("a", true)] {
            let at = folder.join(to.replace('/', "-"));
            // Not every account may make one.
            if make_link(to, &at, leads_to_folder).is_err() || !at.is_symlink() {
                eprintln!("no links can be made here");
                break;
            }
            assert_eq!(read_link(&at).unwrap().to_str(), Some(to));
            assert_eq!(fs::metadata(&at).unwrap().is_dir(), leads_to_folder);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

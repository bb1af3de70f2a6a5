//! What files have beside their content: modes, links, and whether the disk has their names.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

/// Whether a name may hold anything but `/` and NUL, and names that differ by case are two.
pub const TAKES_ANY_NAME: bool = true;

const CLOSED_FILE: u32 = 0o600;
const CLOSED_FOLDER: u32 = 0o700;
const OPEN_FOLDER: u32 = 0o755;

/// How the mode bits of a file are read, if the disk keeps some.
pub const MODE_OF: Option<fn(&Metadata) -> u32> = Some(mode_of);

fn mode_of(there: &Metadata) -> u32 {
    there.permissions().mode() & 0o7777
}

/// Sets the mode bits of an open file, if the disk keeps some.
pub fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

/// As [`set_file_mode`], of a file whose content is on the disk; the mode is there after it, too.
pub fn set_mode_durably(path: &Path, mode: u32) -> io::Result<()> {
    let file = File::open(path)?;
    set_file_mode(&file, mode)?;
    file.sync_all()
}

/// Makes a new file to write to. Who else may read it is said by its mode, once that is set.
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(CLOSED_FILE).open(path)
}

/// Makes a new file to write to that its owner alone may open.
pub fn create_closed_file(path: &Path) -> io::Result<File> {
    create_file(path)
}

/// Opens a file, which is made such that its owner alone may open it, if it is not there.
pub fn open_closed_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(CLOSED_FILE).open(path)
}

/// Opens a file to append to, which is made with this mode if it is not there. To be cut, it must
/// be opened anew.
pub fn append_file(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

/// Makes a file that has no name and is gone with its last handle.
pub fn unnamed_file() -> io::Result<File> {
    Ok(memfd_create("unnamed", MemfdFlags::CLOEXEC)?.into())
}

/// A number that no other file of its disk has while it is there; never zero.
pub fn file_number(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

/// The user whose file it is, where users have numbers.
pub fn owner_of(there: &Metadata) -> Option<u32> {
    Some(there.uid())
}

/// The group that may do with it what its mode says, where there are such.
pub fn group_of(there: &Metadata) -> Option<u32> {
    Some(there.gid())
}

/// Gives a file, a folder or a link itself to a group.
pub fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, None, Some(group))
}

/// Makes a folder with exactly this mode, whatever the umask.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Makes a folder and those above it, as far as they are not there, with this mode as far as the
/// umask lets it.
pub fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes a new folder that others may look into, as far as they may into the one it is in.
pub fn make_open_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(OPEN_FOLDER).create(path)
}

/// Makes a new folder that its owner alone may look into.
pub fn make_closed_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(CLOSED_FOLDER).create(path)
}

/// Makes a symbolic link. Some systems must be told whether it leads to a folder.
pub fn make_link(to: &str, at: &Path, _leads_to_folder: bool) -> io::Result<()> {
    symlink(to, at)
}

/// Where a symbolic link leads to, with `/` between the parts.
pub fn read_link(at: &Path) -> io::Result<PathBuf> {
    fs::read_link(at)
}

/// Has the disk hold the names in a folder.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_closed_is_its_owners_and_a_mode_is_kept_whatever_the_umask() {
        let folder = std::env::temp_dir().join(format!("stead-files-{}", std::process::id()));
        make_closed_folder(&folder).unwrap();
        let mode = |path: &Path| mode_of(&fs::metadata(path).unwrap());
        assert_eq!(mode(&folder), 0o700);
        let closed = [folder.join("new"), folder.join("lock")];
        create_closed_file(&closed[0]).unwrap().write_all(b"x").unwrap();
        assert!(create_closed_file(&closed[0]).is_err() && create_file(&closed[0]).is_err());
        drop(open_closed_file(&closed[1]).unwrap());
        assert_eq!(closed.each_ref().map(|path| mode(path)), [0o600; 2]);
        // Its content stays.
        assert_eq!(open_closed_file(&closed[0]).unwrap().metadata().unwrap().len(), 1);
        set_mode_durably(&closed[0], 0o666).unwrap();
        assert_eq!(mode(&closed[0]), 0o666);
        make_link("a/b", &folder.join("link"), false).unwrap();
        assert_eq!(read_link(&folder.join("link")).unwrap(), Path::new("a/b"));
        sync_folder(&folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}

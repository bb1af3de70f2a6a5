//! Giving a folder to another account, with everything in it.
//!
//! A service may be running in it and change what is where meanwhile. So nothing is reached by a
//! path of more than one name, no link is followed, and only what belonged to the folder's owner
//! is given away: a hard link to somebody else's file stays theirs.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chownat, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use stead_core::launch::Account;

use crate::hand_over::HandOverError;

/// A folder whose entries are being gone through.
struct Level {
    path: PathBuf,
    entries: Dir,
    /// The folder itself is to be given away, once all that is in it was.
    held: Option<OwnedFd>,
}

/// Gives a folder to an account unless it has it already. The folder itself comes last: where this
/// was cut short, it is begun again.
pub fn hand_over(folder: &Path, to: &Account) -> Result<(), HandOverError> {
    let failed = |path: &Path, error: Errno| HandOverError {
        path: path.to_path_buf(),
        uid: to.uid,
        error: error.into(),
    };
    let top = hold(CWD, folder.as_os_str()).map_err(|error| failed(folder, error))?;
    let from = fstat(&top).map_err(|error| failed(folder, error))?.st_uid;
    if from == to.uid {
        return Ok(());
    }
    let level = Level::open(folder.to_path_buf(), top, true);
    let mut levels = vec![level.map_err(|error| failed(folder, error))?];
    while let Some(level) = levels.last_mut() {
        match level.next(from, to) {
            Ok(Next::Deeper(below)) => levels.push(below),
            Ok(Next::Nothing) => (),
            Ok(Next::Up) => drop(levels.pop()),
            // A service that still runs removes files, too.
            Err((_, Errno::NOENT)) => (),
            Err((path, error)) => return Err(failed(&path, error)),
        }
    }
    Ok(())
}

/// What came of an entry.
enum Next {
    Deeper(Level),
    Nothing,
    /// There are no more.
    Up,
}

impl Level {
    fn open(path: PathBuf, held: OwnedFd, is_to_go: bool) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = Dir::new(openat(&held, ".", flags, Mode::empty())?)?;
        Ok(Self { path, entries, held: is_to_go.then_some(held) })
    }

    /// Gives the next entry away, or the folder itself after the last one.
    fn next(&mut self, from: u32, to: &Account) -> Result<Next, (PathBuf, Errno)> {
        let in_folder = |error| (self.path.clone(), error);
        let Some(entry) = self.entries.read() else {
            if let Some(held) = &self.held {
                give(held, to).map_err(in_folder)?;
            }
            return Ok(Next::Up);
        };
        let entry = entry.map_err(in_folder)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            return Ok(Next::Nothing);
        }
        let path = self.path.join(name);
        let at_entry = |error| (path.clone(), error);
        let folder = self.entries.fd().map_err(at_entry)?;
        let held = hold(folder, name).map_err(at_entry)?;
        let stat = fstat(&held).map_err(at_entry)?;
        let is_to_go = stat.st_uid == from;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = Level::open(path.clone(), held, is_to_go).map_err(at_entry)?;
            return Ok(Next::Deeper(below));
        }
        if is_to_go {
            give(&held, to).map_err(at_entry)?;
        }
        Ok(Next::Nothing)
    }
}

/// Takes hold of what has this name now, a link itself included, without opening it.
fn hold(folder: impl std::os::fd::AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn give(held: &OwnedFd, to: &Account) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    chownat(held, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    /// A folder of one test.
    fn folder_of(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("stead-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    const OLD: u32 = 1_899_000_001;
    const NEW: u32 = 1_899_000_002;
    const OTHER: u32 = 1_899_000_003;

    #[test]
    fn all_that_belonged_to_the_folders_owner_is_given_away_and_nothing_else() {
        if !super::super::account::is_root() {
            return;
        }
        let root = folder_of("hand-over");
        let folder = root.join("folder");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let outside = root.join("outside");
        fs::create_dir(&outside).unwrap();
        for path in ["outside/file", "folder/file", "folder/a/b/file", "folder/a/others"] {
            fs::write(root.join(path), "").unwrap();
        }
        symlink(&outside, folder.join("a/out")).unwrap();
        symlink("/nonexistent", folder.join("dangling")).unwrap();
        fs::hard_link(outside.join("file"), folder.join("a/hard")).unwrap();
        for path in ["", "a", "a/b", "file", "a/b/file", "a/out", "dangling"] {
            lchown(folder.join(path), Some(OLD), Some(OLD)).unwrap();
        }
        lchown(folder.join("a/others"), Some(OTHER), None).unwrap();
        let account = |uid| Account { uid, gid: uid, groups: vec![uid] };
        hand_over(&folder, &account(NEW)).unwrap();
        let owner = |path: &str| fs::symlink_metadata(folder.join(path)).unwrap().uid();
        for path in ["", "a", "a/b", "file", "a/b/file", "a/out", "dangling"] {
            assert_eq!(owner(path), NEW, "{path}");
        }
        assert_eq!((owner("a/others"), owner("a/hard")), (OTHER, 0));
        assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
        // Whose it is already, it is left as it is.
        lchown(folder.join("file"), Some(OTHER), None).unwrap();
        hand_over(&folder, &account(NEW)).unwrap();
        assert_eq!(owner("file"), OTHER);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_cannot_be_given_away_is_named() {
        let root = folder_of("hand-over-fails");
        let folder = root.join("gone");
        let account = Account { uid: NEW, gid: NEW, groups: Vec::new() };
        let why = hand_over(&folder, &account).unwrap_err().to_string();
        assert!(why.contains("gone") && why.contains("1899000002"), "{why}");
        fs::remove_dir_all(root).unwrap();
    }
}

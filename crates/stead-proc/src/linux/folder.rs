//! Folders with one owner, FIFOs, modes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use stead_core::launch::Account;

/// The right to be the one process that works on a folder; the kernel takes it back at death.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock; when another process has it, says which, as far as it has written that.
    pub fn acquire(folder: &Path) -> io::Result<Result<Self, Option<u32>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(folder.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => (),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                return Ok(Err(text.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        let lock = Self { file };
        // Only for people and messages: the lock itself is the truth, so a full disk is no reason
        // to go without it.
        let _ = lock.write_holder();
        Ok(Ok(lock))
    }

    fn write_holder(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    }

    /// What of it may be held while its folder is removed: all, so that nobody comes up in there.
    pub fn while_removed(self) -> Option<Self> {
        Some(self)
    }

    /// Lets the lock pass through the next `exec` of this process.
    pub fn keep_through_exec(&self) -> io::Result<()> {
        Ok(rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())?)
    }

    /// The lock as a file, to hand over through an `exec`.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Takes up a lock that came through an `exec`.
    pub fn from_file(file: File) -> io::Result<Self> {
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self { file })
    }
}

/// The one path that a folder has, by whatever path it was named.
pub fn one_path(folder: &Path) -> io::Result<PathBuf> {
    folder.canonicalize()
}

/// Makes a FIFO that only this account can open; one that is there already is kept.
pub fn make_fifo(path: &Path, account: Option<&Account>) -> io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => (),
        Err(error) => return Err(error.into()),
    }
    match account {
        Some(account) => own(path, account),
        None => Ok(()),
    }
}

/// Opens a FIFO for reading and writing at once, without ever blocking: it has no end of file while
/// this is held, and whoever writes to it never gets SIGPIPE.
pub fn open_fifo(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Gives a file or folder to an account.
pub fn own(path: &Path, account: &Account) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
}

/// Turns a link: whoever follows it gets to the old place or the new one; says whether it led
/// elsewhere.
pub fn replace_link(place: &Path, to: &str) -> io::Result<bool> {
    if fs::read_link(place).is_ok_and(|there| there == Path::new(to)) {
        return Ok(false);
    }
    let temporary = place.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => (),
    }
    std::os::unix::fs::symlink(to, &temporary)?;
    fs::rename(&temporary, place)?;
    Ok(true)
}

/// Has a name stand for the thing beside it that is called this, at once: a link, which paths may
/// go through.
pub fn set_pointer(place: &Path, to: &str) -> io::Result<()> {
    replace_link(place, to).map(drop)
}

/// What a name stands for by [`set_pointer`].
pub fn read_pointer(place: &Path) -> io::Result<PathBuf> {
    fs::read_link(place)
}

/// Sets the mode bits of a file or folder.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
